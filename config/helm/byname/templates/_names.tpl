{{/* The name of all objects of this release. */}}
{{- define "byname.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{ .Values.fullnameOverride }}
{{- else if contains "byname" .Release.Name -}}
{{ .Release.Name }}
{{- else -}}
byname-{{ .Release.Name }}
{{- end -}}
{{- end -}}

{{- define "byname.selectorLabels" -}}
app.kubernetes.io/name: byname
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "byname.labels" -}}
{{ include "byname.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
byname.io/rev: {{ .Values.revision | default "default" }}
{{- end -}}

{{- define "byname.image" -}}
{{ .Values.image.repository }}
{{- if .Values.image.digest }}@{{ .Values.image.digest }}{{ else }}:{{ .Values.image.tag | default .Chart.AppVersion }}{{ end }}
{{- end -}}

{{/* istiod's Service: istiod.istio-system.svc:15012, or the one of the revision. */}}
{{- define "byname.istiod" -}}
istiod{{ with .Values.revision }}-{{ . }}{{ end }}.{{ .Values.istio.namespace }}.svc:15012
{{- end -}}
