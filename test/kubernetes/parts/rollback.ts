import { applicationDeployment, OUTSIDE } from '../manifests.ts'
import type { Operator } from '../operator.ts'
import { imageOf, isReady } from '../pod.ts'
import { until } from '../cluster.ts'
import { expect } from '../report.ts'
import { CANARY } from './revisions.ts'

const NAMESPACE = 'rolled'

/** Back to the release before: by Helm, and by a namespace's labels. */
export async function rollback(operator: Operator): Promise<void> {
  const { cluster, report } = operator
  const names = ['api.partner.test', 'web.shop.svc.cluster.local', OUTSIDE.name]
  await operator.makeNamespace(NAMESPACE, { 'istio-injection': 'enabled' })
  await cluster.apply(applicationDeployment(NAMESPACE))
  await report.proof(
    'helm upgrade, then helm rollback of byname and of istiod, under 200 q/s: running pods stay, restarted ones follow',
    async () => {
      expect((await image(operator)) === 'byname:1', 'not the first image')
      const loading = operator.load('shop', 'client', 200, 60, names)
      await operator.byname('byname', 'image.tag=2')
      await operator.handTemplate()
      await operator.whenInjected(NAMESPACE, 'byname:2')
      const seen = [await image(operator), await restarted(operator)]
      await cluster.helm('rollback', 'byname', '-n', 'byname', '--wait')
      await cluster.helm('rollback', 'istiod', '-n', 'istio-system', '--wait')
      await operator.whenInjected(NAMESPACE, 'byname:1')
      seen.push(await image(operator), await restarted(operator))
      expect(seen.join() === 'byname:1,byname:2,byname:2,byname:1', seen.join())
      const { sent, answered, slowestMs } = await loading
      expect(sent === answered, `${answered} of ${sent} answered`)
      return `${seen.join(' → ')}; ${answered} of ${sent} answered, the slowest after ${slowestMs} ms`
    },
  )
  await report.proof('A namespace relabelled to istiod-canary and restarted, and back', async () => {
    await operator.istiod('istiod-canary', '--set', 'revision=canary')
    await operator.byname('byname-canary', ...CANARY)
    const label = (...labels: string[]): Promise<string> =>
      cluster.kubectl(['label', 'namespace', NAMESPACE, '--overwrite', ...labels])
    const seen: string[] = []
    await label('istio-injection-', 'istio.io/rev=canary', 'byname.io/rev=canary')
    await operator.whenInjected(NAMESPACE, 'byname:2')
    seen.push(`${await restarted(operator)} of ${await server(operator)}`)
    await label('istio-injection=enabled', 'istio.io/rev-', 'byname.io/rev-')
    await operator.whenInjected(NAMESPACE, 'byname:1')
    seen.push(`${await restarted(operator)} of ${await server(operator)}`)
    expect(seen.join() === 'byname:2 of istiod-canary,byname:1 of istiod', seen.join())
    return seen.join(' → ')
  })
  await cluster.kubectl(['delete', 'namespace', NAMESPACE])
}

/** The Deployment's pods that are not ending, once all are ready. */
async function running(operator: Operator): Promise<string> {
  await operator.cluster.kubectl(['rollout', 'status', 'deployment/app', '-n', NAMESPACE, '--timeout=120s'])
  return await until(60_000, 'one pod is left', async () => {
    const pods = await operator.podsOf(NAMESPACE, 'app=client')
    return pods.length === 1 && isReady(pods[0]!) ? pods[0]!.metadata.name : null
  })
}

async function image(operator: Operator): Promise<string> {
  return imageOf(await operator.pod(NAMESPACE, await running(operator)))
}

async function restarted(operator: Operator): Promise<string> {
  await operator.cluster.kubectl(['rollout', 'restart', 'deployment/app', '-n', NAMESPACE])
  const name = await running(operator)
  await operator.expectNames(NAMESPACE, name)
  return imageOf(await operator.pod(NAMESPACE, name))
}

/** Which istiod the pod's byname is connected to. */
async function server(operator: Operator): Promise<string> {
  const { out } = await operator.cluster.exec(NAMESPACE, await running(operator), 'byname', ['byname', 'check'])
  return /(istiod[a-z-]*)\.istio-system\.svc:15012/.exec(out)?.[1] ?? out
}
