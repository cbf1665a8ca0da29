import {
  type ChannelOptions,
  Client,
  type ClientDuplexStream,
  connectivityState,
  status as grpcStatus,
  type StatusObject,
} from '@grpc/grpc-js'
import type { Node, Status } from '../proto/ads.ts'
import type { Clock } from '../base/clock.ts'
import type { Dialect, HeldType, Push, WantedType } from './ads-dialect.ts'
import type { CredentialsProvider } from './credentials.ts'
import { assembleInPlace, MAX_MESSAGE_BYTES, release } from './message-assembly.ts'

/** How long a connection may take to show what. */
export interface StreamTimings {
  /** From the attempt's beginning to an HTTP/2 connection, credentials included. */
  connectMs: number
  /** From there to the first response. istiod answers each subscription. */
  firstResponseMs: number
  /** A connection that is left without GOAWAY fails its stream within this. */
  goawaySettleMs: number
  /** HTTP/2 pings: how often (istiod punishes under 15 s), and how long to wait for their answer. */
  keepaliveMs: number
  keepaliveTimeoutMs: number
}

/** The timings that the client uses unless told otherwise. */
export const DEFAULT_TIMINGS: StreamTimings = {
  connectMs: 10_000,
  firstResponseMs: 60_000,
  goawaySettleMs: 50,
  keepaliveMs: 30_000,
  keepaliveTimeoutMs: 10_000,
}

/** Why a stream ended. */
export interface StreamEnd {
  /** `left`: the server ended it in order, or asked us to go. `unimplemented`: it does not speak this dialect. */
  kind: 'left' | 'failed' | 'unimplemented'
  /** One line. */
  reason: string
}

/** Whoever opened the stream. None of these is called once `close` was, or twice after `ended`. */
export interface StreamListener {
  /** The server has answered, or has nothing to tell somebody who holds what we said we hold. */
  subscribed(): void
  /** A response arrived. Returns what is held of its type after it, and why it is refused if it is. */
  received(push: Push): { held: HeldType | null; error: Status | null }
  ended(end: StreamEnd): void
}

/** Resolves a control plane's address (control-plane-name.ts); `signal` ends the wait. */
export type ResolveTarget = (address: string, signal: AbortSignal) => Promise<{ target: string } | { failure: string }>

/** What one attempt is made with. */
export interface StreamOptions<Request, Response> {
  /** `HOST:PORT`, IPv6 addresses in brackets. */
  address: string
  credentials: CredentialsProvider
  /** What gRPC is to connect to for the address, or in one line why nothing. */
  resolve: ResolveTarget
  dialect: Dialect<Request, Response>
  node: Node
  /** What to subscribe to, at least one type. */
  wanted: readonly WantedType[]
  /** What to tell the server that we hold of a type. */
  heldOf: (typeUrl: string) => HeldType | null
  clock: Clock
  timings: StreamTimings
}

/** One attempt: a connection of its own, a subscription to each type on it, and the replies to what it brings. */
export class AdsStream<Request, Response> {
  readonly #options: StreamOptions<Request, Response>
  readonly #listener: StreamListener
  readonly #aborted: AbortController = new AbortController()
  #client: Client | null = null
  #call: ClientDuplexStream<Request, Response> | null = null
  #cancelTimer: () => void = () => {}
  #isOver = false
  /** The connection was left: its server asks us to go, or it dropped. */
  #isLeft = false
  /** Resolved when the call's status is in, after which grpc-js holds nothing of it. */
  readonly #settled: PromiseWithResolvers<void> = Promise.withResolvers<void>()

  constructor(options: StreamOptions<Request, Response>, listener: StreamListener) {
    this.#options = options
    this.#listener = listener
  }

