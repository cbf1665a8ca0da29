import type { X509Certificate } from 'node:crypto'
import { afterEach, describe, expect, test } from 'vitest'
import { OwnCertificate, type OwnCertificateOptions } from '../../src/credentials/own-certificate.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { LogLines } from '../mesh/log-lines.ts'
import { Inbox } from '../xds/inbox.ts'
import { SecuredControlPlane, type SecuredOptions } from './secured-control-plane.ts'
import { TestAuthority } from './test-authority.ts'
import { until } from '../until.ts'

const MINUTE = 60_000
const HOUR = 60 * MINUTE
const IDENTITY = 'spiffe://cluster.local/ns/shop/sa/vm'
const authority = new TestAuthority('test root')

const cleanUps: (() => unknown)[] = []
afterEach(() => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) cleanUp()
})

interface Made {
  own: OwnCertificate
  server: SecuredControlPlane
  clock: FakeClock
  log: LogLines
  files: Map<string, string>
  renewals: Inbox<X509Certificate>
}

/** A certificate of our own, signed by a server that behaves so; its clock stands at the test's beginning. */
async function make(
  server: Partial<SecuredOptions>,
  options: Partial<OwnCertificateOptions> = {},
  files = new Map<string, string>(),
): Promise<Made> {
  const clock = new FakeClock(Date.now())
  const plane = new SecuredControlPlane({
    authority,
    tokens: ['first'],
    wanted: () => ({ names: [`URI:${IDENTITY}`], fromMs: clock.now() - 2 * MINUTE, toMs: clock.now() + 24 * HOUR }),
    ...server,
  })
  const address = await plane.start()
  const log = new LogLines()
  const renewals = new Inbox<X509Certificate>()
  const own: OwnCertificate = new OwnCertificate({
    authority: { address, serverName: 'istiod.istio-system.svc', clusterId: 'c1' },
    identity: IDENTITY,
    folder: '',
    roots: () => ({ from: '/root.pem', pem: authority.root }),
    token: () => 'first',
    resolve: () => Promise.resolve({ target: `ipv4:${address}` }),
    read: (path) => {
      const value = files.get(path)
      return value === undefined ? { problem: 'does not exist', isMissing: true } : { value }
    },
    write: (path, text) => Promise.resolve(void files.set(path, text)),
    log,
    clock,
    random: () => 0.5,
    onRenewed: () => void own.current().then((held) => renewals.put(held!.leaf)),
    ...options,
  })
  cleanUps.push(() => {
    own.stop()
    plane.stop()
  })
  return { own, server: plane, clock, log, files, renewals }
}

describe('the first certificate', () => {
  test('is asked for with the token, and names the identity', async () => {
    const { own, server, log } = await make({})
    const held = await own.current()
    expect(held?.leaf.subjectAltName).toBe(`URI:${IDENTITY}`)
    expect(await server.requests.next()).toEqual({ authorization: 'Bearer first', clusterId: 'c1' })
    expect(own.credential()).toMatchObject({
      kind: 'certificate',
      problem: null,
      expiresAtMs: Date.parse(held!.leaf.validTo),
    })
    expect(log.lines).toEqual(['info a certificate was signed'])
  })

  test('is asked for once, however many wait for it', async () => {
    const { own, server } = await make({})
    const all = await Promise.all([own.current(), own.current(), own.current()])
    expect(new Set(all.map((held) => held?.key)).size).toBe(1)
    expect(server.requests.waiting).toBe(1)
  })

  test.each<[string, Partial<SecuredOptions>, Partial<OwnCertificateOptions>, string]>([
    ['the token is refused', { tokens: ['other'] }, {}, 'UNAUTHENTICATED: request authenticate failure'],
    ['there is no token', {}, { token: () => null }, 'there is neither a token nor a certificate to ask for one with'],
    [
      'there is no root',
      {},
      { roots: () => ({ failure: 'root certificate /root.pem: does not exist' }) },
      'root certificate /root.pem: does not exist',
    ],
    [
      'what is signed has expired',
      { wanted: () => ({ names: ['URI:x'], fromMs: 0, toMs: 1000 }) },
      {},
      "what the control plane signed is valid from Jan  1 00:00:00 1970 GMT to Jan  1 00:00:01 1970 GMT; is this machine's clock right?",
    ],
  ])('%s: one line, said once, and tried again', async (_, server, options, reason) => {
    const { own, clock, log } = await make(server, options)
    expect(await own.current()).toBeNull()
    expect(own.credential()).toMatchObject({ problem: reason, issuedAtMs: null, expiresAtMs: null })
    expect(log.lines).toEqual([`warn no certificate was signed (there is none yet); trying again (${reason})`])
    expect(clock.pending).toEqual([750])
    expect(await own.current()).toBeNull()
    expect(log.lines).toHaveLength(1)
    expect(clock.pending).toEqual([1500])
  })
})

