import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'

const HERE = fileURLToPath(new URL('.', import.meta.url))
const START_MS = 240_000

/** Tries for 5 s: a killed process takes a moment to end. */
const REMOVE_CGROUPS = `
ours() { find /sys/fs/cgroup -depth -type d '(' -path '*/kubepods*' -o -path '*/k8s.io*' -o -path '*/byname-node*' ')' "$@"; }
for _ in {1..50}; do
  ours -exec rmdir '{}' + 2>/dev/null
  [ -n "$(ours -print -quit)" ] || break
  sleep 0.1
done`

/** What a command printed, and how it ended. */
export interface Ended {
  code: number
  out: string
  err: string
}

/** A Kubernetes in its own namespaces (cluster.sh), and the tools of its operator. */
export class Cluster {
  readonly #programs: string
  readonly #folder: string
  readonly #images: string
  readonly #process: ChildProcess
  #nodes = 1
  /** Of the first process within the namespaces, as this machine numbers it. */
  #inside = 0

  private constructor(programs: string, folder: string, images: string) {
    this.#programs = programs
    this.#folder = folder
    this.#images = images
    const args = [programs, folder, images]
    this.#process = spawn(join(HERE, 'cluster.sh'), args, { stdio: ['ignore', 'inherit', 'inherit'] })
  }

  /** Starts it, and waits until its node is ready. `folder` is emptied. @throws Error if it is not ready in time */
  static async start(programs: string, folder: string, images: string): Promise<Cluster> {
    rmSync(folder, { recursive: true, force: true })
    mkdirSync(folder, { recursive: true })
    const cluster = new Cluster(programs, folder, images)
    await until(START_MS, 'the node is ready', () => {
      if (cluster.#process.exitCode !== null) throw new Error('cluster.sh ended; its logs are in the folder')
      return existsSync(join(folder, 'node1/up')) || null
    })
    const pid = cluster.#process.pid
    cluster.#inside = Number(readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim().split(' ')[0])
    return cluster
  }

  /** Adds a node, in a network of its own. Returns its name. @throws Error if it is not ready in time */
  async addNode(): Promise<string> {
    this.#nodes++
    const number = String(this.#nodes)
    const command = [join(HERE, 'node.sh'), number, this.#programs, this.#folder, this.#images]
    const [program, args] = this.inside(command)
    // It ends with the namespaces that it is in.
    const child = spawn(program, args, { stdio: ['ignore', 'inherit', 'inherit'] })
    await until(START_MS, `node ${number} is ready`, () => {
      if (child.exitCode !== null) throw new Error('node.sh ended; its logs are in the folder')
      return existsSync(join(this.#folder, `node${number}`, 'up')) || null
    })
    return `node${number}`
  }

  /** Ends everything in it, and removes the cgroups, which are the machine's, as soon as their processes are gone. */
  stop(): void {
    this.#process.kill('SIGKILL')
    spawnSync('bash', ['-c', REMOVE_CGROUPS])
  }

  /** How to run a command within the namespaces. */
  inside(command: readonly string[]): [program: string, args: string[]] {
    const environment = [
      `KUBECONFIG=${this.#folder}/etc/admin.kubeconfig`,
      `PATH=${this.#programs}:${process.env['PATH']}`,
    ]
    return ['nsenter', ['-t', String(this.#inside), '-n', '-m', '-p', 'env', ...environment, ...command]]
  }

  /** Runs a command of the operator's machine to its end. */
  async run(command: readonly string[], input = ''): Promise<Ended> {
    const [program, args] = this.inside(command)
    return await collected(spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'] }), input)
  }

  /** What kubectl prints. @throws Error with what it complains about */
  async kubectl(args: readonly string[], input = ''): Promise<string> {
    return success(`kubectl ${args.join(' ')}`, await this.run(['kubectl', ...args], input))
  }

  async apply(manifest: string): Promise<void> {
    await this.kubectl(['apply', '-f', '-'], manifest)
  }

  /** @throws Error with what helm complains about */
  async helm(...args: readonly string[]): Promise<string> {
    return success(`helm ${args.join(' ')}`, await this.run(['helm', ...args]))
  }

  /** An object, as JSON. */
  async get<T>(kind: string, name: string, namespace: string): Promise<T> {
    const read: T = JSON.parse(await this.kubectl(['get', kind, name, '-n', namespace, '-o', 'json']))
    return read
  }

  /** Runs a program in a container. */
  async exec(
    namespace: string,
    pod: string,
    container: string,
    command: readonly string[],
    input = '',
  ): Promise<Ended> {
    return await this.run(['kubectl', 'exec', '-i', '-n', namespace, pod, '-c', container, '--', ...command], input)
  }

  /** A container's first process, as all nodes number it, and its cgroup below each hierarchy of /sys/fs/cgroup. */
  async process(containerId: string): Promise<{ pid: number; cgroup: string }> {
    const id = containerId.replace('containerd://', '')
    let tasks = ''
    for (let number = 1; number <= this.#nodes; number++) {
      const socket = `${this.#folder}/node${number}/containerd.sock`
      tasks += (await this.run(['ctr', '-a', socket, '-n', 'k8s.io', 'tasks', 'ls'])).out
    }
    const pid = Number(new RegExp(`^${id}\\s+(\\d+)`, 'm').exec(tasks)?.[1])
    const groups = (await this.run(['cat', `/proc/${pid}/cgroup`])).out
    return { pid, cgroup: /:memory:(.*)$/m.exec(groups)?.[1] ?? '' }
  }
}

/** Looks every 100 ms until `look` finds something. @throws Error after `timeoutMs` */
export async function until<T>(timeoutMs: number, what: string, look: () => Promise<T | null> | T | null): Promise<T> {
  const endMs = Date.now() + timeoutMs
  for (;;) {
    const found = await look()
    if (found !== null) return found
    if (Date.now() > endMs) throw new Error(`not within ${timeoutMs / 1000} s: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
}

/** Writes `input` to a child and collects what it prints. */
export async function collected(child: ChildProcess, input: string): Promise<Ended> {
  let out = ''
  let err = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text))
  child.stdin?.on('error', () => {})
  child.stdin?.end(input)
  const code = await new Promise<number>((resolve) => child.on('close', (status) => resolve(status ?? -1)))
  return { code, out, err }
}

function success(what: string, { code, out, err }: Ended): string {
  if (code !== 0) throw new Error(`${what}: ${err.trim() || out.trim()}`)
  return out
}
