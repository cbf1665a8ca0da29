import { spawnSync } from 'node:child_process'
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { nameTableToJson } from '../../src/table/nds.ts'
import { service } from '../table/compiled.ts'
import { byname, LAUNCHER } from './byname-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'byname-cli-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

function write(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const COMMANDS = `run demo control-plane check query table status upstreams vm capture cache reload stop version`.split(
  ' ',
)

describe('help', () => {
  test('--help lists every command and the exit codes', async () => {
    const { code, out, err } = await byname(['--help'])
    expect({ code, err }).toEqual({ code: 0, err: '' })
    for (const command of COMMANDS) expect(out).toMatch(new RegExp(`^  ${command} .*\\.$`, 'm'))
    expect(out).toContain('Exit codes: 0 done, 1 failed at run time, 2 bad usage or configuration.')
  })

  test('every command has its own, and help fits a terminal', async () => {
    const helps = await Promise.all(COMMANDS.map((command) => byname([command, '-h'])))
    helps.forEach(({ code, out, err }, index) => {
      expect({ code, err }).toEqual({ code: 0, err: '' })
      expect(out).toContain(`Usage: byname ${COMMANDS[index]}`)
      expect(out).toContain('-h, --help')
      for (const line of out.split('\n')) expect(line.length).toBeLessThanOrEqual(110)
    })
  })

  test('without a command it is shown as an error', async () => {
    expect(await byname([])).toMatchObject({ code: 2, out: '', err: expect.stringContaining('Usage: byname COMMAND') })
  })

  test('--version', async () => {
    expect(await byname(['--version'])).toEqual({
      code: 0,
      out: expect.stringMatching(/^byname \d+\.\d+\.\d+\n$/),
      err: '',
    })
  })
})

describe('bad usage is one line and exit code 2', () => {
  test.each([
    [['qurey', 'x'], 'byname: unknown command qurey; did you mean query?'],
    [['resolve'], 'byname: unknown command resolve; byname --help lists them'],
    [['--fast'], 'byname: unknown option --fast; byname --help lists them'],
    [
      ['run', '--conf', 'x'],
      'byname run: unknown option --conf (did you mean --config?); byname run --help shows what there is',
    ],
    [['check', '--config'], 'byname check: --config needs a value: FILE; byname check --help shows what there is'],
    [
      ['check', '--config', '--listen', 'x'],
      'byname check: --config needs a value: FILE; byname check --help shows what there is',
    ],
    [['query', 'x', '--tcp=1'], 'byname query: --tcp takes no value; byname query --help shows what there is'],
    [['run', 'now'], 'byname run: unexpected argument "now"; byname run --help shows what there is'],
    [
      ['query'],
      'byname query: name what to ask for: byname query NAME [TYPE]; byname query --help shows what there is',
    ],
    [
      ['control-plane'],
      'byname control-plane: name the folder of mesh files with --mesh DIR; byname control-plane --help shows what there is',
    ],
    [
      ['demo', '--control-plane-listen', 'x'],
      'byname demo: --control-plane-listen: "x" is no IP address; write IP:PORT such as 127.0.0.1:15053 or [::1]:15053; byname demo --help shows what there is',
    ],
    [
      ['demo', '--metrics-listen', 'x'],
      'byname demo: --metrics-listen: metrics.listen: "x" is no IP address; write IP:PORT such as 127.0.0.1:15053 or [::1]:15053',
    ],
  ])('%j', async (args, line) => {
    expect(await byname(args)).toEqual({ code: 2, out: '', err: `${line}\n` })
  })
})

describe('check', () => {
  test('says what it understood', async () => {
    const resolvConf = write('resolv.conf', 'nameserver 10.0.0.10\nsearch shop.svc.cluster.local\n')
    const config = write(
      'good.yaml',
      `listen: ["127.0.0.1:5300"]\nmesh: { source: { xds: { address: "127.0.0.1:15010" } } }\nupstream: { resolvConf: ${resolvConf} }\n`,
    )
    const { code, out, err } = await byname(['check', '--config', config], { POD_NAMESPACE: 'shop' })
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).toContain(config)
    expect(out).toMatch(/^listen +127\.0\.0\.1:5300 \(UDP and TCP\)$/m)
    expect(out).toMatch(/^identity\.namespace +shop \(POD_NAMESPACE\)$/m)
    expect(out).toMatch(/^identity\.domain +shop\.svc\.cluster\.local \(of the namespace\)$/m)
    expect(out).toMatch(/^identity\.trustDomain +cluster\.local \(default\)$/m)
    expect(out).toMatch(/^mesh names +over xDS \(delta\) from 127\.0\.0\.1:15010, plaintext$/m)
    expect(out).toMatch(/^other names +10\.0\.0\.10:53 from .*; search shop\.svc\.cluster\.local$/m)
    expect(out).toMatch(/The configuration is good\.\n$/)
  })

  test('warns about what is not there, and unknown variables', async () => {
    const config = write(
      'warn.yaml',
      'mesh: { source: { table: /nowhere/t.json } }\nupstream: { resolvConf: /nowhere/r }\n',
    )
    const { code, out } = await byname(['check', '--config', config], { BYNAME_FOO: '1' })
    expect(code).toBe(0)
    expect(out).toContain('warning: BYNAME_FOO: unknown environment variable, ignored\n')
    expect(out).toContain(`warning: ${config}:1:26: mesh.source.table: /nowhere/t.json does not exist (yet)\n`)
    expect(out).toContain(`warning: ${config}:2:25: upstream.resolvConf: /nowhere/r cannot be read`)
    expect(out).toContain('upstream.servers: there is no upstream server')
  })

  test('a bad file: every problem with its line, exit code 2', async () => {
    const config = write('bad.yaml', 'workers: 0\ncache:\n  maxBites: 1\n')
    expect(await byname(['check', '--config', config])).toEqual({
      code: 2,
      out: '',
      err: `byname check: ${config}:1:10: workers: must be a whole number from 1 to 64, not 0
byname check: ${config}:3:3: cache.maxBites: unknown key (did you mean maxBytes?)
`,
    })
  })
})

