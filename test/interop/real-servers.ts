/** Real DNS servers on loopback ports, each in a temporary folder of its own. */
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { freePort } from '../free-port.ts'
import { WAIT_MS } from '../wait.ts'
import { exchange } from './dns-exchange.ts'
import { ZONE, zoneFile } from './rich-zone.ts'

/** Programs that are not installed, for a loud word on what was not tested. */
export function missing(...programs: string[]): string[] {
  return programs.filter((program) => spawnSync('sh', ['-c', `command -v ${program}`], { env: PATH }).status !== 0)
}

/** Servers stand in sbin, which not everybody's PATH has. */
const PATH = { PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin` }

/** Runs a program to its end and returns what it prints. */
export function run(program: string, args: readonly string[]): string {
  return execFileSync(program, args, {
    env: PATH,
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: WAIT_MS,
  })
}

/** A certification authority and a certificate of it for 127.0.0.1 and dns.test. */
export class TestAuthority {
  readonly folder: string = mkdtempSync(join(tmpdir(), 'byname-ca-'))
  readonly rootCert: string = join(this.folder, 'ca.pem')
  readonly cert: string = join(this.folder, 'server.pem')
  readonly key: string = join(this.folder, 'server.key')

  constructor() {
    const caKey = join(this.folder, 'ca.key')
    const request = join(this.folder, 'server.csr')
    const names = join(this.folder, 'names')
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
    run('openssl', [
      'req',
      '-x509',
      ...curve,
      '-keyout',
      caKey,
      '-out',
      this.rootCert,
      '-days',
      '2',
      '-subj',
      '/CN=Test CA',
    ])
    run('openssl', ['req', ...curve, '-keyout', this.key, '-out', request, '-subj', '/CN=dns.test'])
    writeFileSync(names, 'subjectAltName=DNS:dns.test,IP:127.0.0.1\n')
    const signing = ['-CA', this.rootCert, '-CAkey', caKey, '-CAcreateserial', '-days', '2', '-extfile', names]
    run('openssl', ['x509', '-req', '-in', request, '-out', this.cert, ...signing])
  }

  remove(): void {
    rmSync(this.folder, { recursive: true, force: true })
  }
}

export class RealServer {
  readonly folder: string
  readonly port: number
  /** 0 where it has none. */
  tlsPort = 0
  httpsPort = 0
  readonly #child: ChildProcess
  #said = ''

  private constructor(folder: string, port: number, program: string, args: readonly string[]) {
    this.folder = folder
    this.port = port
    this.#child = spawn(program, args, { cwd: folder, env: PATH, stdio: ['ignore', 'pipe', 'pipe'] })
    for (const stream of [this.#child.stdout!, this.#child.stderr!]) {
      stream.setEncoding('utf8').on('data', (text: string) => (this.#said += text))
    }
  }

  /** Knot DNS with the rich zone, signed. */
  static async knot(): Promise<RealServer> {
    const folder = mkdtempSync(join(tmpdir(), 'byname-knot-'))
    const port = await freePort()
    writeFileSync(join(folder, 'zone'), zoneFile())
    writeFileSync(
      join(folder, 'knot.conf'),
      `server:
    rundir: "${folder}"
    listen: 127.0.0.1@${port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
database:
    storage: "${folder}"
policy:
  - id: signed
    algorithm: ecdsap256sha256
zone:
  - domain: ${ZONE}
    storage: "${folder}"
    file: zone
    zonefile-sync: -1
    zonefile-load: difference-no-serial
    journal-content: all
    dnssec-signing: on
    dnssec-policy: signed
`,
    )
    const server = new RealServer(folder, port, 'knotd', ['-c', join(folder, 'knot.conf')])
    // The zone is there at once, its signatures a moment later.
    await server.#until(
      async () => (await exchange(port, { name: ZONE, type: 'DNSKEY', timeoutMs: 100 })).answers.length > 0,
    )
    return server
  }

  /** Unbound, which asks `authority` about the rich zone and validates it. */
  static async unbound(authority: RealServer, tls: TestAuthority): Promise<RealServer> {
    const folder = mkdtempSync(join(tmpdir(), 'byname-unbound-'))
    const [port, tlsPort, httpsPort] = [await freePort(), await freePort(), await freePort()]
    writeFileSync(join(folder, 'anchor'), `${await authority.keys()}\n`)
    writeFileSync(
      join(folder, 'unbound.conf'),
      `server:
    directory: "${folder}"
    chroot: ""
    username: ""
    pidfile: "${folder}/pid"
    use-syslog: no
    num-threads: 1
    interface: 127.0.0.1@${port}
    interface: 127.0.0.1@${tlsPort}
    interface: 127.0.0.1@${httpsPort}
    tls-port: ${tlsPort}
    https-port: ${httpsPort}
    tls-service-key: "${tls.key}"
    tls-service-pem: "${tls.cert}"
    do-not-query-localhost: no
    trust-anchor-file: "${folder}/anchor"
    access-control: 127.0.0.0/8 allow
remote-control:
    control-enable: no
stub-zone:
    name: "${ZONE}"
    stub-addr: 127.0.0.1@${authority.port}
`,
    )
    const server = new RealServer(folder, port, 'unbound', ['-d', '-p', '-c', join(folder, 'unbound.conf')])
    server.tlsPort = tlsPort
    server.httpsPort = httpsPort
    await server.#until(
      async () => (await exchange(port, { name: ZONE, type: 'SOA', timeoutMs: 300 })).answers.length > 0,
    )
    return server
  }

  /** Knot Resolver, which asks `authority` about the rich zone. */
  static async kresd(authority: RealServer, tls: TestAuthority): Promise<RealServer> {
    const folder = mkdtempSync(join(tmpdir(), 'byname-kresd-'))
    const [port, tlsPort, httpsPort] = [await freePort(), await freePort(), await freePort()]
    writeFileSync(
      join(folder, 'kresd.conf'),
      `net.tls('${tls.cert}', '${tls.key}')
net.listen('127.0.0.1', ${port}, { kind = 'dns' })
net.listen('127.0.0.1', ${tlsPort}, { kind = 'tls' })
net.listen('127.0.0.1', ${httpsPort}, { kind = 'doh2' })
cache.size = 10 * MB
trust_anchors.set_insecure({ '${ZONE}.' })
policy.add(policy.suffix(policy.STUB('127.0.0.1@${authority.port}'), policy.todnames({ '${ZONE}' })))
`,
    )
    const server = new RealServer(folder, port, 'kresd', ['-n', '-c', join(folder, 'kresd.conf'), folder])
    server.tlsPort = tlsPort
    server.httpsPort = httpsPort
    await server.#until(
      async () => (await exchange(port, { name: ZONE, type: 'SOA', timeoutMs: 300 })).answers.length > 0,
    )
    return server
  }

  /** The zone's key-signing keys in presentation format. */
  async keys(): Promise<string> {
    return await Promise.resolve(
      run('kdig', ['@127.0.0.1', '-p', String(this.port), ZONE, 'DNSKEY', '+short'])
        .split('\n')
        .filter((line) => line.startsWith('257 '))
        .map((line) => `${ZONE}. IN DNSKEY ${line}`)
        .join('\n'),
    )
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const ended = once(this.#child, 'exit')
      this.#child.kill('SIGTERM')
      const late = setTimeout(() => this.#child.kill('SIGKILL'), 3000)
      await ended
      clearTimeout(late)
    }
    rmSync(this.folder, { recursive: true, force: true })
  }

  /** Waits until it answers as it should. */
  async #until(isReady: () => Promise<boolean>): Promise<void> {
    const deadline = performance.now() + WAIT_MS
    for (;;) {
      if (await isReady().catch(() => false)) return
      if (this.#child.exitCode !== null || performance.now() > deadline) {
        await this.stop()
        throw new Error(`${this.#child.spawnfile} does not answer; it said:\n${this.#said}`)
      }
    }
  }
}
