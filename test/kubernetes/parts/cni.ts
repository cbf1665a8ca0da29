import type { Operator } from '../operator.ts'
import { initNames } from '../pod.ts'
import { expect } from '../report.ts'

const NAMESPACE = 'cni'
const NATIVE = 'istio-validation, istio-proxy, byname, first'
const CLASSIC = 'istio-validation, byname, first'
const NO_NATIVE = { 'sidecar.istio.io/nativeSidecar': 'false' }
const NO_TEMPLATE = { 'inject.istio.io/templates': 'sidecar' }
const WORLDS: readonly { what: string; annotations: Record<string, string>; order: string }[] = [
  { what: 'by template', annotations: {}, order: NATIVE },
  { what: 'by template, istio-proxy no native sidecar', annotations: NO_NATIVE, order: CLASSIC },
  { what: 'by policy', annotations: NO_TEMPLATE, order: NATIVE },
  { what: 'by policy, istio-proxy no native sidecar', annotations: { ...NO_TEMPLATE, ...NO_NATIVE }, order: CLASSIC },
]

/** Istio's CNI plugin instead of istio-init: a revision of istiod that is told of it, and byname for it by both ways. */
export async function cni(operator: Operator): Promise<void> {
  const { cluster, report } = operator
  const revision = ['--set', 'revision=cni', '--set', 'pilot.cni.enabled=true']
  await operator.istiod('istiod-cni', ...revision)
  await operator.byname('byname-cni', 'image.tag=1', 'revision=cni')
  await operator.istiod('istiod-cni', ...revision, '-f', await operator.templateValues('byname-cni'))
  await operator.byname('byname-cni-policy', 'image.tag=2', 'revision=cni', 'injection.mode=policy')
  await operator.makeNamespace(NAMESPACE, { 'istio.io/rev': 'cni', 'byname.io/rev': 'cni' })
  await operator.whenInjected(NAMESPACE, 'byname:1')
  for (const { what, annotations, order } of WORLDS) {
    await report.proof(`With Istio’s CNI plugin, ${what}: application and init container resolve`, async () => {
      const read = await operator.startPod(NAMESPACE, 'client', { annotations })
      try {
        expect(initNames(read) === order, initNames(read))
        const names = await operator.expectNames(NAMESPACE, 'client')
        // Of port 15053 (hexadecimal 3ACD) byname's socket, of port 15055 the one of Istio's agent.
        const sockets = (await cluster.exec(NAMESPACE, 'client', 'app', ['cat', '/proc/net/udp'])).out
        const counts = [':3ACD ', ':3ACF '].map((port) => sockets.split(port).length - 1)
        expect(counts.join() === '1,1', `sockets at ports 15053 and 15055: ${sockets}`)
        return `${initNames(read)}; ${names}`
      } finally {
        await operator.removePod(NAMESPACE, 'client')
      }
    })
  }
  for (const release of ['byname-cni', 'byname-cni-policy']) await cluster.helm('uninstall', release, '-n', 'byname')
  await cluster.helm('uninstall', 'istiod-cni', '-n', 'istio-system')
  await cluster.kubectl(['delete', 'namespace', NAMESPACE])
}
