/** A daemon with a secret in every place that can hold one: none of them is in its report. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { generateKeyPairSync } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { DaemonProcess } from '../../daemon/daemon-process.ts'
import { byname } from '../byname-process.ts'
import { readArchive } from './read-archive.ts'

const SECRETS = {
  adminToken: 'adm1n-t0ken-file-content',
  xdsToken: 'opaque-xds-t0ken-content',
  configMistake: 'l1teral-in-the-config',
  serverPath: 'd0h-path-of-a-profile',
  routePath: 'd0h-path-of-a-route',
  urlUser: 'urlus3r',
  urlPassword: 'urlpassw0rd',
  environment: 'env-variable-t0ken',
  environmentJson: 'env-json-passw0rd',
  proxyConfig: 'proxy-config-s3cret',
  label: 'label-s3cret-value',
  clusterEnv: 'cluster-env-passw0rd',
  meshYaml: 'mesh-yaml-s3cret',
  flag: 'flag-t0ken-by-mistake',
  broken: 'broken-config-s3cret',
}

const folder = mkdtempSync(join(tmpdir(), 'byname-secrets-'))
let daemon: DaemonProcess
let everything = ''
let key = ''

function put(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

beforeAll(async () => {
  const pair = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  key = pair.privateKey.export({ type: 'pkcs8', format: 'pem' })
  const istio = join(folder, 'istio')
  mkdirSync(istio)
  writeFileSync(
    join(istio, 'cluster.env'),
    `CANONICAL_SERVICE='x'\nPOD_NAMESPACE='shop'\nDB_PASSWORD='${SECRETS.clusterEnv}'\n`,
  )
  writeFileSync(join(istio, 'mesh.yaml'), `defaultConfig:\n  proxyMetadata: { CLIENT_SECRET: ${SECRETS.meshYaml} }\n`)
  daemon = await DaemonProcess.start({
    config: {
      admin: { listen: '127.0.0.1:0', token: put('admin-token', SECRETS.adminToken) },
      identity: { labels: { token: SECRETS.label } },
      mesh: {
        source: {
          xds: {
            address: '127.0.0.1:9',
            token: put('xds-token', SECRETS.xdsToken),
            tls: { cert: put('cert.pem', 'none'), key: put('key.pem', key), rootCert: put('root.pem', 'none') },
          },
        },
      },
      upstream: {
        servers: [`https://127.0.0.1:9/dns-query/${SECRETS.serverPath}#dns.example`],
        routes: [{ domains: ['corp.example'], servers: [`https://127.0.0.2:9/${SECRETS.routePath}`] }],
      },
    },
    env: {
      ISTIO_META_API_TOKEN: SECRETS.environment,
      ISTIO_METAJSON_EXTRA: JSON.stringify({ nested: { password: SECRETS.environmentJson } }),
      PROXY_CONFIG: `proxyMetadata:\n  AWS_SECRET: ${SECRETS.proxyConfig}\n`,
    },
    args: ['--istio-dir', istio],
  })
  await daemon.line('metrics endpoint is listening')
  const admin = await daemon.line('admin endpoint is listening')
  // What is refused is quoted in the log.
  const file = join(daemon.folder, 'byname.yaml')
  const good = readFileSync(file, 'utf8')
  writeFileSync(
    file,
    JSON.stringify({
      ...JSON.parse(good),
      admin: { token: [SECRETS.broken] },
      upstream: { servers: [`https://${SECRETS.urlUser}:${SECRETS.urlPassword}@192.0.2.1/dns-query`] },
    }),
  )
  await daemon.line('the configuration stays as it is')
  await daemon.line('cannot reach the control plane')
  const path = join(folder, 'report.tar.gz')
  const tokenFile = join(folder, 'admin-token')
  const at = `${String(admin['address'])}:${String(admin['port'])}`
  const { code, out, err } = await byname(
    [
      'bug-report',
      '--output',
      path,
      '--admin',
      at,
      '--token',
      tokenFile,
      '--config',
      file,
      '--istio-dir',
      istio,
      '--set',
      `admin.token=${SECRETS.flag}`,
    ],
    { ISTIO_META_API_TOKEN: SECRETS.environment },
  )
  expect(code).toBe(0)
  const files = readArchive(readFileSync(path))
  expect(files.has('daemon/status.json'), err).toBe(true)
  expect(files.has('daemon/log.json')).toBe(true)
  // The same of a daemon that is not there, with the token itself where its file belongs.
  const mistaken = put('mistaken.yaml', `admin: { token: ${SECRETS.configMistake} }\n`)
  const second = join(folder, 'second.tar.gz')
  const without = await byname(['bug-report', '--output', second, '--admin', '127.0.0.1:9', '--config', mistaken])
  expect(without.code).toBe(0)
  for (const [name, text] of readArchive(readFileSync(second))) files.set(`second/${name}`, text)
  everything = [...[...files].map(([name, text]) => `=== ${name}\n${text}`), out, err, without.err].join('\n')
})
afterAll(async () => {
  await daemon.stop()
  rmSync(folder, { recursive: true, force: true })
})

test.each(Object.entries(SECRETS))('%s is not in the report', (_place, secret) => {
  const at = everything.indexOf(secret)
  expect(at < 0 ? '' : everything.slice(Math.max(0, at - 200), at + 80)).toBe('')
  expect(everything).not.toContain(Buffer.from(secret).toString('base64').slice(0, -4))
})

test('no line of the private key is in the report', () => {
  for (const line of key.split('\n').filter((each) => each.length > 20 && !each.startsWith('-')))
    expect(everything).not.toContain(line)
})

test('what is no secret is there: servers, files, identity', () => {
  expect(everything).toContain('https://127.0.0.1:9/[redacted]#dns.example')
  expect(everything).toContain(join(folder, 'xds-token'))
  expect(everything).toContain('cannot reach the control plane')
  expect(everything).toContain('"what": "failed"')
})
