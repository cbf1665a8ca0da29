import type { Answer } from 'dns-packet'
import { afterEach, describe, expect, test } from 'vitest'
import { freePort } from '../free-port.ts'
import { until } from '../until.ts'
import { byname } from './byname-process.ts'
import { type Script, ScriptedServer } from './scripted-server.ts'

const AA = 0x0400
const TC = 0x0200
const RD_RA = 0x0180

const servers: ScriptedServer[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.stop()
})

async function serve(script: Script): Promise<ScriptedServer> {
  const server = await ScriptedServer.start(script)
  servers.push(server)
  return server
}

const address: Answer = { name: 'reviews.default.svc.cluster.local', type: 'A', ttl: 30, data: '10.0.0.7' }

test('a mesh answer: records aligned, flags, where it came from', async () => {
  const server = await serve(() => ({
    flags: AA | RD_RA,
    answers: [{ name: 'reviews', type: 'CNAME', ttl: 5, data: 'reviews.default.svc.cluster.local' }, address],
  }))
  const { code, out, err } = await byname(['query', 'reviews', '--server', server.text])
  expect({ code, err }).toEqual({ code: 0, err: '' })
  const lines = out.split('\n')
  expect(lines.slice(0, 5)).toEqual([
    'reviews. A: NOERROR (qr aa rd ra)',
    '',
    'reviews.                             5  CNAME  reviews.default.svc.cluster.local.',
    'reviews.default.svc.cluster.local.  30  A      10.0.0.7',
    '',
  ])
  expect(lines[5]).toBe('source  mesh table or hosts file')
  expect(lines[6]).toMatch(/^ {8}told by the reply alone: nothing listens on 127\.0\.0\.1:15054; /)
  expect(lines[7]).toMatch(new RegExp(`^server  ${server.text} over UDP, [\\d.]+ ms, \\d+ bytes$`))
  expect(server.queries).toHaveLength(1)
  expect(server.queries[0]!.query.additionals).toMatchObject([{ type: 'OPT', udpPayloadSize: 1232 }])
})

test('--json has the same, for programs', async () => {
  const server = await serve(() => ({ flags: RD_RA | 3, answers: [] }))
  const { out } = await byname(['query', 'nowhere.example', 'AAAA', '--json', '--server', server.text])
  expect(JSON.parse(out)).toMatchObject({
    question: { name: 'nowhere.example.', type: 'AAAA' },
    rcode: 'NXDOMAIN',
    flags: ['qr', 'rd', 'ra'],
    answers: [],
    source: 'upstream or cache',
    sourceDoubt: expect.stringMatching(/^told by the reply alone: /),
    transport: 'udp',
    server: server.text,
  })
})

test('a truncated reply is asked for again over TCP', async () => {
  const server = await serve((_query, transport) =>
    transport === 'udp' ? { flags: RD_RA | TC } : { flags: RD_RA, answers: [address] },
  )
  const { code, out } = await byname(['query', 'big', '--server', server.text])
  expect(code).toBe(0)
  expect(out).toContain('over TCP (truncated over UDP)')
  expect(out).toContain('10.0.0.7')
  expect(server.queries.map((query) => query.transport)).toEqual(['udp', 'tcp'])
})

test('--tcp asks over TCP only', async () => {
  const server = await serve(() => ({ flags: RD_RA, answers: [address] }))
  await byname(['query', 'x', '--tcp', '--server', server.text])
  await byname(['query', 'x', '--server', `tcp://${server.text}`])
  expect(server.queries.map((query) => query.transport)).toEqual(['tcp', 'tcp'])
})

test.each([
  [['10.0.0.7'], 'PTR', '7.0.0.10.in-addr.arpa'],
  [['::1'], 'PTR', `1.${'0.'.repeat(31)}ip6.arpa`],
  [['x', 'https'], 'UNKNOWN_65', 'x'],
  [['x', 'TYPE64'], 'UNKNOWN_64', 'x'],
  [['x', 'srv'], 'SRV', 'x'],
  [['bücher.example'], 'A', 'xn--bcher-kva.example'],
  [['AAAA', 'x'], 'AAAA', 'x'],
  [['mx', 'ns'], 'NS', 'mx'],
  [['a'], 'A', 'a'],
  [['x', 'IN', 'txt'], 'TXT', 'x'],
  [['IN', 'txt', 'x'], 'TXT', 'x'],
  [['in', 'aaaa'], 'AAAA', 'in'],
  [['-t', 'MX', 'x'], 'MX', 'x'],
  [['x', '-t', 'MX', 'in'], 'MX', 'x'],
  [['-x', '10.0.0.7'], 'PTR', '7.0.0.10.in-addr.arpa'],
  [['-x', '::1'], 'PTR', `1.${'0.'.repeat(31)}ip6.arpa`],
])('%j asks for %s %s', async (args, type, name) => {
  const server = await serve(() => ({ flags: RD_RA }))
  const { code } = await byname(['query', ...args, '--server', server.text])
  expect(code).toBe(0)
  expect(server.queries[0]!.query.questions).toMatchObject([{ type, name }])
})

