/**
 * A machine with byname, a name server, and a container behind the machine's NAT, each in a network namespace of its own:
 *
 * ```
 *  container 172.30.0.2 ── NAT ── machine 10.98.0.1, fd98::1 ── server 10.98.0.53, fd98::53
 *                                   byname, applications          dnsmasq: outside.test, and a false web.mesh.test
 * ```
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { WAIT_MS } from '../wait.ts'

/** The name server's addresses, which are those in the machine's resolv.conf. */
export const SERVERS = ['10.98.0.53', 'fd98::53'] as const
/** The addresses of web.mesh.test in byname's table. */
export const MESH = { A: '10.50.0.1', AAAA: 'fd50::1' } as const
/** The addresses of all names under outside.test. */
export const OUTSIDE = { A: '203.0.113.9', AAAA: '2001:db8::9' } as const
/** What the name server says of the mesh's name: whoever gets it has bypassed byname. */
export const FALSE = '203.0.113.66'
/** Of byname: user and group. */
export const OWN = '1337'

/** How a program ended, and what it said. */
export interface Ran {
  code: number | null
  out: string
  err: string
}

/** Runs a program to its end, in this network namespace. */
export function run(program: string, args: readonly string[], input = ''): Ran {
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8', input, timeout: 10 * WAIT_MS })
  return { code: status, out: stdout ?? '', err: stderr ?? '' }
}

/** True if this user can make network namespaces, and the programs are there. */
export function canRedirect(): boolean {
  const trial = `bnr${process.pid}-try`
  return (
    run('ip', ['netns', 'add', trial]).code === 0 &&
    run('ip', ['netns', 'del', trial]).code === 0 &&
    ['nft', 'iptables-nft', 'iptables-legacy', 'dnsmasq', 'setpriv'].every(
      (each) => run(each, ['--version']).code === 0,
    )
  )
}

/** The namespaces, and the programs that were started in them, until `remove`. */
export class RedirectedMachine {
  /** For the files of a test; everybody may read it. */
  readonly folder: string
  readonly #tag: string
  readonly #children: ChildProcess[] = []
  #output = ''

  /** `tag` is the test's own: networks of tests side by side have other names. */
  constructor(tag: string) {
    this.#tag = `${tag}${process.pid}`
    this.folder = mkdtempSync(join(tmpdir(), `byname-${tag}-`))
    chmodSync(this.folder, 0o755)
    for (const name of [this.name, this.#server, this.#container]) {
      ip('netns', 'add', name)
      ip('-n', name, 'link', 'set', 'lo', 'up')
    }
    this.#join(this.#server, 'eth0', ['10.98.0.1/24', 'fd98::1/64'], ['10.98.0.53/24', 'fd98::53/64'])
    this.#join(this.#container, 'docker0', ['172.30.0.1/24'], ['172.30.0.2/24'])
    ip('-n', this.#container, 'route', 'add', 'default', 'via', '172.30.0.1')
    this.inside(['sh', '-c', 'echo 1 > /proc/sys/net/ipv4/ip_forward'])
    // ip netns exec shows it as /etc/resolv.conf.
    mkdirSync(`/etc/netns/${this.name}`, { recursive: true })
    this.writeResolvConf(SERVERS)
    this.start(
      [
        'dnsmasq',
        '--keep-in-foreground',
        '--conf-file=/dev/null',
        '--no-resolv',
        '--no-hosts',
        '--user=root',
        '--pid-file=',
        `--listen-address=${SERVERS.join(',')}`,
        '--bind-interfaces',
        ...Object.values(OUTSIDE).map((address) => `--address=/outside.test/${address}`),
        `--address=/web.mesh.test/${FALSE}`,
      ],
      this.#server,
    )
  }

  /** The machine's namespace. */
  get name(): string {
    return `${this.#tag}-machine`
  }

  get #server(): string {
    return `${this.#tag}-server`
  }

  get #container(): string {
    return `${this.#tag}-container`
  }

  #join(other: string, own: string, here: readonly string[], there: readonly string[]): void {
    ip('-n', this.name, 'link', 'add', own, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', other)
    for (const [namespace, device, addresses] of [
      [this.name, own, here],
      [other, 'eth0', there],
    ] as const) {
      ip('-n', namespace, 'link', 'set', device, 'up')
      for (const address of addresses)
        ip('-n', namespace, 'addr', 'add', address, 'dev', device, ...(address.includes(':') ? ['nodad'] : []))
    }
  }