describe('what run refuses as it starts', () => {
  const mesh = 'listen: ["127.0.0.1:5300"]\nmesh: { source: { table: /nowhere/t.json } }\n'
  const noCertificate = write('none.pem', 'nothing')
  const loop = "is byname's own listener: that would be a loop; name the resolver behind it"
  const advice = 'name a file of root certificates (PEM), or leave it empty'
  const plaintext =
    '1:24: mesh.source.xds: token: would travel in plaintext; add tls: {} and the secured port (15012 of istiod), or leave the token out'

  test.each<[string, string, string[]]>([
    [
      'an own listener among the servers',
      `${mesh}upstream: { servers: [192.0.2.1, "127.0.0.1:5300"] }`,
      [`3:34: upstream.servers[1]: upstream server 127.0.0.1:5300 ${loop}`],
    ],
    [
      'an own listener on a route',
      `${mesh}upstream: { routes: [{ domains: [corp.example], servers: ["tcp://127.0.0.1:5300"] }] }`,
      [`3:59: upstream.routes[0].servers[0]: upstream server tcp://127.0.0.1:5300 ${loop}`],
    ],
    [
      'root certificates that are not there',
      `${mesh}upstream: { rootCert: /nowhere/root.pem }`,
      [`3:23: upstream.rootCert: /nowhere/root.pem cannot be read (ENOENT); ${advice}`],
    ],
    [
      'root certificates that are none, and whatever else is wrong',
      `${mesh}upstream: { rootCert: ${noCertificate}, servers: ["127.0.0.1:5300"] }`,
      [
        `3:23: upstream.rootCert: ${noCertificate} holds no certificate; ${advice}`,
        `3:66: upstream.servers[0]: upstream server 127.0.0.1:5300 ${loop}`,
      ],
    ],
    ['a token without TLS', 'mesh: { source: { xds: { address: "istiod:15010", token: t } } }', [plaintext]],
  ])('%s: check refuses it alike, with exit code 2', async (_, yaml, problems) => {
    const config = write('refused.yaml', `${yaml}\n`)
    const lines = (command: string): string =>
      problems.map((problem) => `byname ${command}: ${config}:${problem}\n`).join('')
    expect(await byname(['check', '--config', config])).toEqual({ code: 2, out: '', err: lines('check') })
    const { code, err } = await byname(['run', '--config', config], { BYNAME_LOG_LEVEL: 'error' })
    expect({ code, err }).toEqual({ code: 2, err: lines('run') })
  })
})

