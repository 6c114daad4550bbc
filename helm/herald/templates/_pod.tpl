{{/* The pod security standard "restricted". */}}
{{- define "herald.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
runAsNonRoot: true
capabilities:
  drop: [ALL]
seccompProfile:
  type: RuntimeDefault
{{- end -}}

{{- define "herald.mounts" -}}
- name: config
  mountPath: /etc/herald
  readOnly: true
{{- range $name, $secret := include "herald.tlsSecrets" . | fromYaml }}
- name: {{ $name }}
  mountPath: /etc/herald-{{ $name }}
  readOnly: true
{{- end }}
{{- if .Values.kubernetesTokens.enabled }}
- name: kubernetes
  mountPath: /var/run/secrets/kubernetes.io/serviceaccount
  readOnly: true
{{- end }}
{{- if .Values.secrets.databaseCa.existingSecret }}
- name: database-ca
  mountPath: /etc/herald-database
  readOnly: true
{{- end }}
{{- if eq .Values.database.engine "sqlite" }}
- name: data
  mountPath: /var/lib/herald
- name: tmp
  mountPath: /tmp
{{- end }}
{{- end -}}

{{/* Secrets of TLS by the name of their volume. */}}
{{- define "herald.tlsSecrets" -}}
{{- $secrets := dict -}}
{{- with .Values.tls.grpc.existingSecret }}{{- $_ := set $secrets "tls-grpc" . -}}{{- end -}}
{{- with .Values.tls.grpc.clientCaSecret }}{{- $_ := set $secrets "tls-clients" . -}}{{- end -}}
{{- with .Values.tls.http.existingSecret }}{{- $_ := set $secrets "tls-http" . -}}{{- end -}}
{{- toYaml $secrets -}}
{{- end -}}
