import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Credential } from '../../src/credentials/expiry.ts'
import {
  ControlPlaneCredentials,
  type ControlPlaneCredentialsOptions,
} from '../../src/credentials/control-plane-credentials.ts'
import { XdsOrigin } from '../../src/tables/xds-origin.ts'
import type { XdsState } from '../../src/xds/xds-state.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { LogLines } from '../mesh/log-lines.ts'
import { Inbox } from '../xds/inbox.ts'
import { SecuredControlPlane, type SecuredOptions } from './secured-control-plane.ts'
import { TestAuthority } from './test-authority.ts'

const HOUR = 3_600_000
const authority = new TestAuthority('test root')
const token = jwt({ exp: Math.floor(Date.now() / 1000) + 3600, iat: Math.floor(Date.now() / 1000), aud: ['istio-ca'] })

function jwt(claims: object): string {
  return `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`
}

let files: Record<string, string> = {}
const cleanUps: (() => unknown)[] = []

beforeEach(() => {
  files = { '/root.pem': authority.root, '/token': `${token}\n` }
})
afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).toReversed()) await cleanUp()
})

interface Connected {
  server: SecuredControlPlane
  credentials: ControlPlaneCredentials
  client: XdsOrigin
  states: Inbox<XdsState>
  log: LogLines
}

/** A client with these credentials on its way to a server that behaves so. */
async function connect(
  server: Partial<SecuredOptions>,
  options: Partial<ControlPlaneCredentialsOptions> = {},
  host = 'localhost',
): Promise<Connected> {
  const plane = new SecuredControlPlane({ authority, ...server })
  await plane.start()
  cleanUps.push(() => plane.stop())
  const log = new LogLines()
  const credentials = new ControlPlaneCredentials({
    roots: ['/root.pem'],
    certificates: [],
    token: '/token',
    serverName: '',
    clusterId: 'Kubernetes',
    own: null,
    read: (path) =>
      files[path] === undefined ? { problem: 'does not exist', isMissing: true } : { value: files[path] },
    log,
    clock: new FakeClock(Date.now()),
    random: () => 0.5,
    ...options,
  })
  const states = new Inbox<XdsState>()
  const client = new XdsOrigin({
    addresses: [`${host}:${plane.port}`],
    delta: true,
    node: { id: 'n', cluster: '', metadata: null, user_agent_name: '', user_agent_version: '' },
    credentials,
    resolve: () => Promise.resolve({ target: `ipv4:127.0.0.1:${plane.port}` }),
    sink: { accept: () => ({ accepted: true, changed: true }) },
    log,
    random: () => 0.5,
    onState: (state) => states.put(state),
  })
  credentials.onReplaced = () => client.reconnect()
  client.start()
  cleanUps.push(async () => {
    credentials.stop()
    await client.stop(1000)
  })
  return { server: plane, credentials, client, states, log }
}

/** The first failure, or that a table came. */
async function outcome({ states }: Connected): Promise<string> {
  const state = await states.nextWhere(({ accepted, lastError }) => accepted > 0 || lastError !== null)
  return state.accepted > 0 ? 'table' : state.lastError!
}

function shown(credentials: readonly Credential[]): unknown {
  return credentials.map(({ kind, from, problem, isNeeded }) => ({ kind, from, problem, isNeeded }))
}

