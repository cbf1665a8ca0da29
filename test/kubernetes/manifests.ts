/** What the proof puts into the cluster, as manifests in JSON or YAML. */

/** An outside name and its address: the cluster's DNS knows it, istiod does not. */
export const OUTSIDE = { name: 'outside.example', address: '192.0.2.7' }

/** The cluster's DNS: CoreDNS, for the names of Services and one outside name. */
export const CLUSTER_DNS = `
apiVersion: v1
kind: ServiceAccount
metadata: { name: coredns, namespace: kube-system }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: { name: coredns }
rules:
- { apiGroups: [""], resources: [services, pods, namespaces], verbs: [list, watch] }
- { apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch] }
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: { name: coredns }
roleRef: { apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: coredns }
subjects: [{ kind: ServiceAccount, name: coredns, namespace: kube-system }]
---
apiVersion: v1
kind: ConfigMap
metadata: { name: coredns, namespace: kube-system }
data:
  Corefile: |
    .:53 {
      errors
      ready
      hosts {
        ${OUTSIDE.address} ${OUTSIDE.name}
        fallthrough
      }
      kubernetes cluster.local
    }
---
apiVersion: v1
kind: Pod
metadata: { name: coredns, namespace: kube-system, labels: { app: coredns } }
spec:
  serviceAccountName: coredns
  dnsPolicy: Default
  containers:
  - name: coredns
    image: localhost/app:1
    command: [coredns, -conf, /etc/coredns/Corefile]
    readinessProbe: { httpGet: { path: /ready, port: 8181 }, periodSeconds: 1 }
    volumeMounts: [{ name: corefile, mountPath: /etc/coredns }]
  volumes: [{ name: corefile, configMap: { name: coredns } }]
---
apiVersion: v1
kind: Service
metadata: { name: kube-dns, namespace: kube-system }
spec:
  clusterIP: 10.96.0.10
  selector: { app: coredns }
  ports: [{ name: dns, port: 53, protocol: UDP }, { name: dns-tcp, port: 53, protocol: TCP }]
`

/**
 * Values of Istio's own chart: our images, and what its Envoy has and the one of Envoy's makers has not (telemetry, ALPN,
 * metadata exchange) left out.
 */
export const ISTIOD_VALUES = `
autoscaleEnabled: false
global:
  hub: localhost
  tag: "1"
  imagePullPolicy: Never
  proxy: { resources: { requests: { cpu: 10m, memory: 40Mi } } }
resources: { requests: { cpu: 10m, memory: 100Mi } }
telemetry: { enabled: false }
env: { PILOT_ENABLE_ALPN_FILTER: "false", PILOT_ENABLE_METADATA_EXCHANGE: "false" }
`

/** A Service of `namespace`, and a name that only the mesh knows. */
export function meshOf(namespace: string): string {
  return `
apiVersion: v1
kind: Service
metadata: { name: web, namespace: ${namespace} }
spec: { selector: { app: web }, ports: [{ name: tcp, port: 80 }] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: partner, namespace: ${namespace} }
spec:
  hosts: [api.partner.test]
  ports: [{ name: tcp, number: 443, protocol: TCP }]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{ address: 198.51.100.9 }]
`
}

/** What to change of an application's pod. */
export interface PodOptions {
  labels?: Readonly<Record<string, string>>
  annotations?: Readonly<Record<string, string>>
  /** More of its spec. */
  spec?: Readonly<Record<string, unknown>>
}

/** What the container `app` runs: it says when it has begun. */
const WAITS = 'date +%s%3N; exec sleep infinity'

/** An application that knows nothing of byname; its init container resolves names, too. */
export function applicationSpec(script: string): object {
  const container = { image: 'localhost/app:1', imagePullPolicy: 'Never' }
  return {
    terminationGracePeriodSeconds: 1,
    initContainers: [{ name: 'first', ...container, command: ['bash', '-c', `echo began $(date +%s%3N); ${RESOLVE}`] }],
    containers: [{ name: 'app', ...container, command: ['bash', '-c', script] }],
  }
}

/** Each name with the first address that the C library finds for it. */
export const RESOLVE = `for name in web web.$(sed -n 's/^search \\([a-z0-9-]*\\)\\..*/\\1/p' /etc/resolv.conf) api.partner.test ${OUTSIDE.name}; do
  echo "$name $(getent ahostsv4 "$name" | head -1 | cut -d' ' -f1)"
done`

/** A pod of it. */
export function applicationPod(namespace: string, name: string, options: PodOptions = {}): string {
  const { labels = {}, annotations = {}, spec = {} } = options
  const metadata = { name, namespace, labels: { app: 'client', ...labels }, annotations }
  return JSON.stringify({ apiVersion: 'v1', kind: 'Pod', metadata, spec: { ...applicationSpec(WAITS), ...spec } })
}

/** The Deployment `app` of one of them. */
export function applicationDeployment(namespace: string): string {
  const template = { metadata: { labels: { app: 'client' } }, spec: applicationSpec(WAITS) }
  const spec = { replicas: 1, selector: { matchLabels: { app: 'client' } }, template }
  return JSON.stringify({ apiVersion: 'apps/v1', kind: 'Deployment', metadata: { name: 'app', namespace }, spec })
}

/** Of a pod outside the mesh on a node, which asks a name server of its own choice. */
export function askingSpec(nodeName: string, nameserver: string): Record<string, unknown> {
  const searches = ['shop.svc.cluster.local', 'svc.cluster.local', 'cluster.local']
  const dnsConfig = { nameservers: [nameserver], searches, options: [{ name: 'ndots', value: '5' }] }
  return { nodeName, dnsPolicy: 'None', dnsConfig }
}
