import { until } from '../cluster.ts'
import { applicationSpec, meshOf } from '../manifests.ts'
import type { Operator } from '../operator.ts'
import { bynameOf, initNames } from '../pod.ts'
import { expect, median } from '../report.ts'

/** byname beside an application by istiod's injector, and what the pod is like. Leaves the pod `client` in `shop`. */
export async function byTemplate(operator: Operator): Promise<void> {
  const { cluster, report } = operator
  await report.proof(
    'A pod injected by template: byname behind istio-proxy, before the own init containers',
    async () => {
      const read = await operator.pod('shop', 'client')
      expect(initNames(read) === 'istio-init, istio-proxy, byname, first', initNames(read))
      return initNames(read)
    },
  )
  await report.proof('In it an application and its init container resolve mesh, short and outside names (getent)', () =>
    operator.expectNames('shop', 'client'),
  )
  await report.proof('dig, over UDP and over TCP', async () => {
    const udp = await operator.dig('shop', 'client', 'api.partner.test')
    const tcp = await operator.dig('shop', 'client', '+tcp', 'api.partner.test')
    expect(/^240\.240\.\d+\.\d+$/.test(udp) && udp === tcp, `${udp} and ${tcp}`)
    return udp
  })
  await report.proof('Who answers: byname, from the mesh; Istio’s agent runs no DNS server', async () => {
    const status = JSON.parse((await cluster.exec('shop', 'client', 'byname', ['byname', 'status', '--json'])).out)
    expect(status.ready === true && status.responses.mesh > 0, JSON.stringify(status.responses))
    const sockets = (await cluster.exec('shop', 'client', 'app', ['cat', '/proc/net/udp'])).out
    expect((sockets.match(/:3ACD /g) ?? []).length === 1, `sockets at port 15053: ${sockets}`)
    return `${JSON.stringify(status.responses)}, driver ${status.driver.name}`
  })
  await report.proof('byname check --connect and byname bug-report, within the pod', async () => {
    const check = await cluster.exec('shop', 'client', 'byname', ['byname', 'check', '--connect'])
    expect(check.code === 0 && check.out.includes('istiod.istio-system.svc:15012'), `${check.out}${check.err}`)
    const archive = 'kubectl exec -n shop client -c byname -- byname bug-report --output -'
    const list = await cluster.run(['bash', '-o', 'pipefail', '-c', `${archive} | tar -tz`])
    expect(list.code === 0 && /index\.html/.test(list.out), `${list.out}${list.err}`)
    return `the check passes; ${list.out.trim().split('\n').length} files in the report`
  })
  await report.proof('A pod whose istio-proxy is no native sidecar', async () => {
    const annotations = { 'sidecar.istio.io/nativeSidecar': 'false' }
    const names = initNames(await operator.startPod('shop', 'classic', { annotations }))
    const answer = await operator.dig('shop', 'classic', 'api.partner.test')
    await operator.removePod('shop', 'classic')
    expect(names === 'byname, first, istio-init' && answer.startsWith('240.'), `${names}: ${answer}`)
    return names
  })
  await report.proof('istiod pushes a new host, and the pod answers it', async () => {
    const times: number[] = []
    for (const round of [1, 2, 3, 4, 5]) {
      const host = `fresh-${round}.partner.test`
      const answered = operator.untilAnswered('shop', 'client', host)
      await new Promise((done) => setTimeout(done, 1500))
      const began = Date.now()
      const entry = meshOf('shop').split('---')[1]!
      await cluster.apply(entry.replace('name: partner', `name: fresh-${round}`).replace('api.partner.test', host))
      times.push((await answered) - began)
    }
    return `${median(times)} ms after kubectl apply began (median of 5)`
  })
  await report.proof('istiod pushes a new Service, and byname answers it', async () => {
    const began = Date.now()
    await cluster.kubectl(['create', 'service', 'clusterip', 'new', '-n', 'shop', '--tcp=80'])
    const ms = await until(30_000, 'the Service is answered', async () => {
      const { out } = await cluster.exec('shop', 'client', 'byname', ['byname', 'query', 'new.shop.svc.cluster.local'])
      return /mesh/.test(out) ? Date.now() - began : null
    })
    return `from the mesh, at most ${ms} ms after kubectl create`
  })
  await report.proof('A Job completes', async () => {
    const { initContainers, containers } = Object(applicationSpec('getent hosts api.partner.test'))
    const spec = { template: { spec: { restartPolicy: 'Never', initContainers, containers } } }
    const metadata = { name: 'job', namespace: 'shop' }
    await cluster.apply(JSON.stringify({ apiVersion: 'batch/v1', kind: 'Job', metadata, spec }))
    await cluster.kubectl(['wait', '-n', 'shop', 'job/job', '--for=condition=Complete', '--timeout=90s'])
    return (await cluster.kubectl(['logs', '-n', 'shop', 'job/job', '-c', 'app'])).trim()
  })
  await report.proof('A killed byname comes back, and the pod’s DNS with it', () => killed(operator, 'shop', 'client'))
}

/** Kills the pod's byname under queries. What it returns says when an answer came again. */
async function killed(operator: Operator, namespace: string, name: string): Promise<string> {
  const before = bynameOf(await operator.pod(namespace, name))
  const { pid } = await operator.cluster.process(before.containerID)
  const answered = operator.untilAnsweredAgain(namespace, name, 'api.partner.test')
  await new Promise((done) => setTimeout(done, 1500))
  const began = Date.now()
  await operator.cluster.run(['kill', '-KILL', String(pid)])
  const ms = (await answered) - began
  const restarts = await until(30_000, 'the restart is counted', async () => {
    const now = bynameOf(await operator.pod(namespace, name)).restartCount
    return now > before.restartCount ? now : null
  })
  return `answers ${ms} ms after SIGKILL, ${restarts} restart`
}
