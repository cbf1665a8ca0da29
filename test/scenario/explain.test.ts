/** `byname explain` beside what a real daemon then answers: table, cache, upstream, access, and the application's look-up. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { socketText } from '../../src/config/address.ts'
import { byname } from '../cli/byname-process.ts'
import type { DaemonProcess } from '../daemon/daemon-process.ts'
import { Stage } from './scenario.ts'
import { until } from '../until.ts'

const stage = new Stage()

/** What a command shows about this daemon. */
async function explain(daemon: DaemonProcess, ...args: string[]): Promise<{ code: number | null; out: string }> {
  const { address, port } = await daemon.line('admin endpoint is listening')
  const { code, err, out } = await byname(['explain', ...args, '--admin', `${String(address)}:${String(port)}`])
  expect(err).toBe('')
  return { code, out }
}

test('a mesh name, a cached one and one that must be asked are explained as they are answered; nothing is asked', async () => {
  const upstream = await stage.resolver((query) =>
    query.name.endsWith('cluster.local') ? query.reply({ flags: 0x183 }) : query.answer('192.0.2.7', 60),
  )
  const folder = mkdtempSync(join(tmpdir(), 'byname-explain-'))
  stage.closing(() => rmSync(folder, { recursive: true }))
  const table = join(folder, 'table.json')
  const host = { ips: ['10.0.0.1'], registry: 'Kubernetes', shortname: 'web', namespace: 'default' }
  writeFileSync(table, JSON.stringify({ table: { 'web.default.svc.cluster.local': host } }))
  const resolvConf = join(folder, 'resolv.conf')
  writeFileSync(resolvConf, 'search default.svc.cluster.local svc.cluster.local\noptions ndots:5\n')
  const daemon = await stage.daemon({
    config: { mesh: { source: { table } }, upstream: { servers: [upstream.text] } },
  })
  await until(async () => expect((await daemon.status()).table.hosts).toBe(1))
  const here = ['--resolv-conf', resolvConf, '--server', socketText(daemon.at().address, daemon.at().port)]

  const linkLocal = await explain(daemon, 'web', ...here, '--from', 'fe80::1%eth0')
  expect(linkLocal.code).toBe(0)

  const mesh = await explain(daemon, 'web', ...here, '--live')
  expect(mesh.out.split('\n')[0]).toBe(
    'A program that looks up web gets the addresses of web.default.svc.cluster.local.',
  )
  expect(mesh.out).toContain('host web.default.svc.cluster.local (Kubernetes, namespace default): 1 IPv4 and 0 IPv6')
  expect(mesh.out).toContain('Differences: no difference')

  const outside = await explain(daemon, 'api.example.com', ...here)
  expect(outside.out).toContain(`api.example.com. A: asked of ${upstream.text}`)
  expect(outside.out).toContain('goes upstream by the default route (random)')
  expect(outside.out).toMatch(
    / 1 +api\.example\.com\.default\.svc\.cluster\.local\. .*\n +2 .*\n +3 +api\.example\.com\. /,
  )
  // The daemon itself asks, too: for loops.
  expect(upstream.queries.filter(({ name }) => name.startsWith('api.example.com'))).toEqual([])

  // What was open is asked: then the look-up is played with the replies, and the answer is in the cache.
  const live = await explain(daemon, 'api.example.com', ...here, '--live')
  expect(live.out).toContain('glibc: the addresses of api.example.com\n')
  const cached = await explain(daemon, 'api.example.com', 'A')
  expect(cached.out.split('\n')[0]).toBe('api.example.com. A: 192.0.2.7, from cache')
  expect(cached.out).toMatch(/cache +an answer from 127\.0\.0\.1:\d+, \d+ s ago, \d+ s left +<- answers/)

  // Another server answers something else: each difference is named, and the exit code says that there is one.
  const other = await stage.resolver((query) => query.answer('192.0.2.99'))
  const differing = await explain(daemon, 'api.example.com', 'A', '--live', '--server', other.text)
  expect(differing.code).toBe(1)
  expect(differing.out).toContain('api.example.com. A: explained as 192.0.2.7, answered with 192.0.2.99')

  const refused = await explain(daemon, 'web', 'A', '--from', '192.0.2.1')
  expect(refused.out.split('\n')[0]).toMatch(/^web\. A: REFUSED: the client is not on this machine/)
  const json = await explain(daemon, 'web', 'A', '--json')
  expect(JSON.parse(json.out)).toMatchObject({
    questions: [{ source: 'mesh', outcome: 'addresses', rcode: 'NOERROR' }],
    table: { hosts: 1 },
  })
})

test.each([
  [['x..y'], 1, '"x..y" is no domain name'],
  [['web', 'NOTYPE'], 2, '"NOTYPE" is no record type'],
  [['web', '--from', 'nobody'], 2, '--from: "nobody" is no address'],
  [[], 2, 'name a NAME to explain'],
  [['web', '--resolv-conf', '/nowhere/resolv.conf'], 2, '--resolv-conf: /nowhere/resolv.conf'],
])('explain %j is refused in one line', async (args, code, message) => {
  const daemon = args[0] === 'x..y' ? await stage.daemon({ config: { mesh: { source: { table: '/nowhere' } } } }) : null
  const line = await daemon?.line('admin endpoint is listening')
  const admin = line === undefined ? '127.0.0.1:1' : `${String(line['address'])}:${String(line['port'])}`
  const ended = await byname(['explain', ...args, '--admin', admin])
  expect([ended.code, ended.out, ended.err.split('\n').length]).toEqual([code, '', 2])
  expect(ended.err).toContain(message)
})