  /** Begins. How it went is told to the listener. */
  async open(): Promise<void> {
    const { address, credentials, resolve, timings } = this.#options
    this.#setTimer(timings.connectMs, () => {
      this.#end({ kind: 'failed', reason: `no connection within ${timings.connectMs / 1000} s` })
    })
    const given = await credentials.forConnection(address, this.#aborted.signal)
    if (this.#isOver) return
    if ('failure' in given) {
      this.#end({ kind: 'failed', reason: given.failure })
      return
    }
    const resolved = await resolve(address, this.#aborted.signal)
    if (this.#isOver) return
    if ('failure' in resolved) {
      this.#end({ kind: 'failed', reason: resolved.failure })
      return
    }
    assembleInPlace()
    const client = new Client(resolved.target, given.channel, {
      // The name that was asked for, whatever address it led to.
      'grpc.default_authority': address,
      ...channelOptions(timings),
      ...given.options,
    })
    this.#client = client
    this.#watch(client.getChannel())
    const { dialect, node, wanted, heldOf } = this.#options
    const { method } = dialect
    const call = client.makeBidiStreamRequest(
      method.path,
      method.requestSerialize,
      method.responseDeserialize,
      given.metadata,
    )
    this.#call = call
    call.on('data', (response: Response) => this.#receive(response))
    // The status says the same, and comes for a stream without error as well.
    call.on('error', () => {})
    call.on('status', (status: StatusObject) => {
      this.#settled.resolve()
      const end = endOf(status)
      this.#end({ ...end, reason: given.explain(end.reason) })
    })
    for (const [index, type] of wanted.entries())
      call.write(dialect.subscribe(type, index === 0 ? node : null, heldOf(type.typeUrl)))
  }

  /** Ends it from our side; resolves when nothing of it is left, which the caller should not wait for without a deadline. */
  close(): Promise<void> {
    this.#isOver = true
    this.#cancelTimer()
    this.#aborted.abort()
    if (this.#call === null) this.#settled.resolve()
    this.#call?.cancel()
    this.#client?.close()
    return this.#settled.promise
  }

  #receive(response: Response): void {
    if (this.#isOver) return
    // A server that asks us to go may still send.
    if (!this.#isLeft) this.#cancelTimer()
    this.#listener.subscribed()
    const { dialect, wanted } = this.#options
    const push = dialect.read(response)
    const type = wanted.find(({ typeUrl }) => typeUrl === push.typeUrl) ?? { typeUrl: push.typeUrl, resourceNames: [] }
    const { held, error } = this.#listener.received(push)
    // The subscriber is done with it, and the garbage collector might come minutes later.
    for (const { value } of push.resources) release(value)
    if (!this.#isOver) this.#call?.write(dialect.reply(push, type, held, error))
  }

  #end(end: StreamEnd): void {
    if (this.#isOver) return
    void this.close()
    this.#listener.ended(end)
  }

  /**
   * Follows the channel from state to state. grpc-js tells of a GOAWAY only by leaving READY, and lets the stream go on
   * until the server cuts it: whoever waits for that misses pushes, and meets the ping that grpc-js then sends into the
   * closed session (grpc-node 3068).
   */
  #watch(channel: ReturnType<Client['getChannel']>): void {
    const before = channel.getConnectivityState(false)
    channel.watchConnectivityState(before, Infinity, () => {
      if (this.#isOver) return
      const now = channel.getConnectivityState(false)
      if (now === connectivityState.READY) this.#connected()
      if (before === connectivityState.READY) this.#disconnected()
      else this.#watch(channel)
    })
  }

  #connected(): void {
    const { timings, dialect, wanted, heldOf } = this.#options
    const mayBeSilent = wanted.every(({ typeUrl }) => dialect.claims(heldOf(typeUrl)))
    this.#setTimer(timings.firstResponseMs, () => {
      if (mayBeSilent) this.#listener.subscribed()
      else
        this.#end({ kind: 'failed', reason: `connected, but no response within ${timings.firstResponseMs / 1000} s` })
    })
  }

  /** A connection that dropped gives the call a status in a moment; after a GOAWAY none comes. */
  #disconnected(): void {
    this.#isLeft = true
    this.#setTimer(this.#options.timings.goawaySettleMs, () => {
      this.#end({ kind: 'left', reason: 'the control plane asked us to reconnect (GOAWAY)' })
    })
  }

  #setTimer(delayMs: number, run: () => void): void {
    this.#cancelTimer()
    this.#cancelTimer = this.#options.clock.after(delayMs, run)
  }
}

function channelOptions(timings: StreamTimings): ChannelOptions {
  return {
    // A table of 100,000 hosts is over 10 MB; the default is 4 MiB.
    'grpc.max_receive_message_length': MAX_MESSAGE_BYTES,
    'grpc.keepalive_time_ms': timings.keepaliveMs,
    'grpc.keepalive_timeout_ms': timings.keepaliveTimeoutMs,
    // Connections of other attempts, with grpc-js's own backoff on them, are none of this one's.
    'grpc.use_local_subchannel_pool': 1,
    'grpc.enable_retries': 0,
    // It would ask for TXT records of the control plane's name at each connection.
    'grpc.service_config_disable_resolution': 1,
    // The workload's http_proxy is for what the workload fetches.
    'grpc.enable_http_proxy': 0,
    // Bookkeeping that nobody reads, and that outlives the channels.
    'grpc.enable_channelz': 0,
    // HTTP/2's 64 KiB would make a large table wait for a round trip 150 times.
    'grpc-node.flow_control_window': 1 << 20,
  }
}

function endOf(status: StatusObject): StreamEnd {
  if (status.code === grpcStatus.OK) return { kind: 'left', reason: 'the control plane ended the stream' }
  const name = grpcStatus[status.code] ?? `status ${status.code}`
  const details = status.details
    // grpc-js dates some of its messages; the log has a time of its own, and an equal reason should look equal.
    .replace(/\s*\(\d{4}-\d\d-\d\dT[\d:.]+Z\)/g, '')
    .replace(/^No connection established\. Last error: (?:Error: )?/, '')
    .replace(/\.? Resolution note:\s*$/, '')
    .replace(/\s+/g, ' ')
    .trim()
  const reason = details === '' ? name : `${name}: ${details}`
  return { kind: status.code === grpcStatus.UNIMPLEMENTED ? 'unimplemented' : 'failed', reason }
}
