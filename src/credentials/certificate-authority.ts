import { type Roots } from './pem.ts'
import { Client, Metadata, status as grpcStatus } from '@grpc/grpc-js'
import { CaService } from '../proto/ca.ts'
import { type Presented, secureChannel, serverNameFor } from './secure-channel.ts'

/** A certificate authority: istiod, at CA_ADDR. */
export interface Authority {
  /** `HOST:PORT`. */
  address: string
  /** Name its certificate must carry; '' for the address's host. */
  serverName: string
  /** As the header `clusterid`; '' for none. */
  clusterId: string
}

/** What to show to the authority; at least one of the two. */
export interface Shown {
  presented: Presented | null
  token: string | null
}

const MAX_CHAIN = 16
const MAX_ANSWER_BYTES = 1 << 20

/**
 * Has `csr` (PEM) signed by the authority at gRPC's `target`: the chain, leaf first, root last, in PEM. A refusal comes as one line, with `isRefused` where what was
 * shown is not accepted, so that something else may be.
 */
export function requestCertificate(
  authority: Authority,
  target: string,
  roots: Roots,
  shown: Shown,
  csr: string,
  deadlineMs: number,
  signal: AbortSignal,
): Promise<{ chain: string[] } | { failure: string; isRefused: boolean }> {
  const { address, clusterId } = authority
  const secure = secureChannel(roots, serverNameFor(address, authority.serverName), shown.presented)
  const client = new Client(target, secure.channel, {
    ...secure.options,
    'grpc.max_receive_message_length': MAX_ANSWER_BYTES,
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
    'grpc.service_config_disable_resolution': 1,
    'grpc.enable_http_proxy': 0,
    'grpc.enable_channelz': 0,
  })
  const metadata = new Metadata()
  if (shown.token !== null) metadata.set('authorization', `Bearer ${shown.token}`)
  if (clusterId !== '') metadata.set('clusterid', clusterId)
  const { path, requestSerialize, responseDeserialize } = CaService.CreateCertificate
  return new Promise((resolve) => {
    const call = client.makeUnaryRequest(
      path,
      requestSerialize,
      responseDeserialize,
      { csr, validity_duration: '0' },
      metadata,
      { deadline: Date.now() + deadlineMs },
      (error, response) => {
        signal.removeEventListener('abort', onAbort)
        client.close()
        if (error === null) return resolve(chainOf(response?.cert_chain ?? []))
        const isRefused = error.code === grpcStatus.UNAUTHENTICATED || error.code === grpcStatus.PERMISSION_DENIED
        resolve({ failure: `${grpcStatus[error.code]}: ${secure.explain(error.details)}`, isRefused })
      },
    )
    const onAbort = (): void => call.cancel()
    signal.addEventListener('abort', onAbort)
    if (signal.aborted) onAbort()
  })
}

function chainOf(chain: readonly string[]): { chain: string[] } | { failure: string; isRefused: boolean } {
  if (chain.length < 2 || chain.length > MAX_CHAIN)
    return { failure: `the control plane returned a chain of ${chain.length} certificates`, isRefused: false }
  return { chain: chain.map((each) => (each.endsWith('\n') ? each : `${each}\n`)) }
}
