import { once } from 'node:events'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { compareTables, type ComparedTable } from '../../src/cli/table-difference.ts'
import { encodeNameTable, parseNameTableJson } from '../../src/table/nds.ts'
import { byname } from './byname-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'byname-table-diff-'))
const servers: Server[] = []
afterAll(() => {
  for (const server of servers) server.close()
  rmSync(folder, { recursive: true, force: true })
})

const OURS = {
  table: {
    'reviews.shop.svc.cluster.local': {
      ips: ['10.0.0.7', 'fd00::7'],
      registry: 'Kubernetes',
      shortname: 'reviews',
      namespace: 'shop',
    },
    'ratings.shop.svc.cluster.local': {
      ips: ['10.0.0.8'],
      registry: 'Kubernetes',
      shortname: 'ratings',
      namespace: 'shop',
    },
    'db.example': { ips: ['240.240.0.1'], registry: 'External' },
  },
}
/** The same in another order and other spellings, and then some. */
const OTHER = {
  table: {
    'old.shop.svc.cluster.local': { ips: ['10.0.0.6'], registry: 'Kubernetes', shortname: 'old', namespace: 'shop' },
    'DB.example.': { registry: 'External', ips: ['240.240.0.1', '240.240.0.1'], namespace: 'outside' },
    'reviews.shop.svc.cluster.local': {
      ips: ['FD00:0:0:0:0:0:0:7', '10.0.0.9'],
      registry: 'External',
      namespace: 'stage',
    },
  },
}

async function serve(bodies: Record<string, unknown>): Promise<string> {
  const server = createServer((request, response) => {
    const body = bodies[request.url ?? '']
    response.statusCode = body === undefined ? 404 : 200
    response.end(body === undefined ? 'not found' : JSON.stringify(body))
  })
  servers.push(server)
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  return typeof address === 'object' && address !== null ? `127.0.0.1:${address.port}` : ''
}

function put(name: string, content: string | Uint8Array): string {
  const path = join(folder, name)
  writeFileSync(path, content)
  return path
}

function service(name: string, clusterIP: string): string {
  const spec = { clusterIP, ports: [{ port: 80 }] }
  return JSON.stringify({ apiVersion: 'v1', kind: 'Service', metadata: { name, namespace: 'shop' }, spec })
}

/** 100,000 hosts, of which a hundred depend on `other`. */
function largeTable(other: number): ComparedTable {
  return new Map(
    Array.from({ length: 100_000 }, (_, n) => {
      const last = (n & 255) ^ (n % 1000 === 0 ? other : 0)
      const ips = [
        `10.${n >> 16}.${(n >> 8) & 255}.${last}`,
        `fd00::${(n >> 16).toString(16)}:${(n & 0xffff).toString(16)}`,
      ]
      const host = `service-${n}.namespace-${n % 100}.svc.cluster.local`
      return [host, { ips, registry: 'Kubernetes', namespace: 'x' }]
    }),
  )
}

let admin: string
beforeAll(async () => {
  admin = await serve({
    '/debug/table': OURS,
    '/debug/config': { identity: { namespace: 'shop', domain: 'shop.svc.cluster.local', ip: '10.0.0.1' } },
  })
})

describe('a table that is not the same', () => {
  test('is shown host by host, and the exit code is that of diff', async () => {
    const file = put('other.json', JSON.stringify(OTHER))
    const { code, out, err } = await byname(['table', '--diff', file, '--admin', admin])
    expect(err).toBe('')
    expect(out).toBe(`--- ${file}
+++ byname at ${admin}
- old.shop.svc.cluster.local  10.0.0.6  Kubernetes  namespace shop
+ ratings.shop.svc.cluster.local  10.0.0.8  Kubernetes  namespace shop
~ reviews.shop.svc.cluster.local  -10.0.0.9  +10.0.0.7  registry External → Kubernetes  namespace stage → shop
1 host added, 1 removed, 1 changed, 1 the same
`)
    expect(code).toBe(1)
  })

  test('is shown as JSON', async () => {
    const file = put('other.json', JSON.stringify(OTHER))
    const { code, out } = await byname(['table', '--diff', file, '--admin', admin, '--json'])
    expect(code).toBe(1)
    expect(JSON.parse(out)).toEqual({
      from: file,
      to: `byname at ${admin}`,
      added: [{ host: 'ratings.shop.svc.cluster.local', ips: ['10.0.0.8'], registry: 'Kubernetes', namespace: 'shop' }],
      removed: [{ host: 'old.shop.svc.cluster.local', ips: ['10.0.0.6'], registry: 'Kubernetes', namespace: 'shop' }],
      changed: [
        {
          host: 'reviews.shop.svc.cluster.local',
          ips: { added: ['10.0.0.7'], removed: ['10.0.0.9'] },
          registry: { from: 'External', to: 'Kubernetes' },
          namespace: { from: 'stage', to: 'shop' },
        },
      ],
      same: 1,
    })
  })
})

