/** The real, unmodified istiod on an API stub: for tests that run only where its program has been built (`.ci/run --long`). */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createConnection } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { TestAuthority } from '../credentials/test-authority.ts'
import { ApiStub } from './api-stub.ts'

/** Folder of Istio's programs, built by the Go toolchain (test/istio/README.md). */
const ISTIO_BIN: string = process.env['ISTIO_BIN'] ?? ''

/** Why these tests cannot run here; '' where they can. */
export const WHY_NOT: string = existsSync(join(ISTIO_BIN, 'pilot-discovery'))
  ? ''
  : 'ISTIO_BIN names no folder with pilot-discovery (test/istio/README.md)'

const START_MS = 60_000

/** Ports of one istiod; each test process that runs side by side needs its own. */
export interface IstiodOptions {
  /** First of ten ports on loopback. */
  port: number
  args?: readonly string[]
  env?: Readonly<Record<string, string>>
}

export class Istiod {
  readonly api: ApiStub
  readonly authority: TestAuthority
  readonly plaintext: string
  readonly secured: string
  /** What it printed. */
  output = ''
  readonly #options: IstiodOptions
  readonly #folder: string = mkdtempSync(join(tmpdir(), 'istiod-'))
  #process: ChildProcess | null = null

  constructor(options: IstiodOptions, api: ApiStub = new ApiStub()) {
    this.#options = options
    this.api = api
    this.authority = new TestAuthority('istio test root')
    this.plaintext = `127.0.0.1:${options.port}`
    this.secured = `127.0.0.1:${options.port + 1}`
  }

  /** PEM of the root certificate. */
  get root(): string {
    return this.authority.root
  }

  /** Starts the API and istiod; resolves once both of its ports take connections. */
  async start(): Promise<void> {
    if (this.api.url === '') await this.api.start()
    await this.startIstiod()
  }

  /** Starts istiod alone, again after `kill`. */
  async startIstiod(): Promise<void> {
    const { port, args = [], env = {} } = this.#options
    const at = (offset: number): string => `127.0.0.1:${port + offset}`
    const folder = this.#folder
    mkdirSync(join(folder, 'var/lib/istio/inject'), { recursive: true })
    mkdirSync(join(folder, 'cacerts'), { recursive: true })
    const ca = this.authority.asPluggedIn()
    for (const [name, pem] of Object.entries(ca)) writeFileSync(join(folder, 'cacerts', name), pem)
    writeFileSync(join(folder, 'kubeconfig'), kubeconfig(this.api.url))
    const child = spawn(
      join(ISTIO_BIN, 'pilot-discovery'),
      [
        'discovery',
        `--kubeconfig=${join(folder, 'kubeconfig')}`,
        '--clusterID=Kubernetes',
        `--grpcAddr=${at(0)}`,
        `--secureGRPCAddr=${at(1)}`,
        `--httpAddr=${at(2)}`,
        `--httpsAddr=${at(3)}`,
        `--monitoringAddr=${at(4)}`,
        `--ctrlz_port=${port + 5}`,
        ...args,
      ],
      {
        cwd: folder,
        env: {
          PATH: process.env['PATH'],
          HOME: folder,
          POD_NAME: 'istiod-test',
          POD_NAMESPACE: 'istio-system',
          ROOT_CA_DIR: join(folder, 'cacerts'),
          PILOT_ENABLE_AMBIENT: 'false',
          PILOT_ENABLE_GATEWAY_API: 'false',
          INJECTION_WEBHOOK_CONFIG_NAME: '',
          VALIDATION_WEBHOOK_CONFIG_NAME: '',
          ENABLE_LEADER_ELECTION: 'false',
          ...env,
        },
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    )
    this.#process = child
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (this.output = (this.output + chunk.toString()).slice(-100_000)))
    const end = Date.now() + START_MS
    while (!(await takesConnections(port)) || !(await takesConnections(port + 1))) {
      if (child.exitCode !== null || Date.now() > end)
        throw new Error(`istiod did not start:\n${this.output.slice(-3000)}`)
      await sleep(100)
    }
  }

  /** Sends istiod a signal; resolves at once, or, for signals that end it, when it has ended. */
  async signal(name: 'SIGKILL' | 'SIGTERM' | 'SIGSTOP' | 'SIGCONT'): Promise<void> {
    const child = this.#process
    if (child === null || child.exitCode !== null) return
    const isEnd = name === 'SIGKILL' || name === 'SIGTERM'
    const ended = isEnd ? once(child, 'exit') : null
    child.kill(name)
    await ended
  }

  async stop(): Promise<void> {
    await this.signal('SIGKILL')
    this.api.stop()
    rmSync(this.#folder, { recursive: true, force: true })
  }
}

function kubeconfig(server: string): string {
  return JSON.stringify({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name: 'stub', cluster: { server } }],
    users: [{ name: 'stub', user: {} }],
    contexts: [{ name: 'stub', context: { cluster: 'stub', user: 'stub' } }],
    'current-context': 'stub',
  })
}

async function takesConnections(port: number): Promise<boolean> {
  const socket = createConnection(port, '127.0.0.1')
  const isOpen = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true))
    socket.once('error', () => resolve(false))
  })
  socket.destroy()
  return isOpen
}