describe('renewal', () => {
  test('comes at half of the life, with a new key', async () => {
    const { own, clock, renewals } = await make({})
    const first = await own.current()
    await renewals.next()
    const lifeMs = Date.parse(first!.leaf.validTo) - Date.parse(first!.leaf.validFrom)
    expect(clock.pending[0]).toBeGreaterThan(lifeMs / 2 - 3 * MINUTE)
    expect(clock.pending[0]).toBeLessThanOrEqual(lifeMs / 2)
    clock.advance(12 * HOUR)
    await renewals.next()
    const second = await own.current()
    expect(second?.key).not.toBe(first?.key)
    expect(Date.parse(second!.leaf.validTo)).toBeGreaterThan(Date.parse(first!.leaf.validTo))
  })

  test.each([
    [0, 0.4],
    [1, 0.6],
  ])('is spread over a fifth of the life (random %d)', async (random, part) => {
    const { own, clock } = await make({}, { random: () => random })
    await own.current()
    const { expiresAtMs } = own.credential()
    expect(clock.pending[0]).toBeCloseTo((expiresAtMs! - clock.now()) * part, -1)
  })

  test('of a short life that is dated back comes at half of what is left, and not at once again and again', async () => {
    const { own, clock, server, renewals } = await make({
      wanted: () => ({ names: [`URI:${IDENTITY}`], fromMs: clock.now() - 2 * MINUTE, toMs: clock.now() + 40_000 }),
    })
    await own.current()
    await renewals.next()
    expect(clock.pending[0]).toBeGreaterThan(19_000)
    expect(clock.pending[0]).toBeLessThanOrEqual(20_000)
    expect(server.requests.waiting).toBe(1)
  })

  test('shows the certificate, and no token', async () => {
    const { own, server, clock, renewals } = await make({ wantsCertificate: false, tokens: ['first', ''] })
    await own.current()
    await renewals.next()
    await server.requests.next()
    clock.advance(13 * HOUR)
    await renewals.next()
    expect(await server.requests.next()).toMatchObject({ authorization: '' })
  })

  test('shows the token where the certificate is refused', async () => {
    const { own, server, clock, renewals } = await make({})
    await own.current()
    await renewals.next()
    await server.requests.next()
    clock.advance(13 * HOUR)
    await renewals.next()
    expect([await server.requests.next(), await server.requests.next()].map((seen) => seen.authorization)).toEqual([
      '',
      'Bearer first',
    ])
  })

  test('is tried again long before the end, and an expired certificate is never shown', async () => {
    let isDown = false
    const { own, server, clock, renewals } = await make({
      tokens: ['first'],
      wanted: () => ({
        names: [`URI:${IDENTITY}`],
        fromMs: clock.now() - (isDown ? 9 * HOUR : 0),
        toMs: clock.now() + (isDown ? 0 : HOUR),
      }),
    })
    await own.current()
    await renewals.next()
    isDown = true
    clock.advance(31 * MINUTE)
    await server.requests.nextWhere(({ authorization }) => authorization === '')
    clock.advance(2 * HOUR)
    const after = await own.current()
    expect(after).toBeNull()
    await server.requests.nextWhere(({ authorization }) => authorization === 'Bearer first')
  })

  test('retries are ever further apart, a minute at most', async () => {
    const { own, clock } = await make({}, { token: () => null, random: () => 1 })
    await own.current()
    const waits: number[] = []
    for (let n = 0; n < 9; n++) {
      await until(() => expect(clock.pending).toHaveLength(1))
      waits.push(clock.pending[0]!)
      clock.advance(clock.pending[0]!)
    }
    expect(waits).toEqual([1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000])
  })

  test('retries are never further apart than a twentieth of what is left, and the last seconds serve no connection', async () => {
    let failure: string | null = null
    const { own, clock, log, renewals } = await make(
      {},
      {
        roots: () => (failure === null ? { from: '/root.pem', pem: authority.root } : { failure }),
        random: () => 1,
      },
    )
    await own.current()
    await renewals.next()
    const { expiresAtMs } = own.credential()
    failure = 'root certificate /root.pem: does not exist'
    /** Lets time pass until so long before the end. The attempt that falls due meanwhile fails then. */
    const passTo = async (leftMs: number): Promise<number> => {
      clock.advance(expiresAtMs! - leftMs - clock.now())
      await until(() => expect(clock.pending).toHaveLength(1))
      return clock.pending[0]!
    }
    expect([await passTo(6 * HOUR), await passTo(30_000)]).toEqual([1000, 1500])
    expect(log.of('warn')).toEqual([
      `no certificate was signed (the one in use ends in 6 h); trying again (${failure})`,
    ])
    // As long as there is no new one, the one held is used up to five seconds before its end.
    expect(await passTo(5001)).toBe(1000)
    expect(await own.current()).not.toBeNull()
    await passTo(5000)
    expect(await own.current()).toBeNull()
  })
})

