import { afterEach, beforeEach, expect, test } from 'vitest'
import { watchFolder } from '../../src/base/file-watch.ts'
import { type FolderNode, MeshFilesOrigin } from '../../src/tables/mesh-folder.ts'
import { type NameTable, type TableSink, type TableVerdict } from '../../src/table/nds.ts'
import { decodeNameTable } from '../table/decode-name-table.ts'
import { Inbox } from '../xds/inbox.ts'
import { LogLines } from '../mesh/log-lines.ts'
import { MeshFolder } from '../mesh/mesh-folder.ts'
import { documents, service, serviceEntry } from '../mesh/mesh-of.ts'

let folder: MeshFolder
let log: LogLines
let tables: Inbox<{ table: NameTable; version: string }>
let verdict: TableVerdict
let source: MeshFilesOrigin
beforeEach(() => {
  folder = new MeshFolder()
  log = new LogLines()
  tables = new Inbox()
  verdict = { accepted: true, changed: true }
})
afterEach(async () => {
  await source.stop(1000)
  folder[Symbol.dispose]()
})

function open(node: Partial<FolderNode> = {}): MeshFilesOrigin {
  const sink: TableSink = {
    accept(bytes, version) {
      tables.put({ table: decodeNameTable(bytes), version })
      return verdict
    },
  }
  const whole = { namespace: 'shop', cluster: '', network: '', ...node }
  source = new MeshFilesOrigin({ folder: folder.path, node: whole, sink, log, watchFolder })
  return source
}

const hostsOf = async (): Promise<string[]> => [...(await tables.next()).table.keys()]

test('the table of the files is handed on, and again when it changes', async () => {
  folder.write('web.yaml', service())
  await open().start()
  const { table, version } = await tables.next()
  expect([...table.keys()]).toEqual(['web.shop.svc.cluster.local'])
  expect(source.state()).toMatchObject({ version, hosts: 1, files: 1, problems: [] })
  folder.write('db.yaml', service({ name: 'db' }))
  expect(await hostsOf()).toEqual(['db.shop.svc.cluster.local', 'web.shop.svc.cluster.local'])
})

test('a change that makes no difference is not handed on', async () => {
  folder.write('web.yaml', service())
  await open().start()
  await tables.next()
  folder.write('web.yaml', `# the same\n${service()}`)
  folder.write('bad.yaml', 'kind: [')
  folder.write('db.yaml', service({ name: 'db' }))
  expect(await hostsOf()).toHaveLength(2)
  expect(tables.waiting).toBe(0)
})

test('the node decides what is seen and how it is called', async () => {
  folder.write('web.yaml', service({ annotations: { 'networking.istio.io/exportTo': '.' } }))
  folder.write('db.yaml', service({ name: 'db' }))
  await open({ namespace: 'default', domain: 'default.svc.example.internal' }).start()
  expect(await hostsOf()).toEqual(['db.shop.svc.example.internal'])
})

test('a sink that fails costs nothing: the next table is offered, and what the state says stays', async () => {
  folder.write('web.yaml', service())
  let failures = 0
  source = new MeshFilesOrigin({
    folder: folder.path,
    node: { namespace: 'shop', cluster: '', network: '' },
    sink: {
      accept(bytes, version) {
        if (failures++ === 0) throw new Error('out of luck')
        tables.put({ table: decodeNameTable(bytes), version })
        return verdict
      },
    },
    log,
    watchFolder,
  })
  await source.start()
  expect(log.of('error')).toEqual([
    expect.stringMatching(/^the name table from the mesh files is refused; the one in use stays \(.*out of luck.*\)$/),
  ])
  expect(source.state()).toMatchObject({ version: '', hosts: 0, files: 1 })
  folder.write('db.yaml', service({ name: 'db' }))
  expect(await hostsOf()).toHaveLength(2)
})

test('a table that is refused is told, and the next one is offered', async () => {
  verdict = { accepted: false, reason: 'too large' }
  folder.write('web.yaml', service())
  await open().start()
  await tables.next()
  expect(log.of('error')).toEqual(['the name table from the mesh files is refused; the one in use stays (too large)'])
  expect(source.state()).toMatchObject({ version: '', hosts: 0 })
  verdict = { accepted: true, changed: true }
  folder.write('web.yaml', `# again\n${service()}`)
  expect(await hostsOf()).toHaveLength(1)
})

test('without a folder nothing is handed on until there is one', async () => {
  const path = folder.path
  folder[Symbol.dispose]()
  await open().start()
  expect(tables.waiting).toBe(0)
  expect(log.of('error')).toEqual([expect.stringContaining(`${path}: cannot be read: ENOENT`)])
  folder.write('web.yaml', service())
  expect(await hostsOf()).toHaveLength(1)
})

test.each<[Partial<FolderNode>, Record<string, string[]>]>([
  [{}, { web: ['10.0.0.1', 'fd00::1'], api: ['240.240.0.1', '2001:2::1'] }],
  [{ ip: '10.9.9.9' }, { web: ['10.0.0.1'], api: ['240.240.0.1'] }],
  [
    { ip: '10.9.9.9', instanceIps: 'fd00::9' },
    { web: ['fd00::1'], api: ['2001:2::1'] },
  ],
  [{ ip: '10.9.9.9', dnsCapture: 'false' }, { web: ['10.0.0.1'] }],
])('node %j has the addresses that it can use', async (node, wanted) => {
  const web = service({ spec: { clusterIPs: ['10.0.0.1', 'fd00::1'] } })
  folder.write('mesh.yaml', documents(web, serviceEntry({})))
  await open(node).start()
  const { table } = await tables.next()
  expect(Object.fromEntries([...table].map(([host, { ips }]) => [host.split('.')[0], ips]))).toEqual(wanted)
})
