import { type AddressInfo, createServer, type Server } from 'node:net'
import { once } from 'node:events'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { watchFolder } from '../../src/base/file-watch.ts'
import { type ControlPlane, startControlPlane } from '../../src/mesh/control-plane.ts'
import { NAME_TABLE_TYPE } from '../../src/table/nds.ts'
import { freePort } from '../free-port.ts'
import { AdsNode, type Mode, nodeIn } from './ads-node.ts'
import { LogLines } from './log-lines.ts'
import { MeshFolder } from './mesh-folder.ts'
import { service } from './mesh-of.ts'
import { until } from '../until.ts'

const modes: Mode[] = ['delta', 'sotw']
const WEB = 'web.shop.svc.cluster.local'

let folder: MeshFolder
let log: LogLines
let controlPlane: ControlPlane
const nodes: AdsNode[] = []
beforeEach(async () => {
  folder = new MeshFolder()
  log = new LogLines()
  folder.write('web.yaml', web('10.0.0.1'))
  controlPlane = await start()
})
afterEach(async () => {
  for (const node of nodes.splice(0)) node.close()
  await controlPlane.stop(1000)
  folder[Symbol.dispose]()
})

function start(port = 0): Promise<ControlPlane> {
  return startControlPlane({ folder: folder.path, listen: { address: '127.0.0.1', port }, log, watchFolder })
}

function web(clusterIP: string, exportTo = '*'): string {
  return service({ name: 'web', spec: { clusterIP }, annotations: { 'networking.istio.io/exportTo': exportTo } })
}

function connect(mode: Mode): AdsNode {
  const node = new AdsNode(controlPlane.port, mode)
  nodes.push(node)
  return node
}

function subscribe(mode: Mode, namespace = 'shop'): AdsNode {
  const node = connect(mode)
  node.send({ node: nodeIn(namespace) })
  return node
}

/** Waits until the other requests of `node` have been read: its subscription to another type is answered after them. */
async function settled(node: AdsNode, typeUrl = 'type.googleapis.com/settled'): Promise<void> {
  node.send({ typeUrl })
  expect(await node.received.next()).toMatchObject({ typeUrl, resources: [] })
}

describe.each(modes)('%s', (mode) => {
  test('a node gets its table when it subscribes', async () => {
    const node = subscribe(mode)
    const { typeUrl, version, nonce, names, resources } = await node.received.next()
    expect(typeUrl).toBe(NAME_TABLE_TYPE)
    expect(version).toMatch(/^[0-9a-f]{12}$/)
    expect(nonce).not.toBe('')
    expect(names).toEqual(mode === 'delta' ? [''] : [])
    expect(resources).toHaveLength(1)
    expect(resources[0]!.type_url).toBe(NAME_TABLE_TYPE)
  })
  test('an edit reaches it', async () => {
    const node = subscribe(mode)
    expect((await node.nextTable()).get(WEB)?.ips).toEqual(['10.0.0.1'])
    folder.write('web.yaml', web('10.0.0.2'))
    expect((await node.nextTable()).get(WEB)?.ips).toEqual(['10.0.0.2'])
  })
  test('a change that is not its own is not sent', async () => {
    const node = subscribe(mode, 'default')
    const other = subscribe(mode, 'shop')
    await node.nextTable()
    await other.nextTable()
    folder.write('private.yaml', service({ name: 'vault', annotations: { 'networking.istio.io/exportTo': '.' } }))
    expect((await other.nextTable()).has('vault.shop.svc.cluster.local')).toBe(true)
    // A file that says the same in other words is no change for anybody.
    folder.write('web.yaml', `# the same\n${web('10.0.0.1')}`)
    folder.write('more.yaml', service({ name: 'more' }))
    expect((await other.nextTable()).has('more.shop.svc.cluster.local')).toBe(true)
    const table = await node.nextTable()
    expect([...table.keys()]).toEqual(['more.shop.svc.cluster.local', WEB])
    expect(node.received.waiting).toBe(0)
    expect(other.received.waiting).toBe(0)
  })
  test('a refusal is logged once, with its reason, and the same table is not sent again', async () => {
    const node = subscribe(mode)
    for (const ip of ['10.0.0.2', '10.0.0.3']) {
      const { nonce } = await node.received.next()
      node.send({ nonce, error: 'too many hosts' })
      await settled(node, `type.googleapis.com/${ip}`)
      folder.write('web.yaml', web(ip))
    }
    expect((await node.nextTable()).get(WEB)?.ips).toEqual(['10.0.0.3'])
    expect(log.of('warn')).toEqual(['a node refused its name table (too many hosts)'])
  })
  test('a request without a nonce is answered again in state of the world, and not in delta', async () => {
    const node = subscribe(mode)
    const { version } = await node.received.next()
    node.send({})
    if (mode === 'sotw') expect(await node.received.next()).toMatchObject({ typeUrl: NAME_TABLE_TYPE, version })
    await settled(node)
  })
  test('an acknowledgement of an older response, or of none, changes nothing', async () => {
    const node = subscribe(mode)
    await node.received.next()
    node.send({ nonce: 'never-sent', error: 'stale' })
    await settled(node)
    expect(log.of('warn')).toEqual([])
  })
  test('a node that comes back with the nonce of its last stream gets its table', async () => {
    const node = connect(mode)
    node.send({ node: nodeIn('shop'), nonce: '17', version: 'abc' })
    expect((await node.nextTable()).has(WEB)).toBe(true)
  })
  test('other types are answered once, with nothing, so that an Envoy goes on', async () => {
    const node = connect(mode)
    const typeUrl = 'type.googleapis.com/envoy.config.cluster.v3.Cluster'
    node.send({ node: nodeIn('shop'), typeUrl })
    const { nonce, resources } = await node.received.next()
    expect(resources).toEqual([])
    node.send({ typeUrl, nonce })
    node.send({ typeUrl })
    node.send({})
    expect(await node.received.next()).toMatchObject({ typeUrl: NAME_TABLE_TYPE })
  })
  test('a first request without a node is refused', async () => {
    const node = connect(mode)
    node.send({})
    expect(await node.ended).toMatchObject({ code: 3, details: 'the first request names no node' })
  })
  test('a node of which nobody knows the namespace is refused', async () => {
    const node = connect(mode)
    node.send({ node: { ...nodeIn('shop'), id: 'nobody' } })
    expect(await node.ended).toMatchObject({ code: 3, details: expect.stringContaining('node id "nobody": expected') })
    expect(log.of('warn')).toEqual([expect.stringMatching(/^refused a node: node id "nobody"/)])
  })
  test('the namespace of the metadata wins over that of the id', async () => {
    folder.write('private.yaml', service({ name: 'vault', annotations: { 'networking.istio.io/exportTo': '.' } }))
    await until(() => expect(controlPlane.state().services).toBe(2))
    const node = connect(mode)
    node.send({ node: nodeIn('default', { NAMESPACE: 'shop', CLUSTER_ID: 'near', NETWORK: 'here' }) })
    expect((await node.nextTable()).has('vault.shop.svc.cluster.local')).toBe(true)
  })
  test('a node that leaves is forgotten, in order or not', async () => {
    const orderly = subscribe(mode)
    const hasty = subscribe(mode)
    await orderly.nextTable()
    await hasty.nextTable()
    expect(controlPlane.state().nodes).toBe(2)
    orderly.halfClose()
    expect(await orderly.ended).toMatchObject({ code: 0 })
    hasty.close()
    await until(() => expect(controlPlane.state().nodes).toBe(0))
  })
  test('300 nodes get a push, each one table', async () => {
    const many = Array.from({ length: 300 }, (_, index) => subscribe(mode, `team-${index % 20}`))
    for (const node of many) await node.nextTable()
    expect(controlPlane.state().nodes).toBe(300)
    folder.write('web.yaml', web('10.0.0.2'))
    const tables = await Promise.all(many.map((node) => node.nextTable()))
    for (const table of tables) expect(table.get(WEB)?.ips).toEqual(['10.0.0.2'])
  })
})

