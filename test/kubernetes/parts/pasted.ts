import { parse } from 'yaml'
import { until } from '../cluster.ts'
import { applicationPod } from '../manifests.ts'
import type { Operator } from '../operator.ts'
import { bynameOf, initNames } from '../pod.ts'
import { expect } from '../report.ts'

/** The part of a pod that the chart prints to be pasted. */
interface Part {
  metadata: { annotations: Record<string, string> }
  spec: { initContainers: object[]; volumes: object[] }
}

/** injection.mode: none, for an istiod that knows nothing of byname; and for one that is not there. */
export async function pasted(operator: Operator): Promise<void> {
  const { cluster, report } = operator
  await operator.istiod('istiod-canary', '--set', 'revision=canary')
  await operator.makeNamespace('pasted', { 'istio.io/rev': 'canary' })
  await report.proof(
    'injection.mode=none: the container pasted into a pod resolves the same, from its init container too',
    async () => {
      await paste(operator, 'pasted', 'client', 'revision=canary')
      const read = await operator.whenReady('pasted', 'client')
      expect(initNames(read) === 'istio-init, istio-proxy, byname, first', initNames(read))
      const names = await operator.expectNames('pasted', 'client')
      const { out } = await cluster.exec('pasted', 'client', 'byname', ['byname', 'status', '--json'])
      const { responses } = JSON.parse(out)
      expect(responses.mesh > 0, out)
      return `${initNames(read)}; ${names}; ${JSON.stringify(responses)}`
    },
  )
  await operator.makeNamespace('away', {})
  await report.proof(
    'istiod is away: the pod waits, its events say why, byname is restarted after startup.seconds',
    async () => {
      await paste(operator, 'away', 'waiting', 'revision=gone', 'startup.seconds=10')
      const began = Date.now()
      await until(120_000, 'byname is restarted', async () => {
        const { status } = await operator.pod('away', 'waiting')
        return (status.initContainerStatuses ?? []).some(({ restartCount }) => restartCount > 0) || null
      })
      const ms = Date.now() - began
      const selector = ['--field-selector', 'involvedObject.name=waiting,reason=Unhealthy']
      const events = await cluster.kubectl([
        'get',
        'events',
        '-n',
        'away',
        ...selector,
        '-o',
        'jsonpath={.items[*].message}',
      ])
      expect(/not ready/.test(events), `events: ${events}`)
      return `restarted ${(ms / 1000).toFixed(0)} s after kubectl; ${events.trim()}`
    },
  )
  await report.proof('istiod is away and startup.waitFor=answering: the pod starts without a name table', async () => {
    await paste(operator, 'away', 'answering', 'revision=gone', 'startup.waitFor=answering')
    const read = await operator.whenReady('away', 'answering')
    return `${initNames(read)}; byname has been restarted ${bynameOf(read).restartCount} times`
  })
  await cluster.helm('uninstall', 'byname-none', '-n', 'byname')
  for (const name of ['pasted', 'away']) await cluster.kubectl(['delete', 'namespace', name])
}

/** Starts an application's pod with what the chart prints. */
async function paste(operator: Operator, namespace: string, name: string, ...values: readonly string[]): Promise<void> {
  await operator.byname('byname-none', 'injection.mode=none', 'image.tag=1', ...values)
  const path = 'jsonpath={.data.pod\\.yaml}'
  const map = ['get', 'configmap', 'byname-none-container', '-n', 'byname', '-o', path]
  const part: Part = parse(await operator.cluster.kubectl(map))
  const pod = JSON.parse(applicationPod(namespace, name, { annotations: part.metadata.annotations }))
  pod.spec.initContainers.unshift(...part.spec.initContainers)
  pod.spec.volumes = part.spec.volumes
  await operator.cluster.apply(JSON.stringify(pod))
}
