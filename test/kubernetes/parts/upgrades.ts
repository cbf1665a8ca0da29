import { OUTSIDE } from '../manifests.ts'
import type { Operator } from '../operator.ts'
import { bynameOf, imageOf } from '../pod.ts'
import { expect } from '../report.ts'

/** `helm upgrade` in place, under load. */
export async function upgrades(operator: Operator): Promise<void> {
  const { cluster, report } = operator
  await report.proof(
    'helm upgrade of byname and of istiod under 500 q/s loses nothing and changes no running pod',
    async () => {
      const before = await operator.pod('shop', 'client')
      const names = ['api.partner.test', 'web.shop.svc.cluster.local', OUTSIDE.name]
      const loading = operator.load('shop', 'client', 500, 40, names)
      await operator.byname('byname', 'image.tag=2')
      await operator.handTemplate()
      await cluster.kubectl(['rollout', 'restart', 'deployment/istiod', '-n', 'istio-system'])
      await cluster.kubectl(['rollout', 'status', 'deployment/istiod', '-n', 'istio-system', '--timeout=120s'])
      const result = await loading
      const after = await operator.pod('shop', 'client')
      expect(result.lost === 0 && result.failed === 0, JSON.stringify(result))
      const same = [before, after].map((read) => `${bynameOf(read).containerID} ${bynameOf(read).restartCount}`)
      expect(same[0] === same[1], same.join(' and '))
      const image = imageOf(await operator.startPod('shop', 'fresh'))
      await operator.removePod('shop', 'fresh')
      expect(image === 'byname:2', `a new pod has ${image}`)
      return `${result.answered} of ${result.sent} answered, the slowest after ${result.slowestMs} ms; a new pod has the new image`
    },
  )
  await operator.byname('byname', 'image.tag=1')
  await operator.handTemplate()
}
