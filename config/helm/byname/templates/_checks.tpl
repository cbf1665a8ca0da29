{{/*
What the JSON schema cannot say. Each problem ends the rendering with one line that names the value and the remedy. Whether
a cluster is behind this rendering shows in its namespace kube-system, which `helm template` does not see.
*/}}
{{- define "byname.checks" -}}
{{- $isSidecar := eq .Values.mode "sidecar" -}}
{{- $isPolicy := and $isSidecar (eq .Values.injection.mode "policy") -}}
{{- include "byname.checks.name" (dict "key" (.Values.fullnameOverride | empty | ternary "name of the release (or set fullnameOverride)" "fullnameOverride") "name" (include "byname.fullname" .) "most" 52 "reason" "longer names of its objects would not fit into labels") -}}
{{- with .Values.revision -}}
{{- include "byname.checks.name" (dict "key" "revision" "name" . "most" 56 "reason" "istiod's Service istiod-REVISION could not have it") -}}
{{- if eq . "default" -}}
{{- fail "revision: \"default\" is the revision without a name; leave the value empty" -}}
{{- end -}}
{{- end -}}
{{- range .Values.revisionTags -}}
{{- include "byname.checks.name" (dict "key" "revisionTags" "name" . "most" 42 "reason" "istiod's Service istiod-revision-tag-TAG could not have it") -}}
{{- end -}}
{{- if semverCompare "<1.29.0-0" .Capabilities.KubeVersion.Version -}}
{{- fail (printf "this cluster is Kubernetes %s: byname needs 1.29 or later, which has native sidecars" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and $isPolicy (semverCompare "<1.36.0-0" .Capabilities.KubeVersion.Version) -}}
{{- fail (printf "injection.mode: policy needs MutatingAdmissionPolicy (Kubernetes 1.36 or later), and this cluster is Kubernetes %s: use injection.mode=template" .Capabilities.KubeVersion.Version) -}}
{{- end -}}
{{- if and (eq .Values.injection.mode "template") $isSidecar .Values.revisionTags -}}
{{- fail "revisionTags: only injection.mode=policy has them; with template, istiod's tags lead to its template" -}}
{{- end -}}
{{- if and .Values.podMonitor.enabled $isSidecar (ne .Values.metrics.scrape "direct") -}}
{{- fail (printf "podMonitor.enabled: needs metrics.scrape=direct, not %s: Prometheus would scrape byname twice, or not get in" .Values.metrics.scrape) -}}
{{- end -}}
{{- if and (not $isSidecar) .Values.node.linkLocalAddress -}}
{{- if not .Values.node.hostNetwork -}}
{{- fail "node.linkLocalAddress: needs node.hostNetwork=true; in the pod network the Service leads to byname" -}}
{{- else if not .Values.node.addressImage -}}
{{- fail "node.linkLocalAddress: needs node.addressImage, an image with the program ip that adds the address to the node" -}}
{{- end -}}
{{- end -}}
{{- range list 53 15000 15001 15006 15008 15020 15021 15053 15054 15055 15090 -}}
{{- if eq . (int $.Values.metrics.port) -}}
{{- fail (printf "metrics.port: %d is a port of Istio's or byname's own; choose another" .) -}}
{{- end -}}
{{- end -}}
{{- range $key, $of := dict "listen" "the chart" "metrics" "metrics.port" "admin" "the chart" -}}
{{- if hasKey ($.Values.config | default dict) $key -}}
{{- fail (printf "config.%s: belongs to %s; remove it" $key $of) -}}
{{- end -}}
{{- end -}}
{{- range $name, $_ := .Values.env -}}
{{- if regexMatch "^(CA_ADDR|PROXY_CONFIG|POD_NAME|POD_NAMESPACE|INSTANCE_IP|HOST_IP|SERVICE_ACCOUNT|TRUST_DOMAIN|ISTIO_META.*|DNS_PROXY_ADDR|BYNAME_(LISTEN|METRICS_LISTEN|ADMIN_.*))$" $name -}}
{{- fail (printf "env.%s: belongs to the chart; remove it" $name) -}}
{{- end -}}
{{- end -}}
{{- include "byname.checks.istioVersion" (dict "version" .Values.istio.version "from" "istio.version") -}}
{{- if lookup "v1" "Namespace" "" "kube-system" -}}
{{- include "byname.checks.cluster" . -}}
{{- end -}}
{{- end -}}

{{/* A name as Kubernetes takes it for labels and Services (RFC 1123). */}}
{{- define "byname.checks.name" -}}
{{- if gt (len .name) .most -}}
{{- fail (printf "%s: %q has %d characters, and may have %d: %s" .key .name (len .name) .most .reason) -}}
{{- else if not (regexMatch "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$" .name) -}}
{{- fail (printf "%s: %q may have small letters, digits and hyphens only, and no hyphen at either end" .key .name) -}}
{{- end -}}
{{- end -}}

{{/* Istio 1.27 is the first whose injector tells templates whether it makes native sidecars (.NativeSidecars). */}}
{{- define "byname.checks.istioVersion" -}}
{{- $numbers := regexFind "^v?[0-9]+\\.[0-9]+" (toString .version) | trimPrefix "v" -}}
{{- if $numbers -}}
{{- if semverCompare "<1.27.0-0" (printf "%s.0" $numbers) -}}
{{- fail (printf "%s: byname's template and policy need Istio 1.27 or later, not %v" .from .version) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* What only the cluster itself knows. */}}
{{- define "byname.checks.cluster" -}}
{{- $isSidecar := eq .Values.mode "sidecar" -}}
{{- $isPolicy := and $isSidecar (eq .Values.injection.mode "policy") -}}
{{- if and $isPolicy (not (.Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy")) -}}
{{- fail "injection.mode: this cluster does not serve MutatingAdmissionPolicy (admissionregistration.k8s.io/v1): use injection.mode=template, or turn the API on" -}}
{{- end -}}
{{- $name := printf "istio-sidecar-injector%s" (.Values.revision | empty | ternary "" (printf "-%s" .Values.revision)) -}}
{{- if and $isSidecar (ne .Values.injection.mode "none") (not (lookup "v1" "ConfigMap" .Values.istio.namespace $name)) -}}
{{- fail (printf "istiod%s is not in namespace %s (there is no ConfigMap %s): install Istio first, or set istio.namespace and revision" (.Values.revision | empty | ternary "" (printf " of revision %s" .Values.revision)) .Values.istio.namespace $name) -}}
{{- end -}}
{{- $istiod := .Values.revision | empty | ternary "istiod" (printf "istiod-%s" .Values.revision) -}}
{{- if and (not $isSidecar) (not .Values.node.discoveryAddress) (not (lookup "v1" "Service" .Values.istio.namespace $istiod)) -}}
{{- fail (printf "there is no Service %s in namespace %s: install Istio first, or set istio.namespace and revision, or node.discoveryAddress" $istiod .Values.istio.namespace) -}}
{{- end -}}
{{- $deployment := lookup "apps/v1" "Deployment" .Values.istio.namespace $istiod -}}
{{- if and $deployment (not .Values.istio.version) (ne .Values.injection.mode "none") $isSidecar -}}
{{- $image := (first $deployment.spec.template.spec.containers).image -}}
{{- include "byname.checks.istioVersion" (dict "version" (regexReplaceAll "^.*:" (regexReplaceAll "@.*$" $image "") "") "from" (printf "istiod's image %s" $image)) -}}
{{- end -}}
{{- end -}}
