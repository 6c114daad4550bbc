{{/*
The settings file. Scalars and lists are written as JSON, which TOML reads alike: Helm keeps numbers
as floats, and toToml would write 64 as 64.0, which the server refuses.
What the chart decides itself is not in config, so nothing is set twice.
*/}}
{{- define "herald.settings" -}}
{{- $sections := deepCopy (default dict .Values.config) -}}
{{- $listen := .Values.listenAddress -}}
{{- $rpc := dict "address" (printf "%s:50051" $listen) "health_address" (printf "%s:50052" $listen) -}}
{{- $_ := set $sections "rpc" (merge $rpc (default dict $sections.rpc)) -}}
{{- $http := dict "address" (printf "%s:8080" $listen) "public_url" .Values.publicUrl -}}
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
key_sha256 = {{ toJson .keySha256 }}
role = {{ toJson .role }}
{{- with .userId }}
user_id = {{ toJson . }}
{{- end }}
tenants = {{ toJson .tenants }}
may_act_for_users = {{ default false .mayActForUsers }}
{{ end -}}
{{- end -}}

{{/* Credentials, for both containers: environment variables beat the settings file. */}}
{{- define "herald.env" -}}
- name: HERALD_CONFIG
  value: /etc/herald/herald.toml
{{- $variables := dict "encryptionKey" "HERALD_STORE__KEY" "slackClientSecret" "HERALD_APP__CLIENT_SECRET" "slackSigningSecret" "HERALD_APP__SIGNING_SECRET" "callers" "HERALD_RPC__CALLERS" -}}
{{- if eq .Values.database.engine "postgres" -}}
{{- $_ := set $variables "databaseUrl" "HERALD_STORE__URL" -}}
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
