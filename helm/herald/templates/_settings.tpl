{{/*
The settings file. Scalars and lists are written as JSON, which is valid TOML for them: Helm keeps
numbers as floats, and toToml would write 64 as 64.0, which the server refuses.
Settings that the chart computes are not in config, so nothing is set twice.
*/}}
{{- define "herald.settings" -}}
{{- $sections := deepCopy (default dict .Values.config) -}}
{{- $listen := .Values.listenAddress -}}
{{- $rpc := dict "address" (printf "%s:50051" $listen) "health_address" (printf "%s:50052" $listen) -}}
{{- if .Values.tls.grpc.existingSecret -}}
{{- $_ := set $rpc "tls_certificate" "/etc/herald-tls-grpc/tls.crt" -}}
{{- $_ := set $rpc "tls_key" "/etc/herald-tls-grpc/tls.key" -}}
{{- end -}}
{{- if .Values.tls.grpc.clientCaSecret -}}
{{- $_ := set $rpc "tls_client_ca" "/etc/herald-tls-clients/ca.crt" -}}
{{- $_ := set $rpc "tls_client_required" .Values.tls.grpc.clientRequired -}}
{{- end -}}
{{- $_ := set $sections "rpc" (merge $rpc (default dict $sections.rpc)) -}}
{{- $http := dict "address" (printf "%s:8080" $listen) "public_url" .Values.publicUrl -}}
{{- if .Values.tls.http.existingSecret -}}
{{- $_ := set $http "tls_certificate" "/etc/herald-tls-http/tls.crt" -}}
{{- $_ := set $http "tls_key" "/etc/herald-tls-http/tls.key" -}}
{{- end -}}
{{- $_ := set $sections "http" (merge $http (default dict $sections.http)) -}}
{{- if eq .Values.database.engine "sqlite" -}}
{{- $store := dict "data_dir" "/var/lib/herald/data" -}}
{{- $_ := set $sections "store" (merge $store (default dict $sections.store)) -}}
{{- end -}}
{{- if .Values.slackApp.clientId -}}
{{- $app := dict "client_id" .Values.slackApp.clientId -}}
{{- $_ := set $sections "app" (merge $app (default dict $sections.app)) -}}
{{- end -}}
{{- range $section := keys $sections | sortAlpha }}
[{{ $section }}]
{{- range $setting, $value := default dict (get $sections $section) }}
{{ $setting }} = {{ toJson $value }}
{{- end }}
{{ end -}}
{{- range .Values.callers }}
[[rpc.callers]]
principal = {{ toJson .principal }}
{{- with .keySha256 }}
key_sha256 = {{ toJson . }}
{{- end }}
{{- with .certificate }}
certificate = {{ toJson . }}
{{- end }}
role = {{ toJson .role }}
{{- with .userId }}
user_id = {{ toJson . }}
{{- end }}
tenants = {{ toJson .tenants }}
may_act_for_users = {{ default false .mayActForUsers }}
may_administer_for_users = {{ default false .mayAdministerForUsers }}
{{ end -}}
{{- range .Values.issuers }}
{{ include "herald.issuer" . }}
{{ end -}}
{{- with .Values.kubernetesTokens }}
{{- if .enabled }}
{{- $files := "/var/run/secrets/kubernetes.io/serviceaccount" }}
[[rpc.issuers]]
issuer = {{ toJson .issuer }}
audience = {{ toJson .audience }}
discovery_url = "https://kubernetes.default.svc/.well-known/openid-configuration"
ca_file = {{ printf "%s/ca.crt" $files | toJson }}
token_file = {{ printf "%s/token" $files | toJson }}
{{- range .callers }}

{{ include "herald.tokenCaller" (merge (dict "subject" (printf "system:serviceaccount:%s:%s" .namespace .serviceAccount)) .) }}
{{- end }}
{{ end -}}
{{- end -}}
{{- end -}}

{{/* An issuer of tokens, and the callers that its tokens admit. */}}
{{- define "herald.issuer" -}}
[[rpc.issuers]]
issuer = {{ toJson .issuer }}
audience = {{ toJson .audience }}
{{- with .algorithms }}
algorithms = {{ toJson . }}
{{- end }}
{{- with .discoveryUrl }}
discovery_url = {{ toJson . }}
{{- end }}
{{- if not (kindIs "invalid" .clockSkewSeconds) }}
clock_skew_seconds = {{ int .clockSkewSeconds }}
{{- end }}
{{- range .callers }}

{{ include "herald.tokenCaller" . }}
{{- end }}
{{- end -}}

{{- define "herald.tokenCaller" -}}
[[rpc.issuers.callers]]
{{- with .subject }}
subject = {{ toJson . }}
{{- end }}
{{- with .subjectPrefix }}
subject_prefix = {{ toJson . }}
{{- end }}
{{- with .claims }}
claims = { {{- range $index, $name := keys . | sortAlpha }}{{ if $index }},{{ end }} {{ toJson $name }} = {{ toJson (get $.claims $name) }}{{ end }} }
{{- end }}
principal = {{ toJson .principal }}
role = {{ toJson .role }}
{{- with .userId }}
user_id = {{ toJson . }}
{{- end }}
tenants = {{ toJson .tenants }}
may_act_for_users = {{ default false .mayActForUsers }}
may_administer_for_users = {{ default false .mayAdministerForUsers }}
{{- end -}}

{{/* Credentials, for both containers: environment variables override the settings file. */}}
{{- define "herald.env" -}}
- name: HERALD_CONFIG
  value: /etc/herald/herald.toml
{{- $variables := dict "encryptionKey" "HERALD_STORE__KEY" "slackClientSecret" "HERALD_APP__CLIENT_SECRET" "slackSigningSecret" "HERALD_APP__SIGNING_SECRET" "callers" "HERALD_RPC__CALLERS" -}}
{{- if eq .Values.database.engine "postgres" -}}
{{- $_ := set $variables "databaseUrl" "HERALD_STORE__URL" -}}
{{- $_ := set $variables "directDatabaseUrl" "HERALD_STORE__DIRECT_URL" -}}
{{- end -}}
{{- range $secret, $variable := $variables }}
{{- with get $.Values.secrets $secret }}
{{- if .existingSecret }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ .existingSecret | quote }}
      key: {{ .key | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end -}}