describe('what run warns of as it starts', () => {
  test('check warns of alike: a wildcard without an access list, an own listener in resolv.conf, a hosts file that is not there', async () => {
    const resolvConf = write('loop.conf', 'nameserver 127.0.0.1\nnameserver 192.0.2.1\n')
    const config = write(
      'warned.yaml',
      `listen: ["0.0.0.0:53"]\nmesh: { source: { table: /nowhere/t.json } }\nhostsFile: /nowhere/hosts\nupstream: { resolvConf: ${resolvConf} }\n`,
    )
    const { code, out, err } = await byname(['check', '--config', config])
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).toContain(`warning: ${config}:1:10: listen[0]: 0.0.0.0:53 is every address of this machine, and access`)
    expect(out).toContain(
      `warning: ${config}:4:25: upstream.resolvConf: ${resolvConf}: upstream server 127.0.0.1:53 is byname's own listener: that would be a loop; it is left out\n`,
    )
    expect(out).toContain(`warning: ${config}:3:12: hostsFile: /nowhere/hosts does not exist (yet)\n`)
    expect(out).toMatch(/^other names +192\.0\.2\.1:53 from /m)
    expect(out).toMatch(/The configuration can be used\.\n$/)
  })
})

describe('what run only logs, check warns of', () => {
  const garbage = write('garbage', 'neither JSON nor an address')
  const empty = write('empty', '')
  const mesh = mkdtempSync(join(folder, 'mesh-'))
  writeFileSync(join(mesh, 'bad.yaml'), 'kind: Service\nmetadata: [\n')

  test.each<[string, string, string]>([
    ['a table that is none', `mesh: { source: { table: ${garbage} } }`, '1:26: mesh.source.table: '],
    ['a table that is a folder', 'mesh: { source: { table: /etc } }', '1:26: mesh.source.table: /etc is a folder'],
    [
      'a table that is a device',
      'mesh: { source: { table: /dev/zero } }',
      '1:26: mesh.source.table: /dev/zero is a dev',
    ],
    ['a mesh file that is broken', `mesh: { source: { files: ${mesh} } }`, `mesh.source.files: ${mesh}: bad.yaml`],
    ['a mesh folder that is not there', 'mesh: { source: { files: /nowhere } }', ': /nowhere does not exist (yet)'],
    ['a hosts file without names', `hostsFile: ${garbage}`, '1:12: hostsFile: '],
    ['a resolv.conf without servers', `upstream: { resolvConf: ${empty} }`, '1:25: upstream.resolvConf: '],
    ['an address of another machine', 'listen: ["192.0.2.77:53"]', '1:10: listen[0]: 192.0.2.77:53 is not an address'],
    [
      'no place for the last table',
      'mesh: { lastKnownGood: /nowhere/x/y }',
      '1:24: mesh.lastKnownGood: the name table will',
    ],
    ['no mesh source outside Istio', 'workers: 1', 'mesh.source: no control plane, table or folder is named'],
  ])('%s', async (_, yaml, warning) => {
    const config = write('logged.yaml', `${yaml}\n`)
    const { code, out, err } = await byname(['check', '--config', config])
    expect({ code, err }).toEqual({ code: 0, err: '' })
    const warnings = out.split('\n').filter((line) => line.startsWith('warning: '))
    expect(warnings.filter((line) => line.includes(warning))).toHaveLength(1)
    expect(out).toMatch(/The configuration can be used\.\n$/)
  })
})

