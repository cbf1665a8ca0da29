import { until } from '../cluster.ts'
import { askingSpec, OUTSIDE } from '../manifests.ts'
import type { LoadResult, Operator } from '../operator.ts'
import { bynameOf, type Pod } from '../pod.ts'
import { expect } from '../report.ts'

const RELEASE = 'byname-node'
const LABEL = 'app.kubernetes.io/instance=byname-node'
const LINK_LOCAL = '169.254.20.53'
const WEB = 'web.shop.svc.cluster.local'

/** mode: node, on two nodes, for pods outside the mesh. */
export async function nodeMode(operator: Operator): Promise<void> {
  const { cluster, report } = operator
  await report.proof('A second node, with a network, containerd and kubelet of its own', async () => {
    const name = await cluster.addNode()
    await cluster.kubectl(['wait', `node/${name}`, '--for=condition=Ready', '--timeout=60s'])
    return (await cluster.kubectl(['get', 'nodes', '-o', 'name'])).trim().replace(/\n/g, ', ')
  })
  await operator.makeNamespace('outside', {})
  await report.proof('helm install byname, mode=node: one on each node, in the node’s network', async () => {
    await install(operator, 'image.tag=1')
    const pods = await operator.podsOf('byname', LABEL)
    const nodes = pods.map(({ spec }) => String(spec.nodeName)).toSorted()
    expect(nodes.join() === 'node1,node2', nodes.join())
    return `on ${nodes.join(' and ')}, at ${pods.map(({ status }) => status.podIP).join(' and ')}`
  })
  const service = (
    await cluster.kubectl(['get', 'service', RELEASE, '-n', 'byname', '-o', 'jsonpath={.spec.clusterIP}'])
  ).trim()
  for (const node of ['node1', 'node2']) {
    await report.proof(
      `A pod outside the mesh on ${node} asks the Service: full names, outside names, no short names`,
      async () => {
        const others = await meshReplies(operator, node === 'node1' ? 'node2' : 'node1')
        await operator.startPod('outside', node, { spec: askingSpec(node, service) })
        const seen = await expectFullNames(operator, node)
        expect((await meshReplies(operator, node)) > 0, 'the byname of its own node has answered nothing')
        expect(
          (await meshReplies(operator, node === 'node1' ? 'node2' : 'node1')) === others,
          'the other node was asked',
        )
        return seen
      },
    )
  }
  await report.proof('The same by the node’s own address, over UDP and TCP', async () => {
    const web = await operator.dig('outside', 'node2', '@10.99.0.2', WEB)
    const tcp = await operator.dig('outside', 'node2', '@10.99.0.2', '+tcp', WEB)
    expect(web !== '' && web === tcp, `${web} and ${tcp}`)
    return web
  })
  await report.proof('A killed byname of a node comes back', async () => {
    const before = bynameOf(await podOn(operator, 'node2'))
    const { pid } = await cluster.process(before.containerID)
    const answered = operator.untilAnsweredAgain('outside', 'node2', WEB)
    await new Promise((done) => setTimeout(done, 1500))
    const began = Date.now()
    await cluster.run(['kill', '-KILL', String(pid)])
    return `answers ${(await answered) - began} ms after SIGKILL`
  })
  await report.proof('helm upgrade with a link-local address: one node after the other', async () => {
    const loads = ['node1', 'node2'].map((node) => operator.load('outside', node, 100, 45, [WEB, OUTSIDE.name]))
    const values = ['image.tag=2', `node.linkLocalAddress=${LINK_LOCAL}`, 'node.addressImage=localhost/app:1']
    const rolling = { isOver: false }
    const watched = mostUnavailable(operator, rolling)
    await install(operator, ...values)
    rolling.isOver = true
    const most = await watched
    expect(most === 1, `${most} of 2 were missing at once`)
    const results = await Promise.all(loads)
    return `at most ${most} missing; ${results.map(told).join('; ')}`
  })
  await report.proof('A pod outside the mesh asks the link-local address', async () => {
    await operator.startPod('outside', 'link', { spec: askingSpec('node2', LINK_LOCAL) })
    return await expectFullNames(operator, 'link')
  })
  await report.proof('node.hostNetwork=false: without privileges, by the Service alone', async () => {
    await install(operator, 'image.tag=1', 'node.hostNetwork=false')
    const { spec } = await podOn(operator, 'node2')
    const { hostNetwork = false } = Object(spec)
    expect(hostNetwork === false, 'it is in the network of the node')
    return await expectFullNames(operator, 'node2')
  })
  await cluster.helm('uninstall', RELEASE, '-n', 'byname', '--wait')
  await cluster.kubectl(['delete', 'namespace', 'outside'])
}

/** Installs or upgrades it, and waits until each node has the new one. */
async function install(operator: Operator, ...values: readonly string[]): Promise<void> {
  await operator.byname(RELEASE, 'mode=node', ...values)
  await operator.cluster.kubectl(['rollout', 'status', `daemonset/${RELEASE}`, '-n', 'byname', '--timeout=180s'])
}

async function podOn(operator: Operator, node: string): Promise<Pod> {
  const found = (await operator.podsOf('byname', LABEL)).find(({ spec }) => spec.nodeName === node)
  if (found === undefined) throw new Error(`${node} has no byname`)
  return found
}

/** How many questions the byname of a node has answered from the mesh. */
async function meshReplies(operator: Operator, node: string): Promise<number> {
  const { metadata } = await podOn(operator, node)
  const { out } = await operator.cluster.exec('byname', metadata.name, 'byname', ['byname', 'status', '--json'])
  return JSON.parse(out).responses.mesh
}

/** @throws Error unless the pod resolves full and outside names, a short one by its search list alone, no automatic address */
async function expectFullNames(operator: Operator, name: string): Promise<string> {
  const ask = (...question: readonly string[]): Promise<string> => operator.dig('outside', name, ...question)
  const path = ['get', 'service', 'web', '-n', 'shop', '-o', 'jsonpath={.spec.clusterIP}']
  const web = (await operator.cluster.kubectl(path)).trim()
  const seen = {
    full: await ask(WEB),
    searched: (await operator.cluster.exec('outside', name, 'app', ['getent', 'ahostsv4', 'web'])).out.split(' ')[0],
    short: await ask('web'),
    outside: await ask(OUTSIDE.name),
    automatic: await ask('api.partner.test'),
  }
  const expected = { full: web, searched: web, short: '', outside: OUTSIDE.address, automatic: '' }
  expect(JSON.stringify(seen) === JSON.stringify(expected), JSON.stringify(seen))
  return `${WEB} ${web}; ${OUTSIDE.name} ${OUTSIDE.address}; web alone: nothing`
}

/** The most pods that the DaemonSet misses at a time, until the rolling is over. */
async function mostUnavailable({ cluster }: Operator, rolling: { isOver: boolean }): Promise<number> {
  let most = 0
  await until(240_000, 'the update is over', async () => {
    const { status } = await cluster.get<{ status: { numberUnavailable?: number } }>('daemonset', RELEASE, 'byname')
    most = Math.max(most, status.numberUnavailable ?? 0)
    return rolling.isOver || null
  })
  return most
}

function told({ sent, answered, slowestMs }: LoadResult): string {
  return `${answered} of ${sent} answered, the slowest after ${slowestMs} ms`
}
