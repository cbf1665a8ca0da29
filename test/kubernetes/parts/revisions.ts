import type { Operator } from '../operator.ts'
import { imageOf, initNames } from '../pod.ts'
import { expect } from '../report.ts'

/** Values of byname for the second revision. */
export const CANARY: readonly string[] = ['revision=canary', 'injection.mode=policy', 'image.tag=2']

/** Two revisions of istiod at once, byname for one of them by policy. */
export async function revisions(operator: Operator): Promise<void> {
  const { cluster, report } = operator
  await report.proof('A second revision: istiod-canary beside istiod, and byname for it by policy', async () => {
    await operator.istiod('istiod-canary', '--set', 'revision=canary')
    await operator.byname('byname-canary', ...CANARY)
    await operator.makeNamespace('policy', { 'istio.io/rev': 'canary', 'byname.io/rev': 'canary' })
    await operator.whenInjected('policy', 'byname:2')
    return 'done'
  })
  await report.proof(
    'A pod injected by policy: byname behind istio-proxy, before the own init containers',
    async () => {
      const read = await operator.startPod('policy', 'client')
      expect(initNames(read) === 'istio-init, istio-proxy, byname, first', initNames(read))
      return `${initNames(read)}; ${imageOf(read)}`
    },
  )
  await report.proof('In it an application and its init container resolve the same', () =>
    operator.expectNames('policy', 'client'),
  )
  await report.proof('A pod injected by policy whose istio-proxy is no native sidecar', async () => {
    const annotations = { 'sidecar.istio.io/nativeSidecar': 'false' }
    const names = initNames(await operator.startPod('policy', 'classic', { annotations }))
    const answer = await operator.dig('policy', 'classic', 'api.partner.test')
    await operator.removePod('policy', 'classic')
    expect(names === 'byname, first, istio-init' && answer.startsWith('240.'), `${names}: ${answer}`)
    return names
  })
  await report.proof('Each byname is connected to the istiod of its revision', async () => {
    await operator.startPod('shop', 'stable')
    const seen: string[] = []
    for (const [ns, name, server] of [
      ['shop', 'stable', 'istiod.istio-system.svc'],
      ['policy', 'client', 'istiod-canary.istio-system.svc'],
    ] as const) {
      const { out } = await cluster.exec(ns, name, 'byname', ['byname', 'check'])
      expect(out.includes(`${server}:15012`), `in ${ns}: ${out}`)
      seen.push(server)
    }
    await operator.removePod('shop', 'stable')
    return seen.join(', ')
  })
  await report.proof('A tag moved from one revision to the other, and back: new pods follow', async () => {
    await operator.makeNamespace('tagged', { 'istio.io/rev': 'prod', 'byname.io/rev': 'prod' })
    await stable(operator, 'prod')
    await expectTagged(operator, 'byname:1')
    await stable(operator)
    await canary(operator, 'prod')
    await operator.byname('byname-canary', ...CANARY, 'revisionTags={prod}')
    await expectTagged(operator, 'byname:2')
    await canary(operator)
    await operator.byname('byname-canary', ...CANARY)
    await stable(operator, 'prod')
    await expectTagged(operator, 'byname:1')
    await stable(operator)
    return 'byname:1 → byname:2 → byname:1'
  })
}

const tagged = (tags: readonly string[]): string[] => tags.flatMap((tag) => ['--set', `revisionTags={${tag}}`])
const stable = (operator: Operator, ...tags: readonly string[]): Promise<void> => operator.handTemplate(...tagged(tags))
const canary = (operator: Operator, ...tags: readonly string[]): Promise<void> =>
  operator.istiod('istiod-canary', '--set', 'revision=canary', ...tagged(tags))

/** New pods in the namespace with the tag have this image, and names. */
async function expectTagged(operator: Operator, image: string): Promise<void> {
  await operator.whenInjected('tagged', image)
  await operator.startPod('tagged', 'client')
  await operator.expectNames('tagged', 'client')
  await operator.removePod('tagged', 'client')
}
