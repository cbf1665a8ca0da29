{{/*
Environment variables of byname's own settings, as a JSON list of { name, value } in order of names: those that the chart
sets (`fixed`, a map), over them `config` by path (cache.maxBytes is BYNAME_CACHE_MAX_BYTES), over them `env`.
*/}}
{{- define "byname.settings" -}}
{{- $values := dict -}}
{{- range $name, $value := .fixed -}}{{- $_ := set $values $name (toString $value) -}}{{- end -}}
{{- include "byname.settings.of" (dict "prefix" "BYNAME" "section" .root.Values.config "into" $values) -}}
{{- range $name, $value := .root.Values.env -}}{{- $_ := set $values $name (include "byname.settings.text" $value) -}}{{- end -}}
{{- $variables := list -}}
{{- range $name, $value := $values -}}{{- $variables = append $variables (dict "name" $name "value" $value) -}}{{- end -}}
{{- toJson $variables -}}
{{- end -}}

{{/* Adds the leaves of `section` to the map `into`. */}}
{{- define "byname.settings.of" -}}
{{- range $key, $value := .section -}}
{{- /* What is empty in YAML is not set. */ -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $name := printf "%s_%s" $.prefix (snakecase $key | upper) -}}
{{- if and (kindIs "map" $value) (ne $key "labels") -}}
{{- include "byname.settings.of" (dict "prefix" $name "section" $value "into" $.into) -}}
{{- else -}}
{{- $_ := set $.into $name (include "byname.settings.text" $value) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/*
A value as byname reads it from one line of text: lists by commas, labels as a=b,c=d, lists of sections as YAML. Whole numbers
arrive as floats.
*/}}
{{- define "byname.settings.text" -}}
{{- if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $value := . -}}{{- $pairs = append $pairs (printf "%s=%v" $key $value) -}}{{- end -}}
{{- join "," $pairs -}}
{{- else if kindIs "slice" . -}}
{{- if not . -}}[]{{- else if kindIs "map" (first .) -}}{{ toJson . }}{{- else -}}{{ join "," . }}{{- end -}}
{{- else if kindIs "float64" . -}}
{{- if eq (floor .) . -}}{{ int64 . }}{{- else -}}{{ . }}{{- end -}}
{{- else if and (kindIs "string" .) (eq . "") -}}
""
{{- else -}}
{{- toString . -}}
{{- end -}}
{{- end -}}

{{/* What the chart sets in every sidecar, as a map. */}}
{{- define "byname.sidecar.fixed" -}}
BYNAME_MESH_LAST_KNOWN_GOOD: /var/lib/byname/table
BYNAME_METRICS_LISTEN: "[::]:{{ .Values.metrics.port }}"
{{- end -}}

{{/*
How the kubelet learns that byname has started, as JSON. One run of the program that waits, not one a second: each costs
processor time that byname itself needs at that moment. A probe by HTTP would go through Istio's agent, which may start later.
Within startup.seconds, which are whole waits, byname is restarted.
*/}}
{{- define "byname.startup" -}}
{{- $waitSeconds := min 30 (int .Values.startup.seconds) -}}
{{- $command := list "byname" "health" -}}
{{- if eq .Values.startup.waitFor "table" -}}{{- $command = append $command "--ready" -}}{{- end -}}
{{- dict
  "command" (concat $command (list "--wait" (printf "%ds" $waitSeconds)))
  "timeoutSeconds" (add $waitSeconds 5)
  "failureThreshold" (divf (int .Values.startup.seconds) $waitSeconds | ceil | int)
  | toJson -}}
{{- end -}}

{{/* What files/sidecar-template.yaml reads as $byname, as JSON. */}}
{{- define "byname.sidecar.data" -}}
{{- $fixed := include "byname.sidecar.fixed" . | fromYaml -}}
{{- dict
  "image" (include "byname.image" .)
  "imagePullPolicy" .Values.image.pullPolicy
  "imagePullSecrets" (.Values.image.pullSecrets | default list)
  "clusterName" (.Values.istio.clusterName | default "")
  "network" (.Values.istio.network | default "")
  "env" (include "byname.settings" (dict "root" . "fixed" $fixed) | fromJsonArray)
  "startup" (include "byname.startup" . | fromJson)
  "resources" (include "byname.resources" . | fromJson)
  "metricsPort" (int .Values.metrics.port)
  "isScrapeMerged" (eq .Values.metrics.scrape "merged")
  "stateSizeLimit" "64Mi"
  | toJson -}}
{{- end -}}

{{/* The container's resources as JSON, every amount a text. */}}
{{- define "byname.resources" -}}
{{- $all := dict -}}
{{- range $kind, $amounts := .Values.resources -}}
{{- $texts := dict -}}
{{- range $name, $amount := $amounts -}}{{- $_ := set $texts $name (toString $amount) -}}{{- end -}}
{{- $_ := set $all $kind $texts -}}
{{- end -}}
{{- toJson $all -}}
{{- end -}}
