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
{{- if eq .Values.database.engine "sqlite" }}
- name: data
  mountPath: /var/lib/herald
- name: tmp
  mountPath: /tmp
{{- end }}
{{- end -}}