describe('a secured control plane sends its table', () => {
  test('to a token, with the cluster; localhost stands for istiod', async () => {
    const connected = await connect({ tokens: [token] })
    expect(await outcome(connected)).toBe('table')
    expect(await connected.server.streams.next()).toEqual({ authorization: `Bearer ${token}`, clusterId: 'Kubernetes' })
    expect(shown(connected.credentials.credentials())).toEqual([
      { kind: 'root', from: '/root.pem', problem: null, isNeeded: true },
      { kind: 'token', from: '/token', problem: null, isNeeded: true },
    ])
  })

  test('to a client certificate, without a token', async () => {
    const { cert, key } = authority.issue({ names: ['URI:spiffe://td/ns/shop/sa/default'] })
    Object.assign(files, { '/cert.pem': cert, '/key.pem': key })
    const pair = { cert: '/cert.pem', key: '/key.pem' }
    const connected = await connect({ wantsCertificate: true, tokens: [] }, { certificates: [pair], token: '' })
    expect(await outcome(connected)).toBe('table')
  })

  test('to a token where the certificate has expired: it is not presented', async () => {
    const { cert, key } = authority.issue({ names: ['URI:x'], fromMs: Date.now() - 2 * HOUR, toMs: Date.now() - HOUR })
    Object.assign(files, { '/cert.pem': cert, '/key.pem': key })
    const connected = await connect({ tokens: [token] }, { certificates: [{ cert: '/cert.pem', key: '/key.pem' }] })
    expect(await outcome(connected)).toBe('table')
    expect(connected.credentials.credentials()[1]).toMatchObject({
      kind: 'certificate',
      problem: expect.stringContaining('has expired 60 min ago'),
    })
  })

  test('to a certificate alone where the token beside it has expired: it is kept back', async () => {
    const { cert, key } = authority.issue({ names: ['URI:spiffe://td/ns/shop/sa/default'] })
    Object.assign(files, { '/cert.pem': cert, '/key.pem': key, '/token': jwt({ exp: 1000 }) })
    const pair = { cert: '/cert.pem', key: '/key.pem' }
    const connected = await connect({ wantsCertificate: true, tokens: [] }, { certificates: [pair] })
    expect(await outcome(connected)).toBe('table')
    expect(await connected.server.streams.next()).toMatchObject({ authorization: '' })
  })

  test('by the name that is configured', async () => {
    const connected = await connect({ tokens: [token] }, { serverName: 'istiod' }, 'gateway.example')
    expect(await outcome(connected)).toBe('table')
  })

  test('by the first root certificate that exists', async () => {
    const connected = await connect({ tokens: [token] }, { roots: ['/none', '/root.pem'] })
    expect(await outcome(connected)).toBe('table')
  })
})

describe('what is wrong is one line with the file and the reason', () => {
  const other = new TestAuthority('another root')
  const mine = authority.issue({ names: ['URI:spiffe://td/ns/shop/sa/default'] })
  const foreign = authority.issue({ names: ['URI:spiffe://td/ns/shop/sa/default'] })
  const pair = { certificates: [{ cert: '/cert.pem', key: '/key.pem' }], token: '' }
  const cases: [
    what: string,
    files: Record<string, string | undefined>,
    options: Partial<ControlPlaneCredentialsOptions>,
    reason: string | RegExp,
  ][] = [
    [
      'no root certificate',
      { '/root.pem': undefined },
      {},
      'root certificate /root.pem: does not exist; name another in mesh.source.xds.tls.rootCert (XDS_ROOT_CA), or SYSTEM',
    ],
    ['a root that is not PEM', { '/root.pem': 'hello' }, {}, 'root certificate /root.pem: is not PEM'],
    ['an empty root', { '/root.pem': '' }, {}, 'root certificate /root.pem: is empty'],
    [
      'a root cut off',
      { '/root.pem': authority.root.slice(0, 200) },
      {},
      'root certificate /root.pem: ends within a certificate',
    ],
    [
      'a root that is garbage inside',
      { '/root.pem': authority.root.replace(/\n[A-Za-z0-9+/]{10}/, '\nAAAAAAAAAA') },
      {},
      'root certificate /root.pem: holds a certificate that cannot be read (number 1)',
    ],
    ['a key for a root', { '/root.pem': mine.key }, {}, 'root certificate /root.pem: holds no certificate'],
    [
      'an unknown authority',
      { '/root.pem': other.root },
      {},
      /^(?:UNAVAILABLE: )?.*unknown authority: \/root\.pem does not hold the root certificate of the control plane's/,
    ],
    ['no token', { '/token': undefined }, {}, 'token /token: does not exist'],
    ['an empty token', { '/token': '\n' }, {}, 'token /token: is empty'],
    [
      'a token that no header has room for',
      { '/token': 'a'.repeat(61_441) },
      {},
      'token /token: is no token that HTTP/2 can carry: 61441 bytes, at most 61440; name a file that holds a token alone',
    ],
    ['a token of two lines', { '/token': 'a\nb' }, {}, 'token /token: is not a token: it holds spaces or line ends'],
    [
      'a token refused',
      { '/token': 'abc' },
      {},
      'the control plane does not accept token /token (UNAUTHENTICATED: authentication failure)',
    ],
    [
      'a token that has expired',
      { '/token': jwt({ exp: 1000 }) },
      {},
      /does not accept token \/token: has expired \d+ d ago \(1970-01-01T00:16:40\.000Z\)/,
    ],
    ['no certificate', {}, pair, 'neither a client certificate nor a token is configured (mesh.source.xds)'],
    [
      'a certificate without its key',
      { '/cert.pem': mine.cert },
      pair,
      'certificate /cert.pem: its key /key.pem does not exist',
    ],
    [
      'a key of another certificate',
      { '/cert.pem': mine.cert, '/key.pem': foreign.key },
      pair,
      'certificate /cert.pem: its key /key.pem is not the key of this certificate',
    ],
    [
      'a key that is none',
      { '/cert.pem': mine.cert, '/key.pem': mine.cert },
      pair,
      'certificate /cert.pem: its key /key.pem holds no private key',
    ],
  ]
  test.each(cases)('%s', async (_, changed, options, reason) => {
    for (const [path, text] of Object.entries(changed)) {
      if (text === undefined) delete files[path]
      else files[path] = text
    }
    const connected = await connect({ tokens: [token] }, options)
    const said = await outcome(connected)
    if (typeof reason === 'string') expect(said).toBe(reason)
    else expect(said).toMatch(reason)
    expect(said).not.toContain('\n')
  })

  test('a wrong name, with the names that the certificate has', async () => {
    const connected = await connect({ tokens: [token] }, {}, 'gateway.example')
    expect(await outcome(connected)).toBe(
      "wrong name: the control plane's certificate is for istiod.istio-system.svc, istiod, not for gateway.example; set mesh.source.xds.tls.serverName (ISTIOD_SAN) to one of its names",
    )
  })

  test('a certificate of an authority that the server does not know', async () => {
    const { cert, key } = other.issue({ names: ['URI:x'] })
    Object.assign(files, { '/cert.pem': cert, '/key.pem': key })
    const connected = await connect({ wantsCertificate: true }, pair)
    expect(await outcome(connected)).toBe(
      'the control plane closed the connection; it may not trust the client certificate /cert.pem (closed after the handshake)',
    )
  })
})

