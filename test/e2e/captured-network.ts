/**
 * A machine with byname, a name server and a control plane, each in a network namespace of its own:
 *
 * ```
 *  machine 10.97.0.1, fd97::1 ──┬── outside 10.97.0.53, fd97::53   the name server, and every address of the mesh
 *                               └── control 10.97.1.2              the embedded control plane
 * ```
 *
 * The outside namespace has the mesh's addresses (10.96.0.0/16, fd00:10:96::/48) and those outside of it (198.18.0.0/16,
 * 2001:db8::/32), so that a connection to any of them is taken or refused at once.
 */
import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { WAIT_MS } from '../wait.ts'
import { LAUNCHER } from '../cli/byname-process.ts'

/** Where programs run. */
export type Place = 'machine' | 'outside' | 'control'

/** How a program ended, and what it said. */
export interface Ran {
  code: number | null
  out: string
  err: string
}

/** The name server's addresses. */
export const NAME_SERVER = { v4: '10.97.0.53', v6: 'fd97::53' } as const

/** Programs that may hold the redirect. */
export const BACKENDS = ['nftables', 'iptables-nft', 'iptables-legacy'] as const

/** The user that byname runs as. */
const OWN_UID = 1337

const KEPT_OUTPUT = 100_000

function run(program: string, args: readonly string[], input: string): Ran {
  const { status, stdout, stderr } = spawnSync(program, args, {
    encoding: 'utf8',
    input,
    maxBuffer: 1 << 26,
    timeout: 10 * WAIT_MS,
  })
  return { code: status, out: stdout ?? '', err: stderr ?? '' }
}

/** Programs that are not here, and `root` if namespaces cannot be made. */
export function lacking(...programs: readonly string[]): string[] {
  const absent = programs.filter((program) => run('sh', ['-c', `command -v ${program}`], '').code !== 0)
  if (absent.length > 0) return absent
  const trial = `bn${process.pid}-try`
  return run('ip', ['netns', 'add', trial], '').code === 0 && run('ip', ['netns', 'del', trial], '').code === 0
    ? []
    : ['root']
}

/** It may be gone. */
function isOwn(pid: string): boolean {
  try {
    return statSync(`/proc/${pid}`).uid === OWN_UID
  } catch {
    return false
  }
}