function refuseToWrite(): Promise<void> {
  return Promise.reject(new Error('EROFS: read-only file system'))
}

describe('kept in a folder', () => {
  test('a certificate serves the next process, which needs no token', async () => {
    const first = await make({}, { folder: '/out' })
    const held = await first.own.current()
    await first.renewals.next()
    expect([...first.files.keys()].toSorted()).toEqual(['/out/cert-chain.pem', '/out/key.pem', '/out/root-cert.pem'])
    expect(first.files.get('/out/root-cert.pem')).toBe(authority.root)
    const second = await make({ tokens: [] }, { folder: '/out', token: () => null }, first.files)
    expect((await second.own.current())?.chain).toBe(held?.chain)
    expect(second.server.requests.waiting).toBe(0)
    expect(second.clock.pending).toHaveLength(1)
  })

  const kept = authority.issue({ names: [`URI:${IDENTITY}`] })
  const expired = authority.issue({ names: [`URI:${IDENTITY}`], fromMs: 0, toMs: 1000 })
  const foreign = authority.issue({ names: ['URI:spiffe://cluster.local/ns/other/sa/vm'] })
  test.each([
    ['has expired', { 'cert-chain.pem': expired.cert, 'key.pem': expired.key }],
    ['is for somebody else', { 'cert-chain.pem': foreign.cert, 'key.pem': foreign.key }],
    ['has another key', { 'cert-chain.pem': kept.cert, 'key.pem': foreign.key }],
    ['has no key', { 'cert-chain.pem': kept.cert }],
    ['is garbage', { 'cert-chain.pem': 'x', 'key.pem': 'y' }],
  ])('one that %s is replaced', async (_, names) => {
    const files = new Map(Object.entries(names).map(([name, text]) => [`/out/${name}`, text]))
    const { own, log } = await make({}, { folder: '/out' }, files)
    const held = await own.current()
    expect(held?.leaf.subjectAltName).toBe(`URI:${IDENTITY}`)
    expect(held?.chain).not.toBe(kept.cert)
    expect(log.lines[0]).toMatch(/^info the certificate kept is of no use; a new one will be asked for/)
  })

  test('a folder that cannot be written to is one line, and the certificate is used', async () => {
    const { own, log } = await make({}, { folder: '/out', write: refuseToWrite })
    expect(await own.current()).not.toBeNull()
    expect(log.of('warn')).toEqual(['the certificate cannot be kept for the next start (EROFS: read-only file system)'])
  })
})

test('after stop nothing is asked for any more', async () => {
  const { own, server, clock } = await make({})
  own.stop()
  expect(await own.current()).toBeNull()
  expect(server.requests.waiting).toBe(0)
  expect(clock.pending).toEqual([])
})
