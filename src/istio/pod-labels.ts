/** Where Istio's injector mounts the pod's labels (volume `istio-podinfo`), for its agent and for byname. */
export const POD_LABELS = '/etc/istio/pod/labels'

/** Differs from one ReplicaSet to the next, and selects nothing that people name. Istio's agent leaves it out as well. */
const TEMPLATE_HASH = 'pod-template-hash'

/**
 * Reads the labels as the kubelet writes them for a pod (downward API): `KEY="VALUE"` a line, the value quoted as Go does.
 * Lines of any other form are passed over: what the kubelet writes has none.
 */
export function readPodLabels(text: string): Record<string, string> {
  const labels = new Map<string, string>()
  for (const line of text.split('\n')) {
    const [, key, value] = /^([^="]+)="((?:[^"\\]|\\["\\])*)"$/.exec(line) ?? []
    if (key === undefined || value === undefined || key === TEMPLATE_HASH) continue
    labels.set(key, value.replaceAll(/\\(["\\])/g, '$1'))
  }
  return Object.fromEntries(labels)
}