describe('the same table', () => {
  test.each<[string, () => string | Uint8Array]>([
    ['as byname prints it', () => JSON.stringify(OURS)],
    [
      'as istiod prints a resource',
      () =>
        JSON.stringify(
          { resource: { '@type': 'type.googleapis.com/istio.networking.nds.v1.NameTable', ...OURS } },
          null,
          4,
        ),
    ],
    ['in a list of resources', () => JSON.stringify({ versionInfo: '1', resources: [{ name: 'x', resource: OURS }] })],
    ['by the name of an istiod', () => JSON.stringify({ 'istiod-7d4f9c': OURS })],
    ['serialized', () => encodeNameTable(parseNameTableJson(JSON.stringify(OURS)))],
  ])('%s', async (_how, content) => {
    expect(await byname(['table', '--diff', put('same', content()), '--admin', admin])).toEqual({
      code: 0,
      err: '',
      out: 'The tables are the same: 3 hosts.\n',
    })
  })

  test('of another byname', async () => {
    const { code } = await byname(['table', '--diff', await serve({ '/debug/table': OURS }), '--admin', admin])
    expect(code).toBe(0)
  })

  test('of mesh files, as the workload would get it; nothing is written', async () => {
    const mesh = join(folder, 'mesh')
    mkdirSync(mesh)
    writeFileSync(join(mesh, 'reviews.json'), service('reviews', '10.0.0.7'))
    writeFileSync(join(mesh, 'ratings.json'), service('ratings', '10.0.0.8'))
    const entry = {
      apiVersion: 'networking.istio.io/v1',
      kind: 'ServiceEntry',
      metadata: { name: 'db', namespace: 'shop' },
    }
    const spec = { hosts: ['db.example'], ports: [{ number: 80, name: 'http', protocol: 'HTTP' }], resolution: 'DNS' }
    writeFileSync(join(mesh, 'db.json'), JSON.stringify({ ...entry, spec }))
    const { code, out, err } = await byname(['table', '--diff', mesh, '--admin', admin])
    expect(err).toBe('')
    expect(code).toBe(1)
    expect(out).toContain('0 hosts added, 0 removed, ')
    expect(out).toContain('~ reviews.shop.svc.cluster.local  +fd00::7\n')
    const { readdirSync } = await import('node:fs')
    expect(readdirSync(mesh).toSorted()).toEqual(['db.json', 'ratings.json', 'reviews.json'])
  })

  test('is empty on both sides', async () => {
    const { code, out } = await byname([
      'table',
      '--diff',
      put('empty.json', '{}'),
      '--admin',
      await serve({ '/debug/table': {} }),
    ])
    expect([code, out]).toEqual([0, 'The tables are the same: 0 hosts.\n'])
  })
})

test('an address that is none is compared as it is written', async () => {
  const table = JSON.stringify({ table: { a: { ips: ['fd00::12345', 'text'] } } })
  const { code, out } = await byname([
    'table',
    '--diff',
    put('odd', table),
    '--admin',
    await serve({ '/debug/table': { table: { a: { ips: ['text'] } } } }),
  ])
  expect([code, out.split('\n')[2]]).toEqual([1, '~ a  -fd00::12345'])
})

describe('tables that cannot be compared are exit code 2, in one line', () => {
  test.each<[string, () => string, string]>([
    [
      'a file that is not there',
      () => '/nowhere',
      '--diff /nowhere: there is no such file or folder, and it is no ADDR:PORT',
    ],
    ['a file that holds something else', () => put('text', 'hello'), 'holds no name table: neither JSON'],
    ['JSON that holds something else', () => put('json', '{"a":[1]}'), 'holds no name table: there is no {"table"'],
    ['an empty file', () => put('nothing', ''), 'holds no name table'],
    ['a host that is none', () => put('host', '{"table":{"a":7}}'), 'host "a" is no object with ips'],
    ['an address where nothing listens', () => '127.0.0.1:9', 'nothing listens on 127.0.0.1:9'],
  ])('%s', async (_what, other, message) => {
    const { code, err, out } = await byname(['table', '--diff', other(), '--admin', admin])
    expect(err).toContain(message)
    expect(err.split('\n')).toHaveLength(2)
    expect([code, out]).toEqual([2, ''])
  })

  test('a daemon that is not there', async () => {
    const { code, err } = await byname(['table', '--diff', put('x.json', '{}'), '--admin', '127.0.0.1:9'])
    expect(code).toBe(2)
    expect(err).toContain('nothing listens on 127.0.0.1:9')
  })
})

test('100,000 hosts are compared within seconds of processor time', () => {
  const before = process.threadCpuUsage()
  const { changed, same } = compareTables(largeTable(0), largeTable(1))
  expect(process.threadCpuUsage(before).user).toBeLessThan(5_000_000)
  expect([changed.length, same]).toEqual([100, 99_900])
})