  /** In place, as the machine's programs see the file that was there at their start. */
  writeResolvConf(servers: readonly string[]): void {
    const lines = servers.map((each) => `nameserver ${each}\n`).join('')
    writeFileSync(`/etc/netns/${this.name}/resolv.conf`, `${lines}options timeout:10 attempts:1\n`)
  }

  /** A configuration with the mesh's table, and nothing else that listens. */
  writeConfig(more: Readonly<Record<string, unknown>> = {}): string {
    const table = join(this.folder, 'table.json')
    writeFileSync(table, JSON.stringify({ table: { 'web.mesh.test': { ips: Object.values(MESH) } } }))
    const config = join(this.folder, 'byname.yaml')
    const off = { listen: 'off' }
    writeFileSync(config, JSON.stringify({ mesh: { source: { table } }, metrics: off, admin: off, ...more }))
    return config
  }

  /** Runs a program to its end. */
  inside(args: readonly string[], input = ''): Ran {
    return run('ip', ['netns', 'exec', this.name, ...args], input)
  }

  /** Ids of the processes that run in the machine's namespace. */
  processes(): number[] {
    return run('ip', ['netns', 'pids', this.name]).out.split('\n').filter(Boolean).map(Number)
  }

  /** Starts a program; what it says is in the message of an `until` that fails. */
  start(args: readonly string[], namespace: string = this.name): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', namespace, ...args], { stdio: ['ignore', 'pipe', 'pipe'] })
    this.#children.push(child)
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (this.#output += chunk.toString()))
    return child
  }

  /** Ends a program of `start`, and waits until its addresses are free for the next one. */
  async end(child: ChildProcess, signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (child.exitCode !== null || child.signalCode !== null) return
    const ended = once(child, 'exit')
    child.kill(signal)
    await ended
  }

  /** What the programs that were started have said. */
  get output(): string {
    return this.#output
  }

  /** What `dig` prints for a name, asked of the name server's own address. */
  dig(address: string, ...question: string[]): string {
    return this.inside(['dig', `@${address}`, '+short', '+tries=1', '+time=10', ...question]).out.trim()
  }

  /** What the container gets from the name server, whose replies come back through the machine's NAT. */
  digFromContainer(...question: string[]): string {
    const dig = ['dig', `@${SERVERS[0]}`, '+short', '+tries=1', '+time=10', ...question]
    return run('ip', ['netns', 'exec', this.#container, ...dig]).out.trim()
  }

  /** Waits for a condition. @throws Error after `WAIT_MS`, with what the programs said */
  async until(what: string, isSo: () => boolean): Promise<void> {
    const end = Date.now() + WAIT_MS
    while (!isSo()) {
      if (Date.now() > end) throw new Error(`${what}\n${this.#output.slice(-4000)}`)
      await sleep(50)
    }
  }

  /** Everything that holds rules, without counters; iptables' tables may be there or not while they are empty. */
  ruleset(): string {
    const saved = ['iptables-legacy-save', 'ip6tables-legacy-save'].map((program) => this.inside([program]).out)
    return [this.inside(['nft', '-s', 'list', 'ruleset']).out, ...saved]
      .join('\n')
      .replace(/^#.*\n/gm, '')
      .replace(/\[\d+:\d+\]/g, '')
  }

  /** Ends the programs and takes everything away. */
  remove(): void {
    for (const child of this.#children) child.kill()
    // A program under ip netns exec is that process itself; whatever else is there ends with the namespace's last user.
    for (const name of [this.name, this.#server, this.#container]) {
      for (const pid of run('ip', ['netns', 'pids', name]).out.split('\n').filter(Boolean)) run('kill', ['-9', pid])
      run('ip', ['netns', 'del', name])
    }
    rmSync(`/etc/netns/${this.name}`, { recursive: true, force: true })
    rmSync(this.folder, { recursive: true, force: true })
  }
}

function ip(...args: string[]): void {
  const { code, err } = run('ip', args)
  if (code !== 0) throw new Error(`ip ${args.join(' ')}: ${err}`)
}