test('records of every shape, extended errors, and no control characters to the terminal', async () => {
  const ede = Buffer.concat([Buffer.from([0, 22]), Buffer.from('all \u001b[31mfailed')])
  const server = await serve(() => ({
    flags: RD_RA | 2,
    answers: [
      { name: 'x', type: 'MX', ttl: 1, data: { preference: 10, exchange: 'mail.x' } },
      { name: 'x', type: 'SRV', ttl: 1, data: { priority: 1, weight: 2, port: 3, target: 'srv.x' } },
      { name: 'x', type: 'TXT', ttl: 1, data: ['a "b"', 'c'] },
      // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- dns-packet takes types that its own do not name
      { name: 'x', type: 'UNKNOWN_65' as 'NULL', ttl: 1, data: Buffer.from([0, 1, 0]) },
    ],
    additionals: [
      {
        type: 'OPT',
        name: '.',
        udpPayloadSize: 1232,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- likewise options
        options: [{ code: 15, data: ede }] as never,
      },
    ],
  }))
  const { out } = await byname(['query', 'x', '--server', server.text])
  expect(out).toMatch(/^x\. +1 +MX +10 mail\.x\.$/m)
  expect(out).toMatch(/^x\. +1 +SRV +1 2 3 srv\.x\.$/m)
  expect(out).toMatch(/^x\. +1 +TXT +"a \\"b\\"" "c"$/m)
  expect(out).toMatch(/^x\. +1 +HTTPS +\\# 3 000100$/m)
  expect(out).toMatch(/^error +no reachable authority: all \\x1b\[31mfailed \(EDE 22\)$/m)
  // Whose error that is the reply does not say.
  expect(out).toMatch(/^source +upstream or cache$/m)
})

describe('the habits of dig', () => {
  test('-q, -c, -t, -4 and +dnssec, wherever they stand; +noall +answer has the records alone', async () => {
    const server = await serve(() => ({ flags: RD_RA, answers: [address] }))
    const dig = ['-4', '-q', 'any', '-c', 'IN', '-t', 'AAAA', '+dnssec', '+tries=1', '+noall', '+answer']
    const { code, out, err } = await byname(['query', '@127.0.0.1', '-p', String(server.port), ...dig])
    expect({ code, out, err }).toEqual({
      code: 0,
      out: 'reviews.default.svc.cluster.local.\t30\tIN\tA\t10.0.0.7\n',
      err: '',
    })
    const { query } = server.queries[0]!
    expect(query.questions).toMatchObject([{ name: 'any', type: 'AAAA' }])
    expect(query.additionals).toMatchObject([{ type: 'OPT', flag_do: true }])
    expect((await byname(['query', 'x', `@${server.text}`, '+noall'])).out).toBe('')
  })

  test('@SERVER with -p, and +tcp, wherever they stand', async () => {
    const server = await serve(() => ({ flags: RD_RA, answers: [address] }))
    const orders = [
      ['@127.0.0.1', '-p', String(server.port), 'x', 'A', '+tcp'],
      ['-p', String(server.port), '+tcp', 'A', 'x', '@127.0.0.1'],
      ['x', '--port', String(server.port), '--tcp'],
      [`@tcp://${server.text}`, 'x'],
    ]
    for (const args of orders) expect((await byname(['query', ...args])).code).toBe(0)
    expect(server.queries.map(({ transport }) => transport)).toEqual(['tcp', 'tcp', 'tcp', 'tcp'])
    await byname(['query', 'x', `@tcp://${server.text}`, '+tcp', '+notcp'])
    expect(server.queries.at(-1)?.transport).toBe('udp')
  })

  test.each(['+short', '--short'])('%s prints the data of the answer, a line each, and nothing else', async (word) => {
    const alias: Answer = { name: 'reviews', type: 'CNAME', ttl: 5, data: 'reviews.default.svc.cluster.local' }
    const server = await serve(() => ({ flags: AA | RD_RA, answers: [alias, address] }))
    const { code, out, err } = await byname(['query', 'reviews', word, '--server', server.text])
    expect({ code, out, err }).toEqual({ code: 0, out: 'reviews.default.svc.cluster.local.\n10.0.0.7\n', err: '' })
  })

  test('+time=SECONDS is how long to wait', async () => {
    const server = await serve(() => null)
    expect((await byname(['query', 'x', '+time=0.2', '--server', server.text])).err).toContain('within 0.2 s')
  })
})

describe('the exit code', () => {
  test.each([
    ['NOERROR', 0, 0],
    ['SERVFAIL', 2, 1],
    ['NXDOMAIN', 3, 0],
    ['REFUSED', 5, 1],
    ['NOTIMP', 4, 1],
  ])('of %s', async (rcode, bits, code) => {
    const server = await serve(() => ({ flags: RD_RA | bits }))
    const [whole, short] = await Promise.all([
      byname(['query', 'x', '--server', server.text]),
      byname(['query', 'x', '+short', '--server', server.text]),
    ])
    expect([whole.code, short.code]).toEqual([code, code])
    expect(whole.out).toContain(rcode)
    const said = code === 0 ? '' : `byname query: ${server.text} answers ${rcode}\n`
    expect([short.out, short.err]).toEqual(['', said])
  })
})

describe('failures are one line with a remedy', () => {
  test('no answer: asked three times, then exit code 1', async () => {
    const server = await serve(() => null)
    const { code, out, err } = await byname(['query', 'x', '--timeout', '3', '--server', server.text])
    expect({ code, out }).toEqual({ code: 1, out: '' })
    expect(err).toBe(
      `byname query: no answer from ${server.text} over UDP within 3 s; look at "byname status", or name another server with --server ADDR:PORT\n`,
    )
    await until(() => expect(server.queries).toHaveLength(3))
  })

  test.each([[[]], [['--tcp']]])('nothing listens (%j)', async (options) => {
    const text = `127.0.0.1:${await freePort()}`
    const { code, err } = await byname(['query', 'x', ...options, '--server', text])
    expect(code).toBe(1)
    expect(err).toBe(
      `byname query: nothing listens on ${text} (${options.length > 0 ? 'TCP' : 'UDP'}); start byname, or name another server with --server ADDR:PORT\n`,
    )
  })

  test('a connection closed without an answer', async () => {
    const server = await serve(() => null)
    const { code, err } = await byname(['query', 'x', '--tcp', '--server', server.text])
    expect(code).toBe(1)
    expect(err).toBe(`byname query: ${server.text} closed the TCP connection without an answer\n`)
  })

  test('a reply that cannot be parsed', async () => {
    const server = await serve((query) => {
      const reply = Buffer.alloc(20, 0xff)
      reply.writeUInt16BE(query.id ?? 0)
      return reply
    })
    const { code, err } = await byname(['query', 'x', '--server', server.text])
    expect(code).toBe(1)
    expect(err).toBe(`byname query: the reply of ${server.text} is malformed (20 bytes)\n`)
  })

  test.each([
    [['a..b'], '"a..b" is no domain name'],
    [['x'.repeat(64)], 'is no domain name'],
    [['x', 'FOO'], '"FOO" is no record type'],
    [['x', '--server', 'tls://9.9.9.9'], '--server: only UDP and TCP can be asked'],
    [['x', '--server', 'dns.google'], '--server: "dns.google" is a name'],
    [['x', '--timeout', 'soon'], '--timeout: must be a number of seconds'],
    [['x', '+time=0'], '--timeout: must be a number of seconds'],
    [
      ['x', '+trace'],
      '+trace is not one of +short, +tcp, +notcp, +dnssec, +noall, +answer, +time=SECONDS, +tries=N, +retry=N',
    ],
    [['x', '+tries=many'], '+tries=many is not one of +short,'],
    [['x', '-c', 'CH'], '-c: "CH" is not IN, the only class that byname has names of'],
    [['x', '-4', '@::1'], '-4: ::1 is an address of IPv6; leave it out, or name another server'],
    [['x', '-6', '@127.0.0.1'], '-6: 127.0.0.1 is an address of IPv4; leave it out, or name another server'],
    [['x', '-4', '-6'], '-4 and -6 exclude each other'],
    [['-q', 'x', 'y', 'A'], 'unexpected argument "A"'],
    [['x', '+time'], '+time is not one of'],
    [['x', '@dns.google'], '@dns.google: "dns.google" is a name'],
    [['x', '@tls://9.9.9.9'], '@tls://9.9.9.9: only UDP and TCP can be asked'],
    [['x', '@127.0.0.1', '@127.0.0.2'], 'one server can be asked, not 127.0.0.1 and 127.0.0.2'],
    [['x', '@127.0.0.1', '--server', '127.0.0.2'], 'one server can be asked'],
    [['x', '-p', '0'], '--port: "0" is no port'],
    [['x', '-p', '65536'], '--port: "65536" is no port'],
    [['x', '-p'], '-p needs a value: PORT'],
    [['-x', 'example.com'], '-x: "example.com" is no IP address'],
    [['-x', '10.0.0.7', 'A'], 'unexpected argument "A" beside -x'],
    [['x', 'A', 'y'], 'unexpected argument "y"'],
    [['-t', 'MX', 'x', 'y'], 'unexpected argument "y"'],
    [['x', '-q'], '-q needs a value: NAME'],
    [['x', '-k'], 'unknown option -k'],
  ])('%j is bad usage', async (args, message) => {
    const { code, err } = await byname(['query', ...args])
    expect(code).toBe(2)
    expect(err).toContain(message)
    expect(err.trimEnd()).not.toContain('\n')
  })
})
