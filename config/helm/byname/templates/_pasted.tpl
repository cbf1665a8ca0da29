{{/* The part of a pod template that brings byname without an injector, as config/kustomize/byname does. */}}
{{- define "byname.pasted" -}}
metadata:
  annotations:
    # The agent makes room for byname; Envoy's node keeps the automatic addresses.
    proxy.istio.io/config: |
      proxyMetadata:
        ISTIO_META_DNS_CAPTURE: "true"
        DNS_PROXY_ADDR: "127.0.0.1:15055"
    {{- if eq .Values.metrics.scrape "merged" }}
    # The application's own port, if it has one, joins this list.
    prometheus.istio.io/scrape-targets: "{{ .Values.metrics.port }}:/metrics/byname"
    {{- end }}
spec:
  initContainers:
  # The first of the application's own.
  - name: byname
    image: {{ include "byname.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    restartPolicy: Always
    args: [run]
    ports:
    - { name: byname-metrics, containerPort: {{ .Values.metrics.port }}, protocol: TCP }
    env:
    - { name: CA_ADDR, value: {{ include "byname.istiod" . | quote }} }
    - { name: PROXY_CONFIG, value: {{ dict "discoveryAddress" (include "byname.istiod" .) | toJson | quote }} }
    - { name: POD_NAME, valueFrom: { fieldRef: { fieldPath: metadata.name } } }
    - { name: POD_NAMESPACE, valueFrom: { fieldRef: { fieldPath: metadata.namespace } } }
    - { name: INSTANCE_IP, valueFrom: { fieldRef: { fieldPath: status.podIP } } }
    - { name: SERVICE_ACCOUNT, valueFrom: { fieldRef: { fieldPath: spec.serviceAccountName } } }
    - { name: ISTIO_META_CLUSTER_ID, value: {{ .Values.istio.clusterName | default "Kubernetes" | quote }} }
    {{- with .Values.istio.network }}
    - { name: ISTIO_META_NETWORK, value: {{ . | quote }} }
    {{- end }}
    - { name: ISTIO_META_DNS_CAPTURE, value: "true" }
    {{- range include "byname.settings" (dict "root" . "fixed" (include "byname.sidecar.fixed" . | fromYaml)) | fromJsonArray }}
    - { name: {{ .name }}, value: {{ .value | quote }} }
    {{- end }}
    {{- $startup := include "byname.startup" . | fromJson }}
    startupProbe:
      exec: { command: {{ toJson $startup.command }} }
      periodSeconds: 1
      timeoutSeconds: {{ $startup.timeoutSeconds }}
      failureThreshold: {{ $startup.failureThreshold }}
    resources: {{ include "byname.resources" . }}
    securityContext:
      allowPrivilegeEscalation: false
      privileged: false
      capabilities: { drop: [ALL] }
      readOnlyRootFilesystem: true
      runAsNonRoot: true
      # The user of Istio's proxy, whose queries are not redirected. OpenShift has another one.
      runAsUser: 1337
      runAsGroup: 1337
      seccompProfile: { type: RuntimeDefault }
    volumeMounts:
    - { name: byname-state, mountPath: /var/lib/byname }
    - { name: byname-token, mountPath: /var/run/secrets/tokens, readOnly: true }
    - { name: byname-root, mountPath: /var/run/secrets/istio, readOnly: true }
    - { name: byname-podinfo, mountPath: /etc/istio/pod, readOnly: true }
  volumes:
  - name: byname-state
    emptyDir: { sizeLimit: 64Mi }
  - name: byname-token
    projected:
      sources:
      - serviceAccountToken: { path: istio-token, expirationSeconds: 43200, audience: istio-ca }
  - name: byname-root
    configMap: { name: istio-ca-root-cert }
  - name: byname-podinfo
    downwardAPI:
      items:
      - { path: labels, fieldRef: { fieldPath: metadata.labels } }
{{- end -}}