test('check warns of namespaces that are top-level domains', async () => {
  const table = write('top-level.json', nameTableToJson(new Map([service('pay', 'dev', ['10.0.0.1'])])))
  const checked = async (shortNames: string): Promise<string> =>
    (await byname(['check', '--set', `mesh.source.table=${table}`, '--set', `mesh.shortNames=${shortNames}`])).out
  const warning = 'mesh.shortNames: namespace dev is a top-level domain: pay.dev. is answered from the mesh'
  expect(await checked('all')).toContain(warning)
  expect(await checked('none')).not.toContain('is a top-level domain')
})

/** What check says of AAAA. */
async function rowOf(aaaa: string): Promise<string | undefined> {
  return (await byname(['check', '--set', `aaaa=${aaaa}`])).out.split('\n').find((line) => line.startsWith('AAAA'))
}

test('check says what becomes of AAAA outside the mesh, where that is not the usual', async () => {
  expect(await rowOf('on')).toBeUndefined()
  expect(await rowOf('off')).toMatch(/^AAAA outside the mesh +NODATA, not asked for: aaaa is off$/)
  expect(await rowOf('auto')).toMatch(/aaaa is auto, and this machine has/)
})

describe('--set', () => {
  test('sets any key, in words if need be, over the environment', async () => {
    const args = ['check', '--set', 'cache.maxBytes=1Mi', '--set', 'metrics.listen=off', '--set', 'access=10.0.0.0/8']
    const { code, out } = await byname(args, { BYNAME_CACHE_MAX_BYTES: '5' })
    expect(code).toBe(0)
    expect(out).toMatch(/^cache +1,048,576 bytes$/m)
    expect(out).toMatch(/^metrics +off$/m)
    expect(out).toMatch(/^access +10\.0\.0\.0\/8$/m)
  })

  test.each([
    ['cache.maxBites=1', '--set: "cache.maxBites": unknown key (did you mean cache.maxBytes?)'],
    ['workers', '--set: "workers" sets nothing; write KEY=VALUE such as mesh.ttlSeconds=30s'],
    ['workers=0', '--set: workers: must be a whole number from 1 to 64, not 0'],
  ])('%s is refused', async (assignment, problem) => {
    expect(await byname(['check', '--set', assignment])).toEqual({
      code: 2,
      out: '',
      err: `byname check: ${problem}\n`,
    })
  })
})

describe('the launcher', () => {
  test('an old Node gets the way to a newer one, or a clear message', () => {
    // Run the launcher's source under a version that lies about itself: no old Node is needed.
    const lie = write('lie.cjs', `Object.defineProperty(process.versions, 'node', { value: '18.20.0' })`)
    const bare = mkdtempSync(join(folder, 'bare-'))
    const launcher = join(bare, 'byname')
    copyFileSync(LAUNCHER, launcher)
    const args = ['--require', lie, launcher, '--version']
    const { status, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8' })
    expect(status).toBe(1)
    expect(stderr).toMatch(/^byname: needs Node\.js 24 or newer, and .* is 18\.20\.0; run "npm ci" in .*\n$/)
  })

  test('errors show their stack only on request', async () => {
    expect((await byname(['status', '--admin', '127.0.0.1:1'])).err).toBe(
      'byname status: nothing listens on 127.0.0.1:1; start byname, or name its admin endpoint with --admin ADDR:PORT\n',
    )
    expect((await byname(['status', '--admin', '127.0.0.1:1'], { BYNAME_DEBUG: '1' })).err).toContain('    at ')
  })
})
