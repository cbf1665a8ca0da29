/** Istio's own agent, unmodified, with its DNS proxy and without Envoy: what byname's answers are compared with. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Client, credentials } from '@grpc/grpc-js'
import { AdsService, type DiscoveryRequest, type Node } from '../../src/proto/ads.ts'
import type { Istiod } from './istiod.ts'

const ISTIO_BIN = process.env['ISTIO_BIN'] ?? ''
const START_MS = 30_000

export class PilotAgent {
  readonly #folder: string = mkdtempSync(join(tmpdir(), 'pilot-agent-'))
  readonly #port: number
  #process: ChildProcess | null = null
  #envoy: Client | null = null
  output = ''

  /** `port`: where its DNS proxy listens on loopback. */
  constructor(port: number) {
    this.#port = port
  }

  static readonly isBuilt: boolean = existsSync(join(ISTIO_BIN, 'pilot-agent'))

  get at(): { address: string; port: number } {
    return { address: '127.0.0.1', port: this.#port }
  }

  /** Starts it, and has it subscribe to its table, which it does when Envoy asks for listeners. */
  async start(istiod: Istiod, node: Node): Promise<void> {
    const files = {
      'var/run/secrets/tokens/istio-token': istiod.api.token({ namespace: 'shop', serviceAccount: 'default' }),
      'var/run/secrets/istio/root-cert.pem': istiod.root,
      'etc/istio/pod/labels': 'app="app"\n',
    }
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(join(this.#folder, dirname(name)), { recursive: true })
      writeFileSync(join(this.#folder, name), text)
    }
    mkdirSync(join(this.#folder, 'etc/istio/proxy'), { recursive: true })
    const child = spawn(join(ISTIO_BIN, 'pilot-agent'), ['proxy', 'sidecar', '--domain', 'shop.svc.cluster.local'], {
      cwd: this.#folder,
      env: {
        PATH: process.env['PATH'],
        HOME: this.#folder,
        DISABLE_ENVOY: 'true',
        ISTIO_META_DNS_CAPTURE: 'true',
        DNS_PROXY_ADDR: `localhost:${this.#port}`,
        PROXY_CONFIG: JSON.stringify({ discoveryAddress: istiod.secured, statusPort: this.#port + 1 }),
        ISTIOD_SAN: 'istiod.istio-system.svc',
        POD_NAME: 'app-0',
        POD_NAMESPACE: 'shop',
        INSTANCE_IP: '10.244.9.9',
        SERVICE_ACCOUNT: 'default',
        ISTIO_META_CLUSTER_ID: 'Kubernetes',
        TRUST_DOMAIN: 'cluster.local',
      },
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    this.#process = child
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', (chunk: Buffer) => (this.output = (this.output + chunk.toString()).slice(-50_000)))
    const socket = join(this.#folder, 'etc/istio/proxy/XDS')
    const end = Date.now() + START_MS
    while (!existsSync(socket)) {
      if (child.exitCode !== null || Date.now() > end)
        throw new Error(`pilot-agent did not start:\n${this.output.slice(-3000)}`)
      await sleep(50)
    }
    this.#envoy = new Client(`unix:${socket}`, credentials.createInsecure())
    const { path, requestSerialize, responseDeserialize } = AdsService.StreamAggregatedResources
    const call = this.#envoy.makeBidiStreamRequest(path, requestSerialize, responseDeserialize)
    call.on('data', () => {})
    call.on('error', () => {})
    const request: DiscoveryRequest = {
      version_info: '',
      node,
      resource_names: [],
      type_url: 'type.googleapis.com/envoy.config.listener.v3.Listener',
      response_nonce: '',
      error_detail: null,
    }
    call.write(request)
  }

  async stop(): Promise<void> {
    this.#envoy?.close()
    const child = this.#process
    if (child !== null && child.exitCode === null) {
      const ended = once(child, 'exit')
      child.kill('SIGKILL')
      await ended
    }
    rmSync(this.#folder, { recursive: true, force: true })
  }
}
