import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Packet } from 'dns-packet'
import { afterEach, describe, expect, test } from 'vitest'
import { answerSource, type Evidence, type ReplyFacts } from '../../src/cli/answer-source.ts'
import { DaemonProcess } from '../daemon/daemon-process.ts'
import { byname } from './byname-process.ts'
import { ScriptedServer } from './scripted-server.ts'

const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0).toReversed()) await stop()
})

const REPLY: ReplyFacts = {
  name: 'www.example.com',
  type: 'A',
  rcode: 'NOERROR',
  isAuthoritative: false,
  extendedErrors: new Set(),
}

/** Counted by source while the question was asked, and failures of the one upstream server. */
function counted(responses: Record<string, number>, failures: Record<string, number> = {}): Evidence {
  const server = { label: '10.0.0.10:53', routes: ['.'], isLoop: false, healthy: true, rttMs: null, requests: {} }
  const none = { mesh: 7, cache: 7, stale: 7, upstream: 7, local: 7 }
  const after = Object.fromEntries(Object.entries(none).map(([key, count]) => [key, count + (responses[key] ?? 0)]))
  return {
    before: { listeners: [], responses: none, upstreams: [{ ...server, failures: { timeout: 3 } }] },
    after: { listeners: [], responses: after, upstreams: [{ ...server, failures: { timeout: 3, ...failures } }] },
  }
}

test('a rule that was matched meanwhile is the source, and without one the hosts file', () => {
  const rules = { count: 1, names: 1, bytes: 100, matches: 4, notAllowed: 2, egress: 'audit' }
  const evidence = counted({ local: 1 })
  if ('missing' in evidence) throw new Error('there is evidence')
  const before = { ...evidence.before, rules }
  const textOf = (matches: number, notAllowed: number): string =>
    answerSource(
      { ...REPLY, rcode: 'NXDOMAIN' },
      { before, after: { ...evidence.after, rules: { ...rules, matches, notAllowed } } },
    ).text
  expect(textOf(5, 2)).toBe('byname itself: a rule ("byname explain" says which)')
  expect(textOf(4, 3)).toBe('byname itself: a rule ("byname explain" says which)')
  expect(textOf(4, 2)).toBe('byname itself: NXDOMAIN')
})

describe('what was counted while the question was asked tells the source', () => {
  const busy = 'other clients were answered at the same time'
  const cases: [Partial<ReplyFacts>, Evidence, text: string, doubt: string | null][] = [
    [{ isAuthoritative: true }, counted({ mesh: 1 }), 'mesh table', null],
    [{ isAuthoritative: true }, counted({ local: 1 }), 'hosts file', null],
    [{}, counted({ cache: 1 }), 'cache', null],
    [{}, counted({ cache: 2 }), 'cache', null],
    [{}, counted({ upstream: 1 }), 'upstream', null],
    [{ extendedErrors: new Set([3]) }, counted({ stale: 1 }), 'cache (stale: no upstream server answers)', null],
    [{ extendedErrors: new Set([19]) }, counted({ stale: 1 }), 'cache (stale: no upstream server answers)', null],
    [{ name: 'a.localhost' }, counted({ local: 1 }), 'byname itself: a special name', null],
    [{ name: 'x.invalid.', rcode: 'NXDOMAIN' }, counted({ local: 1 }), 'byname itself: a special name', null],
    [{ type: 'ANY' }, counted({ local: 1 }), 'byname itself: ANY gets one HINFO record (RFC 8482)', null],
    [
      { rcode: 'SERVFAIL', extendedErrors: new Set([14]) },
      counted({ local: 1 }),
      'byname itself: no name table yet',
      null,
    ],
    [
      { rcode: 'REFUSED', extendedErrors: new Set([18]) },
      counted({ local: 1 }),
      'byname itself: this client may not ask',
      null,
    ],
    [{ rcode: 'NOTIMP' }, counted({ local: 1 }), 'byname itself: NOTIMP', null],
    // Whose error it is: the server's, or that of none that answered.
    [{ rcode: 'SERVFAIL' }, counted({ upstream: 1 }, { servfail: 1 }), 'upstream failed: 10.0.0.10:53: servfail', null],
    [{ rcode: 'SERVFAIL' }, counted({ upstream: 1 }, { timeout: 6 }), 'upstream failed: 10.0.0.10:53: timeout', null],
    [{ rcode: 'SERVFAIL' }, counted({ upstream: 1 }), 'upstream', null],
    [{ rcode: 'NXDOMAIN' }, counted({ upstream: 1 }, { timeout: 4 }), 'upstream', null],
    // Others ask as well: what the reply rules out is left out.
    [{}, counted({ mesh: 900, cache: 1 }), 'cache', null],
    [{ isAuthoritative: true }, counted({ mesh: 1, cache: 9, upstream: 9 }), 'mesh table', null],
    [{}, counted({ mesh: 5, cache: 1, upstream: 1 }), 'cache, or upstream', busy],
    [{ isAuthoritative: true }, counted({ mesh: 1, local: 1 }), 'mesh table, or hosts file', busy],
    [{}, counted({ stale: 1, local: 1, cache: 1 }), 'cache', null],
    [{}, counted({}), 'upstream or cache', 'told by the reply alone: byname counted no answer'],
    [{ isAuthoritative: true }, { missing: 'why' }, 'mesh table or hosts file', 'told by the reply alone: why'],
    [{ name: 'localhost' }, { missing: 'why' }, 'byname itself: a special name', 'told by the reply alone: why'],
    [{ name: 'nolocalhost' }, { missing: 'why' }, 'upstream or cache', 'told by the reply alone: why'],
  ]
  test.each(cases)('%o, %o: %s', (facts, evidence, text, doubt) => {
    expect(answerSource({ ...REPLY, ...facts }, evidence)).toMatchObject({ text, doubt })
  })
})

