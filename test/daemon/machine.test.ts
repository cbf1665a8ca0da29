/** A machine of Istio: started with nothing but the files that istioctl, or `byname vm configure`, writes. */
import { existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { byname } from '../cli/byname-process.ts'
import { SecuredControlPlane, type SecuredOptions } from '../credentials/secured-control-plane.ts'
import { TestAuthority } from '../credentials/test-authority.ts'
import { DaemonProcess } from './daemon-process.ts'

const GROUP = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: pay-vm, namespace: shop}
spec: {metadata: {labels: {app: pay}}, template: {serviceAccount: vm, network: vm-net}}
`
const IDENTITY = 'spiffe://mesh.example/ns/shop/sa/vm'

const authority = new TestAuthority('mesh root')
let folder = ''
let plane: SecuredControlPlane

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-machine-'))
})
afterEach(() => {
  plane.stop()
  rmSync(folder, { recursive: true, force: true })
})

/** A control plane that behaves so, and the folder of a machine that joins it by the name that istiod has. */
async function configure(options: Partial<SecuredOptions> = {}): Promise<string> {
  plane = new SecuredControlPlane({
    authority,
    tokens: ['first', ''],
    wanted: () => ({ names: [`URI:${IDENTITY}`] }),
    ...options,
  })
  await plane.start()
  const file = (name: string, text: string): string => {
    writeFileSync(join(folder, name), text)
    return join(folder, name)
  }
  const mesh = `trustDomain: mesh.example\ndefaultConfig: {discoveryAddress: "istiod.istio-system.svc:${plane.port}"}\n`
  const vm = join(folder, 'vm')
  const given = {
    file: file('group.yaml', GROUP),
    output: vm,
    'ingress-ip': '127.0.0.1',
    'root-cert': file('root.pem', authority.root),
    token: file('token', 'first'),
    'mesh-config': file('mesh.yaml', mesh),
  }
  const flags = Object.entries(given).map(([name, value]) => `--${name}=${value}`)
  const made = await byname(['vm', 'configure', ...flags])
  expect(made).toMatchObject({ code: 0, err: '' })
  return vm
}

async function start(vm: string): Promise<DaemonProcess> {
  return await DaemonProcess.start({ args: ['--istio-dir', vm] })
}

describe('byname run --istio-dir', () => {
  test('gets its table over TLS, with a certificate that the token has vouched for, and keeps it', async () => {
    const vm = await configure()
    const daemon = await start(vm)
    try {
      await daemon.line('connected to the control plane')
      expect(await plane.requests.next()).toEqual({ authorization: 'Bearer first', clusterId: 'Kubernetes' })
      expect(readdirSync(join(vm, 'certs')).toSorted()).toEqual(['cert-chain.pem', 'key.pem', 'root-cert.pem'])
      expect(statSync(join(vm, 'certs/key.pem')).mode & 0o777).toBe(0o600)
      const { credentials, xds } = await daemon.status()
      expect(xds?.connected).toBe(true)
      expect(credentials.map(({ kind, problem, isNeeded }) => [kind, problem, isNeeded])).toEqual([
        ['root', null, true],
        ['certificate', null, true],
        ['token', null, false],
      ])
      expect(
        await daemon.metric('byname_credential_expiry_timestamp_seconds', { kind: 'certificate' }),
      ).toBeGreaterThan(Date.now() / 1000)
    } finally {
      await daemon.stop()
    }
  })

  test('gets in again when its token is long dead', async () => {
    const vm = await configure()
    const first = await start(vm)
    await first.line('connected to the control plane')
    await first.stop()
    rmSync(join(vm, 'istio-token'))
    const again = await start(vm)
    try {
      await again.line('connected to the control plane')
      expect(plane.requests.waiting).toBe(1)
    } finally {
      await again.stop()
    }
  })

  test('without certificate and token it answers what it can, and says why there are no mesh names', async () => {
    const vm = await configure({ tokens: ['another'] })
    const daemon = await start(vm)
    try {
      const { reason } = await daemon.line('no certificate was signed')
      expect(reason).toBe('UNAUTHENTICATED: request authenticate failure')
      expect(existsSync(join(vm, 'certs/key.pem'))).toBe(false)
      const { problems } = await daemon.status()
      expect(problems.map(({ about }) => about)).toContain('credentials')
    } finally {
      await daemon.stop()
    }
  })
})

describe('byname check --connect', () => {
  test('says how far it came: to the first table', async () => {
    const vm = await configure()
    const { code, out } = await byname(['check', '--connect', '--istio-dir', vm])
    expect(code).toBe(0)
    expect(out).toMatch(/^identity\.namespace +shop \(POD_NAMESPACE in .*\/vm\/cluster\.env\)$/m)
    expect(out).toMatch(/^identity\.trustDomain +mesh\.example \(TRUST_DOMAIN in .*\/vm\/cluster\.env\)$/m)
    expect(out.trim().split('\n').slice(-5)).toEqual([
      `name: istiod.istio-system.svc:${plane.port} is 127.0.0.1:${plane.port}`,
      expect.stringMatching(/^TCP: connected to 127\.0\.0\.1:\d+ in \d+ ms$/),
      "TLS: the control plane's certificate is verified",
      expect.stringMatching(/^authentication: accepted \(certificate signed by .*\)$/),
      expect.stringMatching(/^table: 0 hosts, 0 bytes, after \d+ ms$/),
    ])
  })

  test.each<[what: string, options: Partial<SecuredOptions>, change: (vm: string) => void, last: RegExp]>([
    [
      'nobody listens',
      {},
      () => plane.stop(),
      /^TCP: FAILED: istiod\.istio-system\.svc:\d+ cannot be reached: 127\.0\.0\.1:\d+: ECONNREFUSED$/,
    ],
    [
      'another root',
      {},
      (vm) => writeFileSync(join(vm, 'root-cert.pem'), new TestAuthority('other').root),
      /^TLS: FAILED: .*unknown authority/,
    ],
    ['a token that is refused', { tokens: ['another'] }, () => {}, /^authentication: FAILED: .*UNAUTHENTICATED/],
  ])('says where it ended: %s', async (_, options, change, last) => {
    const vm = await configure(options)
    change(vm)
    const { code, out } = await byname(['check', '--connect', '--istio-dir', vm])
    expect(code).toBe(1)
    expect(out.trim().split('\n').at(-1)).toMatch(last)
  })
})

describe('files that are of no use are named, one line each', () => {
  test.each<[name: string, text: string | null, line: string]>([
    [
      'cluster.env',
      null,
      'cluster.env: does not exist; name an existing file; write it with "byname vm configure" or "istioctl x workload entry configure"',
    ],
    ['cluster.env', "A='1\n", "cluster.env:1: A: the quote ' is never closed"],
    ['mesh.yaml', 'a: [\n', 'mesh.yaml: '],
  ])('%s with %j', async (name, text, line) => {
    const vm = await configure()
    if (text === null) rmSync(join(vm, name))
    else writeFileSync(join(vm, name), text)
    for (const command of ['check', 'run']) {
      const { code, err } = await byname([command, '--istio-dir', vm])
      expect(code).toBe(2)
      expect(err).toContain(`byname ${command}: ${vm}/${line}`)
      expect(err.trim().split('\n')).toHaveLength(1)
    }
  })

  test.each([
    ['root-cert.pem', ''],
    ['root-cert.pem', 'hello'],
    ['istio-token', ''],
    ['istio-token', 'a b'],
  ])('%s with %j: check warns, and nothing is started', async (name, text) => {
    const vm = await configure()
    writeFileSync(join(vm, name), text)
    const { code, out } = await byname(['check', '--istio-dir', vm])
    expect(code).toBe(0)
    expect(out).toContain(`${join(vm, name)} ${text === '' ? 'is empty' : 'is not'}`)
  })
})
