import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Client, credentials } from '@grpc/grpc-js'
import protobuf from 'protobufjs'
import { findProgram, type Peer, type Task } from './peer.ts'

const PATH = '/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources'
const LISTENERS = 'type.googleapis.com/envoy.config.listener.v3.Listener'
const RETRY_MS = 20

/**
 * Istio's own agent with its DNS proxy and nothing else: without Envoy, without certificates, its table over plaintext xDS. It
 * asks for the table once Envoy has asked it for listeners: the bench does so in Envoy's place.
 */
export const istioAgent: Peer = {
  id: 'istio-agent',
  title: 'Istio’s agent',
  install: 'go install istio.io/istio/pilot/cmd/pilot-agent into PATH',
  abilities: ['mesh', 'table', 'push'],
  isTablePushed: true,
  version: () => (findProgram('pilot-agent') === undefined ? undefined : 'DNS proxy, without Envoy'),
  command: ({ folder, port, controlPlanePort, sparePorts }) => {
    mkdirSync(join(folder, 'etc/istio/pod'), { recursive: true })
    writeFileSync(join(folder, 'etc/istio/pod/labels'), 'app="bench"\n')
    const proxyConfig = {
      discoveryAddress: `127.0.0.1:${controlPlanePort}`,
      controlPlaneAuthPolicy: 'NONE',
      statusPort: sparePorts[0],
    }
    return {
      file: findProgram('pilot-agent')!,
      args: ['proxy', 'sidecar', '--domain', 'ns0.svc.cluster.local', '--log_output_level', 'default:error'],
      cwd: folder,
      env: {
        HOME: folder,
        DISABLE_ENVOY: 'true',
        FILE_MOUNTED_CERTS: 'true',
        ISTIO_META_DNS_CAPTURE: 'true',
        DNS_PROXY_ADDR: `localhost:${port}`,
        PROXY_CONFIG: JSON.stringify(proxyConfig),
        POD_NAME: 'bench-0',
        POD_NAMESPACE: 'ns0',
        INSTANCE_IP: '127.0.0.1',
        SERVICE_ACCOUNT: 'default',
      },
    }
  },
  companion: actAsEnvoy,
}

/** Asks for listeners until somebody answers; what is returned ends that. */
function actAsEnvoy({ folder }: Task): () => void {
  const client = new Client(`unix:${join(folder, 'etc/istio/proxy/XDS')}`, credentials.createInsecure(), {
    'grpc.initial_reconnect_backoff_ms': RETRY_MS,
    'grpc.max_reconnect_backoff_ms': RETRY_MS,
  })
  let isEnded = false
  const ask = (): void => {
    const call = client.makeBidiStreamRequest(PATH, same, same)
    call.on('data', () => {})
    call.on('error', () => void (isEnded || delay(RETRY_MS).then(ask)))
    call.write(firstRequest())
  }
  ask()
  return () => {
    isEnded = true
    client.close()
  }
}

/** A DiscoveryRequest: node = 2 { id = 1 }, type_url = 4. */
function firstRequest(): Buffer {
  const request = protobuf.Writer.create()
  request.uint32(18).fork().uint32(10).string('sidecar~127.0.0.1~bench-0.ns0~ns0.svc.cluster.local').ldelim()
  request.uint32(34).string(LISTENERS)
  return Buffer.from(request.finish())
}

function same(bytes: Buffer): Buffer {
  return bytes
}