/** A new certificate and key where the old ones were. */
function issueAnother(): void {
  const { cert, key } = authority.issue({ names: ['URI:spiffe://td/ns/shop/sa/default'] })
  Object.assign(files, { '/cert.pem': cert, '/key.pem': key })
}

describe('what is replaced on disk is used', () => {
  test('a new root and a new certificate: at once, over a new connection', async () => {
    issueAnother()
    const connected = await connect(
      { wantsCertificate: true },
      { certificates: [{ cert: '/cert.pem', key: '/key.pem' }], token: '' },
    )
    expect(await outcome(connected)).toBe('table')
    await connected.server.streams.next()
    await connected.credentials.refresh()
    expect(connected.client.state().streamsOpened).toBe(1)
    issueAnother()
    await connected.credentials.refresh()
    await connected.server.streams.next()
    expect(connected.client.state().streamsOpened).toBe(2)
    const after = await connected.states.nextWhere(({ accepted }) => accepted === 2)
    expect(after.lastError).toBeNull()
  })

  test('a root that cannot be used leaves the connection as it is', async () => {
    const connected = await connect({ tokens: [token] })
    expect(await outcome(connected)).toBe('table')
    files['/root.pem'] = 'half'
    await connected.credentials.refresh()
    expect(connected.client.state()).toMatchObject({ streamsOpened: 1, connected: true })
    expect(connected.credentials.credentials()[0]).toMatchObject({ problem: 'is not PEM' })
  })

  test('a new token: with the next connection', async () => {
    const next = jwt({ exp: Math.floor(Date.now() / 1000) + 7200 })
    const connected = await connect({ tokens: [token, next] })
    expect(await outcome(connected)).toBe('table')
    await connected.server.streams.next()
    files['/token'] = next
    await connected.credentials.refresh()
    expect(connected.client.state().streamsOpened).toBe(1)
    connected.client.reconnect()
    expect(await connected.server.streams.next()).toMatchObject({ authorization: `Bearer ${next}` })
  })
})