test('a bad file is logged with its place, and what it said before is served on', async () => {
  const node = subscribe('delta')
  await node.nextTable()
  folder.write('web.yaml', `# what follows is wrong\n${web('10.0.0.999')}`)
  await until(() => expect(controlPlane.state().problems).toHaveLength(1))
  expect(log.of('error')).toEqual([
    'web.yaml: document 1, line 2: spec.clusterIP: expected an IP address or None; the last good state goes on',
  ])
  folder.write('db.yaml', service({ name: 'db' }))
  expect([...(await node.nextTable()).keys()]).toEqual(['db.shop.svc.cluster.local', WEB])
})

test('the stop ends streams in order and frees the port', async () => {
  const port = await freePort()
  await controlPlane.stop(1000)
  controlPlane = await start(port)
  const node = subscribe('delta')
  await node.nextTable()
  await controlPlane.stop(1000)
  expect(await node.ended).toMatchObject({ code: 0 })
  controlPlane = await start(port)
})

test('the same mesh has the same version after a restart', async () => {
  const before = await subscribe('delta').received.next()
  await controlPlane.stop(1000)
  controlPlane = await start()
  expect((await subscribe('delta').received.next()).version).toBe(before.version)
})

function boundAddress(server: Server): AddressInfo {
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('the server does not listen')
  return address
}

test('an address in use is named', async () => {
  const taken = createServer().listen(0, '127.0.0.1')
  await once(taken, 'listening')
  const { port } = boundAddress(taken)
  await expect(start(port)).rejects.toMatchObject({
    code: 'EADDRINUSE',
    message: `cannot listen on 127.0.0.1:${port} (xDS): the address is in use by another process`,
  })
  taken.close()
})

test('an address that this machine has not is named', async () => {
  const listen = { address: '192.0.2.1', port: 0 }
  await expect(startControlPlane({ folder: folder.path, listen, log, watchFolder })).rejects.toMatchObject({
    code: 'EADDRNOTAVAIL',
    message: 'cannot listen on 192.0.2.1:0 (xDS): the address is not an address of this machine',
  })
})

test.each([
  ['missing', 'ENOENT'],
  ['web.yaml', 'is no folder'],
])('%s instead of a folder is told at once', async (name, why) => {
  const listen = { address: '127.0.0.1', port: 0 }
  const starting = startControlPlane({ folder: `${folder.path}/${name}`, listen, log, watchFolder })
  await expect(starting).rejects.toThrow(new RegExp(`^mesh folder .*/${name}: .*${why}`))
})