function answerByName({ questions }: Packet): Partial<Packet> | null {
  const { name } = questions![0]!
  if (name.startsWith('silent')) return null
  if (name.startsWith('failing')) return { flags: 2 }
  return { flags: 0x180, answers: [{ name, type: 'A', ttl: 60, data: '192.0.2.1' }] }
}

test('a running daemon: mesh, hosts file, special name, upstream, cache, and whose failure it was', async () => {
  const resolver = await ScriptedServer.start(answerByName)
  stops.push(() => resolver.stop())
  const files = await DaemonProcess.start({
    config: {
      mesh: { source: { table: '/nowhere' } },
      upstream: { servers: [resolver.text], attemptTimeoutMs: 1000, deadlineMs: 3000 },
    },
  })
  stops.push(() => files.stop())
  const source = await sourcesOf(files)
  expect(await source('mesh.example')).toBe('byname itself: no name table yet')
  const table = join(files.folder, 'table.json')
  const hosts = join(files.folder, 'hosts')
  writeFileSync(table, JSON.stringify({ table: { 'mesh.example': { ips: ['10.0.0.7'] } } }))
  writeFileSync(hosts, '10.0.0.8 printer\n')
  const daemon = await DaemonProcess.start({
    config: {
      mesh: { source: { table } },
      hostsFile: hosts,
      upstream: { servers: [resolver.text], attemptTimeoutMs: 1000, deadlineMs: 3000 },
    },
  })
  stops.push(() => daemon.stop())
  const sourceOf = await sourcesOf(daemon)
  expect(await sourceOf('mesh.example')).toBe('mesh table')
  expect(await sourceOf('printer')).toBe('hosts file')
  expect(await sourceOf('localhost')).toBe('byname itself: a special name')
  expect(await sourceOf('www.example.com')).toBe('upstream')
  expect(await sourceOf('www.example.com')).toBe('cache')
  // From whom, and since when.
  const { address, port } = daemon.at()
  const at = ['--server', `${address}:${port}`, '--admin', await adminOf(daemon)]
  const cached = await byname(['query', 'www.example.com', ...at])
  const from = cached.out.split('\n').find((line) => line.startsWith('from'))
  expect(from).toMatch(new RegExp(`^from    ${resolver.text}, \\d+ s ago \\(\\d{4}-.*Z\\), \\d+ s left$`))
  expect(JSON.parse((await byname(['query', 'fresh.example.com', '--json', ...at])).out)).toMatchObject({
    origin: { server: resolver.text, ageSeconds: expect.any(Number), leftSeconds: expect.any(Number) },
    originDoubt: null,
  })
  expect((await byname(['query', 'mesh.example', ...at])).out).toMatch(/^from +table of 1 host from .*table.json, /m)
  expect((await byname(['query', 'localhost', ...at])).out).not.toMatch(/^from/m)
  expect(await sourceOf('failing.example.com')).toBe(`upstream failed: ${resolver.text}: servfail`)
  expect(await sourceOf('silent.example.com')).toContain(`upstream failed: ${resolver.text}: timeout`)
  // Of another server the daemon knows nothing.
  const { out } = await byname(['query', 'x', '--json', '--server', resolver.text, '--admin', await adminOf(daemon)])
  expect(JSON.parse(out)).toMatchObject({
    source: 'upstream or cache',
    sourceDoubt: expect.stringMatching(/ is no listener of the byname at /),
  })
})

async function adminOf(daemon: DaemonProcess): Promise<string> {
  const { address, port } = await daemon.line('admin endpoint is listening')
  return `${String(address)}:${String(port)}`
}

async function sourcesOf(daemon: DaemonProcess): Promise<(name: string) => Promise<string>> {
  const { address, port } = daemon.at()
  const admin = await adminOf(daemon)
  return async (name) => {
    const { out } = await byname(['query', name, '--json', '--server', `${address}:${port}`, '--admin', admin])
    const { source, sourceDoubt }: { source: string; sourceDoubt: string | null } = JSON.parse(out)
    expect(sourceDoubt).toBeNull()
    return source
  }
}
