import type { Operator } from '../operator.ts'
import { initNames } from '../pod.ts'
import { expect } from '../report.ts'

/** Takes all of byname away. The pod `client` in `shop` is from before. */
export async function uninstall(operator: Operator): Promise<void> {
  const { cluster, report } = operator
  await report.proof('helm uninstall leaves nothing: no object, and new pods are Istio’s own', async () => {
    await operator.istiod('istiod')
    const releases = (await cluster.helm('list', '-n', 'byname', '-q')).trim().split('\n')
    for (const release of releases) await cluster.helm('uninstall', release, '-n', 'byname', '--wait')
    const kinds = (await cluster.kubectl(['api-resources', '--verbs=list', '-o', 'name'])).trim().split('\n')
    const listed = kinds.filter((kind) => !/events|metrics/.test(kind)).join(',')
    const label = 'app.kubernetes.io/name=byname'
    const left = await cluster.kubectl(['get', listed, '-A', '-l', label, '-o', 'name', '--ignore-not-found'])
    expect(left.trim() === '', `left: ${left}`)
    const map = ['get', 'configmap', 'istio-sidecar-injector', '-n', 'istio-system', '-o', 'yaml']
    expect(!(await cluster.kubectl(map)).includes('byname'), 'istiod still has the template')
    await operator.whenInjected('shop', '')
    const read = await operator.startPod('shop', 'after')
    expect(!initNames(read).includes('byname'), initNames(read))
    const web = (await cluster.exec('shop', 'after', 'app', ['getent', 'ahostsv4', 'web'])).out
    expect(web !== '', 'web is not resolved')
    const running = await cluster.exec('shop', 'client', 'app', ['getent', 'hosts', 'api.partner.test'])
    expect(running.code === 0, 'a pod that runs has lost its names')
    return `${initNames(read)}; a pod from before keeps its byname; releases: ${releases.join(', ')}`
  })
}
