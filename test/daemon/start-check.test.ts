import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, describe, expect, test } from 'vitest'
import { ConfigError } from '../../src/config/config-error.ts'
import { loadConfig } from '../../src/config/load.ts'
import { readAdminToken } from '../../src/daemon/admin-token.ts'
import { absentAddresses, examineStart } from '../../src/daemon/start-check.ts'
import { nodeMetadata } from '../../src/daemon/xds-node.ts'

const folder = mkdtempSync(join(tmpdir(), 'byname-start-check-'))
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const CERTIFICATE = readFileSync(fileURLToPath(new URL('../stream/certificates/ca.pem', import.meta.url)), 'utf8')

function write(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

const TABLE = { path: ['mesh', 'source', 'table'], value: '/t.json', from: 'the test' }

/** What is refused and what is warned of, with the places. */
function examine(yaml: string): { problems: readonly string[]; warnings: readonly string[] } {
  const loaded = loadConfig({ file: 'byname.yaml', env: {}, readFile: () => yaml, defaults: [TABLE] })
  try {
    const { warnings } = examineStart(loaded, () => 'no system calls')
    return { problems: [], warnings }
  } catch (error) {
    if (error instanceof ConfigError) return { problems: error.problems, warnings: [] }
    throw error
  }
}

test('a configuration without anything odd is neither refused nor warned of', () => {
  expect(examine('')).toEqual({ problems: [], warnings: [] })
})

test('all problems are told at once, each with its place', () => {
  const yaml = 'driver: batch\nadmin: { listen: "192.0.2.1:15054" }\nupstream:\n  rootCert: /nowhere\n'
  expect(examine(yaml).problems).toEqual([
    'byname.yaml:1:9: driver: batch is not to be had here: no system calls; use auto',
    expect.stringMatching(/^byname\.yaml:4:13: upstream\.rootCert: \/nowhere cannot be read \(ENOENT\); /),
    expect.stringMatching(/^byname\.yaml:2:18: admin\.listen: 192\.0\.2\.1:15054 is not on loopback, .* admin\.token/),
  ])
})

describe('upstream.rootCert', () => {
  test('may hold several certificates, and text around them', () => {
    const text = `# ours\n${CERTIFICATE}${CERTIFICATE}`
    expect(examine(`upstream: { rootCert: ${write('two.pem', text)} }`).problems).toEqual([])
  })

  test.each([
    ['garbage', 'x', 'holds no certificate'],
    ['a key', '-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n', 'holds no certificate'],
    ['half a certificate', CERTIFICATE.slice(0, 300), 'holds no certificate'],
    [
      'a good and a damaged certificate',
      `${CERTIFICATE}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
      ': certificate 2 of 2 is damaged',
    ],
  ])('that is %s is refused', (_, text, reason) => {
    const file = write('bad.pem', text)
    const [problem] = examine(`upstream: { rootCert: ${file} }`).problems
    expect(problem).toContain(`upstream.rootCert: ${file}${reason.startsWith(':') ? '' : ' '}${reason}`)
  })
})

describe('admin.listen', () => {
  test.each(['127.0.0.1:1', '127.8.8.8:1', '[::1]:1', '[::ffff:127.0.0.1]:1', 'off'])('%s needs no token', (listen) => {
    expect(examine(`admin: { listen: "${listen}" }`).problems).toEqual([])
  })

  test.each(['0.0.0.0:1', '[::]:1', '10.0.0.1:1', '[fd00::1]:1', '[::ffff:10.0.0.1]:1'])('%s needs one', (listen) => {
    expect(examine(`admin: { listen: "${listen}" }`).problems).toHaveLength(1)
    const token = write('token', 'abc.DEF-1_2\n')
    expect(examine(`admin: { listen: "${listen}", token: ${token} }`).problems).toEqual([])
  })
})

describe('admin.token', () => {
  test('is the one line of its file', () => {
    expect(readAdminToken(write('token', ' abc.DEF-1_2=\r\n'))).toEqual({ token: 'abc.DEF-1_2=' })
    expect(readAdminToken('')).toBeNull()
  })

  test.each([
    ['empty', write('empty', '\n'), 'is empty'],
    ['that is too long', write('long', 'a'.repeat(8193)), 'holds a token of 8193 bytes'],
    ['of two lines', write('two', 'a\nb\n'), 'holds no token'],
    ['a folder', folder, 'is a folder'],
    ['not there', 'eyJhbGciOiJIUzI1NiJ9.secret.secret', 'does not exist'],
  ])('whose file is %s is refused, without showing what was written', (_, file, reason) => {
    const [problem = ''] = examine(`admin: { token: ${JSON.stringify(file)} }`).problems
    expect(problem).toMatch(/^byname\.yaml:1:17: admin\.token: the file that it names /)
    expect(problem).toContain(reason)
    expect(problem).not.toContain(file)
  })
})

describe('mesh.lastKnownGood', () => {
  mkdirSync(join(folder, 'state'))
  const plain = write('plain', '')
  test.each<[string, string, string | null]>([
    ['in a folder', join(folder, 'state', 'table'), null],
    ['in a folder that is not there', join(folder, 'none', 'table'), `there is no folder ${folder}/none; make it`],
    ['in a file', join(plain, 'table'), `${plain} is no folder`],
    ['a folder itself', join(folder, 'state'), `${folder}/state is a folder; name a file in it`],
  ])('%s', (_, file, warning) => {
    const { warnings } = examine(`mesh: { lastKnownGood: ${file} }`)
    const text = `byname.yaml:1:24: mesh.lastKnownGood: the name table will not outlive a restart: ${warning}`
    expect(warnings).toEqual(warning === null ? [] : [text])
  })
})

test('servers that are own listeners: each once, where it was written first', () => {
  const yaml =
    'listen: ["127.0.0.1:53"]\nupstream:\n  servers: [10.0.0.1, 127.0.0.1]\n  routes: [{ domains: [a], servers: [127.0.0.1, "tcp://127.0.0.1"] }]'
  expect(examine(yaml).problems).toEqual([
    expect.stringMatching(
      /^byname\.yaml:3:23: upstream\.servers\[1\]: upstream server 127\.0\.0\.1:53 is byname's own/,
    ),
    expect.stringMatching(/^byname\.yaml:4:49: upstream\.routes\[0\]\.servers\[1\]: upstream server tcp:\/\/127/),
  ])
})

test('addresses to listen on that this machine does not have', () => {
  const { config } = loadConfig({
    env: { BYNAME_LISTEN: '127.0.0.1:53,127.5.5.5:53,[::1]:53,0.0.0.0:54,[::]:54,192.0.2.200:53' },
  })
  expect(absentAddresses(config)).toEqual([
    { path: ['listen', 5], message: '192.0.2.200:53 is not an address of this machine now' },
  ])
})

test.each<[boolean | 'auto', Record<string, unknown>, unknown]>([
  ['auto', {}, undefined],
  ['auto', { DNS_CAPTURE: 'false' }, 'false'],
  [false, {}, 'false'],
  [false, { DNS_CAPTURE: 'true' }, 'false'],
  [true, { DNS_CAPTURE: 'false' }, 'true'],
])('automaticVips: %s with %j tells istiod %j', (automaticVips, metadata, capture) => {
  expect(nodeMetadata(metadata, automaticVips)['DNS_CAPTURE']).toBe(capture)
})

test.each([
  ['true', true],
  ['false', false],
  ['auto', 'auto'],
  ['"false"', false],
])('automaticVips: %s in YAML', (written, automaticVips) => {
  const yaml = `mesh: { source: { xds: { address: "a:1", automaticVips: ${written} } } }`
  expect(loadConfig({ file: 'f', env: {}, readFile: () => yaml }).config.mesh.source).toMatchObject({ automaticVips })
  const env = { BYNAME_MESH_SOURCE_XDS_ADDRESS: 'a:1', BYNAME_MESH_SOURCE_XDS_AUTOMATIC_VIPS: 'false' }
  expect(loadConfig({ env }).config.mesh.source).toMatchObject({ automaticVips: false })
})
