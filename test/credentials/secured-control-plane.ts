/** A control plane over TLS, for tests: name tables for whoever may ask, and certificates for whoever shows a token or one. */
import {
  type Metadata,
  type sendUnaryData,
  Server,
  ServerCredentials,
  type ServerDuplexStream,
  type ServerUnaryCall,
  status,
} from '@grpc/grpc-js'
import { AdsService, type DeltaDiscoveryRequest } from '../../src/proto/ads.ts'
import { CaService, type CertificateRequest, type CertificateResponse } from '../../src/proto/ca.ts'
import { NAME_TABLE_TYPE } from '../../src/table/nds.ts'
import { Inbox } from '../xds/inbox.ts'
import type { Issued, TestAuthority, Wanted } from './test-authority.ts'
import { freePort } from '../free-port.ts'

/** How the server behaves. */
export interface SecuredOptions {
  authority: TestAuthority
  /** Its certificate; by default one for istiod.istio-system.svc. */
  issued?: Issued
  /** Client certificates are asked for, and must be of the authority. */
  wantsCertificate?: boolean
  /** Tokens that are accepted, '' for none at all; by default everybody is. */
  tokens?: readonly string[]
  /** Serialized NameTable; an empty one if not given. */
  table?: Uint8Array
  /** Of what is signed. */
  wanted?: (csr: string) => Wanted
}

/** A stream or a request, as the server saw it. */
export interface Seen {
  authorization: string
  clusterId: string
}

export class SecuredControlPlane {
  readonly streams: Inbox<Seen> = new Inbox()
  readonly requests: Inbox<Seen> = new Inbox()
  readonly #server: Server = new Server()
  readonly #options: SecuredOptions
  port = 0

  constructor(options: SecuredOptions) {
    this.#options = options
    this.#server.addService(AdsService, {
      StreamAggregatedResources: () => {},
      DeltaAggregatedResources: (stream: ServerDuplexStream<DeltaDiscoveryRequest, unknown>) => {
        const seen = seenIn(stream.metadata)
        this.streams.put(seen)
        if (!this.#isKnown(seen)) {
          stream.emit('error', { code: status.UNAUTHENTICATED, details: 'authentication failure' })
          return
        }
        let isFirst = true
        stream.on('error', () => {})
        stream.on('end', () => stream.end())
        stream.on('data', () => {
          if (!isFirst) return
          isFirst = false
          const resource = { type_url: NAME_TABLE_TYPE, value: this.#options.table ?? new Uint8Array(0) }
          stream.write({
            system_version_info: 'v1',
            type_url: NAME_TABLE_TYPE,
            nonce: 'n1',
            resources: [{ resource, name: '', version: '' }],
            removed_resources: [],
            control_plane: null,
          })
        })
      },
    })
    this.#server.addService(CaService, {
      CreateCertificate: (
        call: ServerUnaryCall<CertificateRequest, CertificateResponse>,
        reply: sendUnaryData<CertificateResponse>,
      ) => {
        const seen = seenIn(call.metadata)
        this.requests.put(seen)
        const { authority, wanted } = this.#options
        if (!this.#isKnown(seen))
          return reply({ code: status.UNAUTHENTICATED, details: 'request authenticate failure' })
        const cert = authority.signRequest(
          call.request.csr,
          wanted?.(call.request.csr) ?? { names: ['URI:spiffe://td/ns/shop/sa/vm'] },
        )
        reply(null, { cert_chain: [cert, authority.root] })
      },
    })
  }

  /** Listens on loopback; returns `127.0.0.1:PORT`. */
  async start(): Promise<string> {
    const { authority, wantsCertificate = false } = this.#options
    const { cert, key } =
      this.#options.issued ?? authority.issue({ names: ['DNS:istiod.istio-system.svc', 'DNS:istiod'] })
    const pairs = [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }]
    const credentials = ServerCredentials.createSsl(Buffer.from(authority.root), pairs, wantsCertificate)
    const { promise, resolve, reject } = Promise.withResolvers<number>()
    // Not the system's choice: it stays free when the server has stopped.
    const wanted = `127.0.0.1:${await freePort()}`
    this.#server.bindAsync(wanted, credentials, (error, port) => (error === null ? resolve(port) : reject(error)))
    this.port = await promise
    return `127.0.0.1:${this.port}`
  }

  stop(): void {
    this.#server.forceShutdown()
  }

  #isKnown({ authorization }: Seen): boolean {
    const { tokens, wantsCertificate = false } = this.#options
    if (tokens === undefined || (wantsCertificate && authorization === '')) return true
    return tokens.some((token) => authorization === (token === '' ? '' : `Bearer ${token}`))
  }
}

function seenIn(metadata: Metadata): Seen {
  return {
    authorization: String(metadata.get('authorization')[0] ?? ''),
    clusterId: String(metadata.get('clusterid')[0] ?? ''),
  }
}
