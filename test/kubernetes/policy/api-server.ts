/** A real API server of Kubernetes with its etcd, and nothing else: no controllers, no nodes. For what admission does to objects. */
import { type ChildProcess, spawn } from 'node:child_process'
import { generateKeyPairSync } from 'node:crypto'
import { once } from 'node:events'
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:https'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { vi } from 'vitest'
import { freePort } from '../../free-port.ts'
import type { KubernetesObject } from '../helm.ts'

/** The program with all parts of Kubernetes that build-programs.sh makes, or undefined where there is none. */
export const HYPER: string | undefined = process.env['HYPER'] || undefined

const TOKEN = 'admin'
const START = { timeout: 60_000, interval: 100 }

export interface ApiResponse {
  status: number
  object: KubernetesObject & { message?: string }
}

export class ApiServer {
  readonly #folder: string = mkdtempSync(join(tmpdir(), 'byname-api-server-'))
  readonly #children: ChildProcess[] = []
  #port = 0

  private constructor() {}

  /** Starts both and waits until the API server is ready. */
  static async start(): Promise<ApiServer> {
    const server = new ApiServer()
    try {
      await server.#start()
      return server
    } catch (error) {
      await server.stop()
      throw error
    }
  }

  async #start(): Promise<void> {
    const [client, peer] = [await freePort(), await freePort()]
    this.#port = await freePort()
    const etcd = `http://127.0.0.1:${client}`
    const peers = `http://127.0.0.1:${peer}`
    this.#run('etcd', process.env['ETCD'] ?? 'etcd', [
      '--name',
      'one',
      '--data-dir',
      join(this.#folder, 'data'),
      '--listen-client-urls',
      etcd,
      '--advertise-client-urls',
      etcd,
      '--listen-peer-urls',
      peers,
      '--initial-advertise-peer-urls',
      peers,
      '--initial-cluster',
      `one=${peers}`,
    ])
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 })
    const file = (name: string, text: string | Buffer): string => {
      writeFileSync(join(this.#folder, name), text, { mode: 0o600 })
      return join(this.#folder, name)
    }
    mkdirSync(join(this.#folder, 'certificates'))
    this.#run('apiserver', HYPER!, [
      'kube-apiserver',
      `--etcd-servers=${etcd}`,
      '--bind-address=127.0.0.1',
      `--secure-port=${this.#port}`,
      '--advertise-address=127.0.0.1',
      '--endpoint-reconciler-type=none',
      '--service-cluster-ip-range=10.96.0.0/16',
      `--cert-dir=${join(this.#folder, 'certificates')}`,
      '--service-account-issuer=https://kubernetes.default.svc',
      `--service-account-signing-key-file=${file('sa.key', privateKey.export({ type: 'pkcs8', format: 'pem' }))}`,
      `--service-account-key-file=${file('sa.pub', publicKey.export({ type: 'spki', format: 'pem' }))}`,
      `--token-auth-file=${file('tokens.csv', `${TOKEN},admin,admin,system:masters\n`)}`,
      '--authorization-mode=RBAC',
      // Nobody makes the service account "default" here.
      '--disable-admission-plugins=ServiceAccount',
    ])
    await vi.waitFor(async () => {
      if ((await this.call('GET', '/readyz')).status !== 200) throw new Error(this.#log('apiserver'))
    }, START)
  }

  /** Path of a kubeconfig for programs. */
  get kubeconfig(): string {
    const file = join(this.#folder, 'kubeconfig')
    const cluster = { server: `https://127.0.0.1:${this.#port}`, 'insecure-skip-tls-verify': true }
    const config = {
      apiVersion: 'v1',
      kind: 'Config',
      'current-context': 'one',
      clusters: [{ name: 'one', cluster }],
      users: [{ name: 'admin', user: { token: TOKEN } }],
      contexts: [{ name: 'one', context: { cluster: 'one', user: 'admin' } }],
    }
    writeFileSync(file, JSON.stringify(config), { mode: 0o600 })
    return file
  }

  #run(name: string, program: string, args: string[]): void {
    const log = openSync(join(this.#folder, `${name}.log`), 'w')
    this.#children.push(spawn(program, args, { stdio: ['ignore', log, log] }))
  }

  #log(name: string): string {
    return readFileSync(join(this.#folder, `${name}.log`), 'utf8').slice(-2000)
  }

  /** One request; `body` is sent as JSON. What is no JSON comes back as the message. */
  async call(method: string, path: string, body?: unknown): Promise<ApiResponse> {
    const { promise, resolve, reject } = Promise.withResolvers<ApiResponse>()
    const headers = { authorization: `Bearer ${TOKEN}`, 'content-type': 'application/json' }
    const options = { host: '127.0.0.1', port: this.#port, path, method, headers, rejectUnauthorized: false }
    const asked = request(options, (response) => {
      let text = ''
      response.setEncoding('utf8').on('data', (part: string) => (text += part))
      response.on('end', () => {
        const object = text.startsWith('{') ? JSON.parse(text) : { message: text }
        resolve({ status: response.statusCode!, object })
      })
    })
    asked.on('error', reject).end(body === undefined ? undefined : JSON.stringify(body))
    return await promise
  }

  /** Makes objects, those of kinds that have namespaces in the one that they name. */
  async create(objects: readonly KubernetesObject[]): Promise<void> {
    for (const object of objects) {
      const { namespace } = object.metadata
      const root = object.apiVersion.includes('/') ? `apis/${object.apiVersion}` : `api/${object.apiVersion}`
      const group = namespace === undefined ? root : `${root}/namespaces/${namespace}`
      const plural = object.kind.replace(/y$/, 'ie').toLowerCase()
      const { status, object: answer } = await this.call('POST', `/${group}/${plural}s`, object)
      if (status !== 201) throw new Error(`${object.kind} ${object.metadata.name}: ${answer.message}`)
    }
  }

  async stop(): Promise<void> {
    for (const child of this.#children.splice(0).toReversed()) {
      if (child.exitCode !== null || child.pid === undefined) continue
      child.kill('SIGKILL')
      await once(child, 'close')
    }
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
