{{/*
Faults that a schema cannot express: values that contradict each other, and missing credentials. All
faults are reported at once. The server would refuse most of them too, but only when the old pods
are already stopping.
*/}}
{{- define "herald.refusals" -}}
{{- $faults := list -}}
{{- $v := .Values -}}
{{- $postgres := eq $v.database.engine "postgres" -}}
{{- if and (not $postgres) (gt (int $v.replicaCount) 1) -}}
{{- $faults = append $faults (printf "replicaCount is %d, but SQLite serves one replica: set database.engine to postgres, or replicaCount to 1." (int $v.replicaCount)) -}}
{{- end -}}
{{- if and $postgres (not $v.secrets.databaseUrl.existingSecret) -}}
{{- $faults = append $faults "PostgreSQL needs its address: set secrets.databaseUrl.existingSecret to a Secret that holds postgres://user:password@host/database." -}}
{{- end -}}
{{- if and $postgres (not $v.secrets.encryptionKey.existingSecret) -}}
{{- $faults = append $faults "PostgreSQL needs a key-encryption key: set secrets.encryptionKey.existingSecret to a Secret that holds 32 random bytes in base64 (openssl rand -base64 32)." -}}
{{- end -}}
{{- if and (not $postgres) $v.secrets.databaseUrl.existingSecret -}}
{{- $faults = append $faults "secrets.databaseUrl is set, but database.engine is sqlite, which has no address: set database.engine to postgres." -}}
{{- end -}}
{{- if and $v.slackApp.clientId (not $v.secrets.slackClientSecret.existingSecret) -}}
{{- $faults = append $faults "slackApp.clientId needs its client secret: set secrets.slackClientSecret.existingSecret." -}}
{{- end -}}
{{- if and $v.secrets.slackClientSecret.existingSecret (not $v.slackApp.clientId) -}}
{{- $faults = append $faults "secrets.slackClientSecret is set without slackApp.clientId: set both or neither." -}}
{{- end -}}
{{- if and $v.secrets.slackSigningSecret.existingSecret (not $v.slackApp.clientId) -}}
{{- $faults = append $faults "secrets.slackSigningSecret is set without slackApp.clientId: set both or neither." -}}
{{- end -}}
{{- if and (not $v.callers) (not $v.secrets.callers.existingSecret) (not $v.issuers) (not $v.kubernetesTokens.enabled) -}}
{{- $faults = append $faults "No caller is configured: add an entry to callers (`herald keys issue NAME --tenant ID` prints one), set secrets.callers.existingSecret, or name kubernetesTokens or issuers." -}}
{{- end -}}
{{- if and $v.kubernetesTokens.enabled (not $v.kubernetesTokens.callers) -}}
{{- $faults = append $faults "kubernetesTokens.enabled needs kubernetesTokens.callers: no service account would be admitted." -}}
{{- end -}}
{{- if and $v.callers $v.secrets.callers.existingSecret -}}
{{- $faults = append $faults "callers and secrets.callers are both set, and the Secret would win: set one." -}}
{{- end -}}
{{- range $v.callers -}}
{{- if and (eq .role "user") (not .userId) -}}
{{- $faults = append $faults (printf "callers: %s has the role user and needs a userId." .principal) -}}
{{- end -}}
{{- end -}}
{{- range $v.callers -}}
{{- if not (or .keySha256 .certificate) -}}
{{- $faults = append $faults (printf "callers: %s needs a keySha256 or a certificate." .principal) -}}
{{- end -}}
{{- if and .certificate (not $v.tls.grpc.clientCaSecret) -}}
{{- $faults = append $faults (printf "callers: %s has a certificate, which needs tls.grpc.clientCaSecret." .principal) -}}
{{- end -}}
{{- end -}}
{{- if and $v.tls.grpc.clientCaSecret (not $v.tls.grpc.existingSecret) -}}
{{- $faults = append $faults "tls.grpc.clientCaSecret needs tls.grpc.existingSecret: clients show certificates over TLS only." -}}
{{- end -}}
{{- if and $v.tls.grpc.clientRequired (not $v.tls.grpc.clientCaSecret) -}}
{{- $faults = append $faults "tls.grpc.clientRequired needs tls.grpc.clientCaSecret: no client certificate could be verified." -}}
{{- end -}}
{{- $grace := 25 -}}
{{- $process := default dict (default dict $v.config).process -}}
{{- if not (kindIs "invalid" $process.grace_seconds) -}}
{{- $grace = int $process.grace_seconds -}}
{{- end -}}
{{- /* After the grace the last traces and metrics have up to six seconds. */ -}}
{{- $grace = add $grace 6 | int -}}
{{- if le (int $v.terminationGracePeriodSeconds) $grace -}}
{{- $faults = append $faults (printf "terminationGracePeriodSeconds is %d, but Herald takes up to %d seconds to stop (config.process.grace_seconds, and 6 to send the last traces and metrics): set it higher." (int $v.terminationGracePeriodSeconds) $grace) -}}
{{- end -}}
{{- $url := urlParse $v.publicUrl -}}
{{- $loopback := has $url.hostname (list "localhost" "127.0.0.1" "::1") -}}
{{- if and (ne $url.scheme "https") (not $loopback) -}}
{{- $faults = append $faults "publicUrl must be https: Slack redirects to no other address." -}}
{{- end -}}
{{- if and $v.ingress.enabled $loopback -}}
{{- $faults = append $faults "The ingress needs publicUrl, such as https://herald.example.com/." -}}
{{- end -}}
{{- if and $v.ingress.enabled (not (has $url.path (list "" "/"))) -}}
{{- $faults = append $faults "publicUrl has a path, which an Ingress cannot remove: leave the path out, or make the route yourself and set ingress.enabled to false." -}}
{{- end -}}
{{- if and $v.service.grpc.headless (ne $v.service.grpc.type "ClusterIP") -}}
{{- $faults = append $faults "service.grpc.headless needs service.grpc.type ClusterIP." -}}
{{- end -}}
{{- if and $v.service.grpc.headless (ne (int $v.service.grpc.port) 50051) -}}
{{- $faults = append $faults "service.grpc.headless leads clients to the pods themselves, whose port is 50051: leave service.grpc.port at 50051." -}}
{{- end -}}
{{- if $faults -}}
{{- fail (printf "\n\n  - %s\n" (join "\n  - " $faults)) -}}
{{- end -}}
{{- end -}}