/** The namespaces, and the programs that were started in them, until `remove`. */
export class CapturedNetwork {
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
    for (const place of ['machine', 'outside', 'control'] as const) {
      this.#ip('netns', 'add', this.#namespace(place))
      this.ip(place, 'link', 'set', 'lo', 'up')
    }
    this.join('outside', 'eth0', ['10.97.0.1/24', 'fd97::1/64'], ['10.97.0.53/24', 'fd97::53/64'])
    this.join('control', 'eth1', ['10.97.1.1/24'], ['10.97.1.2/24'], 'eth0')
    this.ip('machine', 'route', 'add', 'default', 'via', NAME_SERVER.v4)
    this.ip('machine', '-6', 'route', 'add', 'default', 'via', NAME_SERVER.v6)
    for (const prefix of ['10.96.0.0/16', '198.18.0.0/16'])
      this.ip('outside', 'route', 'add', 'local', prefix, 'dev', 'lo')
    for (const prefix of ['fd00:10:96::/48', '2001:db8::/32'])
      this.ip('outside', '-6', 'route', 'add', 'local', prefix, 'dev', 'lo')
    mkdirSync(`/etc/netns/${this.#namespace('machine')}`, { recursive: true })
    this.resolvConf = `nameserver ${NAME_SERVER.v4}\n`
  }

  /** The text of the machine's /etc/resolv.conf, for programs that start from now on. */
  set resolvConf(text: string) {
    writeFileSync(`/etc/netns/${this.#namespace('machine')}/resolv.conf`, text)
  }

  /** The end of what all programs that were started have said. */
  get output(): string {
    return this.#output
  }

  /** Writes a file into the folder and returns its path. */
  write(name: string, text: string): string {
    const path = join(this.folder, name)
    mkdirSync(join(path, '..'), { recursive: true })
    writeFileSync(path, text)
    return path
  }

  /** Runs `ip` on a place; throws what it says if it fails. */
  ip(place: Place, ...args: readonly string[]): void {
    this.#ip('-n', this.#namespace(place), ...args)
  }

  /** Joins the machine and a place by a veth pair, `name` on the machine and `there` in the place, with the addresses of each end. */
  join(place: Place, name: string, own: readonly string[], others: readonly string[], there = name): void {
    this.ip('machine', 'link', 'add', name, 'type', 'veth', 'peer', 'name', there, 'netns', this.#namespace(place))
    for (const [at, link, addresses] of [
      ['machine', name, own],
      [place, there, others],
    ] as const) {
      this.ip(at, 'link', 'set', link, 'up')
      for (const address of addresses)
        this.ip(at, 'addr', 'add', address, 'dev', link, ...(address.includes(':') ? ['nodad'] : []))
    }
  }

  /** Runs a program in a place to its end. */
  run(place: Place, args: readonly string[], input = ''): Ran {
    return run('ip', ['netns', 'exec', this.#namespace(place), ...args], input)
  }

  /** Starts a program in a place. Its output is kept for messages; the process is the program itself. */
  start(place: Place, args: readonly string[]): ChildProcess {
    const child = spawn('ip', ['netns', 'exec', this.#namespace(place), ...args], { stdio: ['pipe', 'pipe', 'pipe'] })
    this.#children.push(child)
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (this.#output = this.output.slice(-KEPT_OUTPUT) + text))
    return child
  }

  /** Starts byname on the machine as its own user, and waits until it answers. */
  async startByname(config: object, launcher = LAUNCHER): Promise<ChildProcess> {
    const file = this.write('byname.yaml', JSON.stringify(config))
    const user = ['setpriv', `--reuid=${OWN_UID}`, `--regid=${OWN_UID}`, '--clear-groups']
    const child = this.start('machine', [...user, launcher, 'run', '--config', file])
    await this.until('byname answers', () => this.dig('127.0.0.1', '-p', '15053', 'localhost') === '127.0.0.1')
    return child
  }

  /** Processes of byname's user on the machine, the newest last. */
  get ownProcesses(): number[] {
    const { out } = run('ip', ['netns', 'pids', this.#namespace('machine')], '')
    const pids = out.split('\n').filter((pid) => pid !== '' && isOwn(pid))
    return pids.map(Number).toSorted((a, b) => a - b)
  }

  /** What `dig +short` prints on the machine. */
  dig(address: string, ...question: readonly string[]): string {
    return this.run('machine', ['dig', `@${address}`, '+short', '+tries=1', '+time=10', ...question]).out.trim()
  }

  /** `byname capture …` on the machine; throws what it says if it fails. */
  capture(...args: readonly string[]): string {
    const { code, out, err } = this.run('machine', [LAUNCHER, 'capture', ...args])
    if (code !== 0) throw new Error(`byname capture ${args.join(' ')}: ${out}${err}`)
    return out
  }

  /** The sum of all samples of a metric whose labels contain `labels`. */
  async metric(name: string, labels = ''): Promise<number> {
    const { out } = this.run('machine', ['curl', '-s', 'http://127.0.0.1:9153/metrics'])
    const samples = out.split('\n').filter((line) => line.startsWith(name) && /[{ ]/.test(line[name.length]!))
    return samples
      .filter((line) => line.includes(labels))
      .reduce((sum, line) => sum + Number(line.split(' ').at(-1)), 0)
  }

  /** Waits for a condition. */
  async until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
    const end = Date.now() + WAIT_MS
    while (!(await isSo())) {
      if (Date.now() > end) throw new Error(`never: ${what}\n${this.output.slice(-4000)}`)
      await sleep(50)
    }
  }

  /** Ends all that was started, and leaves nothing behind. */
  remove(): void {
    for (const place of ['machine', 'outside', 'control'] as const) {
      const pids = run('ip', ['netns', 'pids', this.#namespace(place)], '')
        .out.split('\n')
        .filter(Boolean)
      for (const pid of pids) run('kill', ['-9', pid], '')
      run('ip', ['netns', 'del', this.#namespace(place)], '')
    }
    for (const child of this.#children) child.kill('SIGKILL')
    rmSync(`/etc/netns/${this.#namespace('machine')}`, { recursive: true, force: true })
    rmSync(this.folder, { recursive: true, force: true })
  }

  #namespace(place: Place): string {
    return `${this.#tag}-${place}`
  }

  #ip(...args: readonly string[]): void {
    const { code, err } = run('ip', args, '')
    if (code !== 0) throw new Error(`ip ${args.join(' ')}: ${err}`)
  }
}
