import { status as grpcStatus } from '@grpc/grpc-js'
import type { Node, Status } from '../proto/ads.ts'
import { type Clock, waitFor, wallClock } from '../base/clock.ts'
import { type Log, lineOf } from '../base/log.ts'
import { delta, heldAfter, type HeldType, type Push, stateOfTheWorld } from './ads-dialect.ts'
import {
  AdsStream,
  DEFAULT_TIMINGS,
  type ResolveTarget,
  type StreamEnd,
  type StreamListener,
  type StreamTimings,
} from './ads-stream.ts'
import { Backoff, type BackoffSettings, DEFAULT_BACKOFF } from './backoff.ts'
import type { CredentialsProvider } from './credentials.ts'
import type { Subscription, Verdict } from './subscription.ts'
import { type XdsEvent, XdsHistory } from './xds-history.ts'
import type { ConnectionState, TypeState } from './xds-state.ts'

/** What the client is made with. */
export interface AdsClientOptions {
  /** `HOST:PORT`, at least one. Tried in turn; the one that works is kept until it fails. */
  addresses: readonly string[]
  /** Delta ADS, or state of the world. A server without delta gets the other. */
  delta: boolean
  node: Node
  credentials: CredentialsProvider
  /** By default gRPC resolves the address as the machine does. */
  resolve?: ResolveTarget
  /** At least one; no two of one type. */
  subscriptions: readonly Subscription[]
  log: Log
  /** As Math.random. */
  random: () => number
  /** Unix time. */
  clock?: Clock
  backoff?: BackoffSettings
  timings?: Partial<StreamTimings>
  /** Told after each change of what `state` or `typeState` returns. */
  onState?: () => void
}

type Stream = { open(): Promise<void>; close(): Promise<void> }
type Phase = 'new' | 'connected' | 'lost'

/** One subscription, and how it stands. */
interface Subscribed {
  subscription: Subscription
  state: TypeState
  /** What was last accepted, and who sent it: versions of another server mean nothing to this one. */
  held: { type: HeldType; address: string } | null
  /** As far as the log has told. */
  refusal: string | null
}

/**
 * Subscribes to resources of any number of types over one stream, and hands what comes to the subscribers, for as long as
 * it runs: every end of a stream leads to the next one. What was taken in is the subscribers' and stays whatever happens
 * here.
 *
 * The next stream opens a backoff after the last was opened, not after it ended: at once, then, for one that lived. The
 * first response resets the backoff. Of several addresses the next is tried at once; the backoff is for the whole round.
 */
export class AdsClient {
  readonly #options: AdsClientOptions
  readonly #clock: Clock
  readonly #timings: StreamTimings
  readonly #backoff: Backoff
  #stream: Stream | null = null
  #cancelAttempt: () => void = () => {}
  #isRunning = false
  #openedAtMs = 0
  /** When the last connection was lost, or the client started. */
  #leftAtMs = 0
  /** Attempts since a server last answered. */
  #fruitless = 0
  #addressIndex = 0
  #isDelta: boolean
  /** By type URL. */
  readonly #subscribed: Map<string, Subscribed>
  /** As far as the log has told. */
  #phase: Phase = 'new'
  /** Of a type that nobody asked for. */
  #refusal: string | null = null
  readonly #state: ConnectionState
  readonly #history: XdsHistory = new XdsHistory()

  constructor(options: AdsClientOptions) {
    if (options.addresses.length === 0) throw new RangeError('the xDS client needs an address')
    if (options.subscriptions.length === 0) throw new RangeError('the xDS client needs a subscription')
    this.#options = options
    this.#clock = options.clock ?? wallClock
    this.#timings = { ...DEFAULT_TIMINGS, ...options.timings }
    this.#backoff = new Backoff(options.random, options.backoff ?? DEFAULT_BACKOFF)
    this.#isDelta = options.delta
    this.#state = {
      connected: false,
      address: options.addresses[0]!,
      dialect: options.delta ? delta.name : stateOfTheWorld.name,
      controlPlane: '',
      connectedSinceMs: null,
      streamsOpened: 0,
      reconnects: 0,
      lastMessageAtMs: null,
      unwanted: 0,
      lastError: null,
      lastErrorAtMs: null,
      away: null,
      nextAttemptAtMs: null,
    }
    this.#subscribed = new Map(options.subscriptions.map((each) => [each.typeUrl, newlySubscribed(each)]))
  }

  /** Begins to connect; never fails, and returns before there is a connection. */
  start(): void {
    if (this.#isRunning) return
    this.#isRunning = true
    this.#leftAtMs = this.#clock.now()
    this.#connect()
  }

  /** Leaves the stream for a new one, at once and quietly: what it is made with has been replaced. */
  reconnect(): void {
    const stream = this.#stream
    if (!this.#isRunning || stream === null) return
    this.#stream = null
    this.#left()
    void stream.close()
    this.#connect()
  }

  /** Closes the stream; afterwards nothing of the client keeps the process alive. */
  async stop(deadlineMs: number): Promise<void> {
    if (!this.#isRunning) return
    this.#isRunning = false
    this.#cancelAttempt()
    this.#state.nextAttemptAtMs = null
    this.#left()
    const stream = this.#stream
    this.#stream = null
    if (stream !== null) await waitFor(stream.close(), deadlineMs, this.#clock)
    this.#tellState()
  }

  /** How the connection stands. */
  state(): ConnectionState {
    return { ...this.#state }
  }

  /** What happened last, the oldest first. */
  history(): XdsEvent[] {
    return this.#history.events()
  }

  /** How the subscription to a type stands; null for a type that nobody asked for. */
  typeState(typeUrl: string): TypeState | null {
    const subscribed = this.#subscribed.get(typeUrl)
    return subscribed === undefined ? null : { ...subscribed.state }
  }

  #connect(): void {
    const address = this.#options.addresses[this.#addressIndex]!
    this.#openedAtMs = this.#clock.now()
    const state = this.#state
    state.address = address
    state.dialect = this.#isDelta ? delta.name : stateOfTheWorld.name
    state.nextAttemptAtMs = null
    state.streamsOpened++
    state.reconnects = state.streamsOpened - 1
    const { credentials, node, subscriptions: wanted, resolve = systemTarget } = this.#options
    const heldOf = (typeUrl: string): HeldType | null => this.#heldOf(typeUrl, address)
    const common = { address, credentials, resolve, node, wanted, heldOf, clock: this.#clock, timings: this.#timings }
    const listener = this.#listener(address)
    const stream = this.#isDelta
      ? new AdsStream({ ...common, dialect: delta }, listener)
      : new AdsStream({ ...common, dialect: stateOfTheWorld }, listener)
    this.#stream = stream
    this.#options.log.debug({ address, dialect: state.dialect }, 'subscribing to the control plane')
    stream.open().catch((error: unknown) => {
      // Credentials or options that grpc-js does not take: a bug, but none that should end the process.
      if (this.#stream === stream)
        void stream.close().then(() => listener.ended({ kind: 'failed', reason: lineOf(error) }))
    })
    this.#tellState()
  }

  #listener(address: string): StreamListener {
    let hasAnswered = false
    return {
      subscribed: () => {
        if (hasAnswered) return
        hasAnswered = true
        this.#opened(address)
      },
      received: (push) => this.#received(push, address),
      ended: (end) => this.#ended(end, address, hasAnswered),
    }
  }

  #opened(address: string): void {
    this.#backoff.reset()
    this.#fruitless = 0
    this.#state.connected = true
    this.#state.away = null
    this.#state.connectedSinceMs = this.#clock.now()
    this.#note('connected', address, this.#state.dialect)
    const fields = { address, dialect: this.#state.dialect }
    if (this.#phase === 'connected') this.#options.log.debug(fields, 'connected to the control plane again')
    else this.#options.log.info(fields, `connected to the control plane${this.#phase === 'lost' ? ' again' : ''}`)
    this.#phase = 'connected'
  }

  #heldOf(typeUrl: string, address: string): HeldType | null {
    const held = this.#subscribed.get(typeUrl)?.held ?? null
    return held?.address === address ? held.type : null
  }

  #received(push: Push, address: string): { held: HeldType | null; error: Status | null } {
    this.#state.lastMessageAtMs = this.#clock.now()
    if (push.controlPlane !== '') this.#state.controlPlane = push.controlPlane
    const subscribed = this.#subscribed.get(push.typeUrl)
    const error = subscribed === undefined ? this.#refuseType(push, address) : this.#take(subscribed, push, address)
    this.#tellState()
    return { held: this.#heldOf(push.typeUrl, address), error }
  }

  /** Hands on what the response brings. Returns what to refuse it with, or null. */
  #take(subscribed: Subscribed, push: Push, address: string): Status | null {
    const { subscription, state } = subscribed
    const { version } = push
    state.nonce = push.nonce
    const other = push.resources.find(({ typeUrl }) => typeUrl !== push.typeUrl)
    if (other !== undefined)
      return this.#refuse(
        subscribed,
        push,
        address,
        grpcStatus.INVALID_ARGUMENT,
        notAskedFor(other.typeUrl, push.typeUrl),
      )
    let verdict: Verdict
    try {
      verdict = subscription.take(push)
    } catch (error) {
      // A bug of ours in taking it in: it must not cost what works.
      this.#options.log.error({ address, version, err: error }, `taking the ${subscription.label} in failed`)
      return this.#refuse(subscribed, push, address, grpcStatus.INTERNAL, lineOf(error))
    }
    if (verdict !== 'nothing' && !verdict.accepted)
      return this.#refuse(subscribed, push, address, grpcStatus.INVALID_ARGUMENT, verdict.reason)
    const before = this.#heldOf(push.typeUrl, address)
    subscribed.held = { type: heldAfter(push, before), address }
    if (verdict === 'nothing') return null
    state.version = version
    state.accepted++
    if (!verdict.changed) state.unchanged++
    state.lastAcceptedAtMs = this.#clock.now()
    if (verdict.changed) this.#note('accepted', address, `${subscription.label}, version ${JSON.stringify(version)}`)
    if (subscribed.refusal !== null)
      this.#options.log.info(
        { address, version },
        `the control plane sends a ${subscription.label} that can be used again`,
      )
    subscribed.refusal = null
    state.refused = null
    return null
  }

  #refuse(subscribed: Subscribed, push: Push, address: string, code: number, message: string): Status {
    const { state } = subscribed
    state.rejected++
    state.refused = { sinceMs: state.refused?.sinceMs ?? this.#clock.now(), address, reason: message }
    this.#failed(message)
    this.#note('refused', address, message)
    const fields = { address, version: push.version, nonce: push.nonce, reason: message }
    const { label } = subscribed.subscription
    if (subscribed.refusal === message) this.#options.log.debug(fields, 'refused a response of the control plane')
    else this.#options.log.warn(fields, `refused a response of the control plane; the ${label} in use stays`)
    subscribed.refusal = message
    return { code, message }
  }

  #refuseType({ typeUrl, version, nonce }: Push, address: string): Status {
    this.#state.unwanted++
    const message = notAskedFor(typeUrl, [...this.#subscribed.keys()].join(', '))
    this.#failed(message)
    this.#note('refused', address, message)
    const level = this.#refusal === message ? 'debug' : 'warn'
    this.#options.log[level]({ address, version, nonce, reason: message }, 'refused a response of the control plane')
    this.#refusal = message
    return { code: grpcStatus.INVALID_ARGUMENT, message }
  }

  #ended(end: StreamEnd, address: string, hadAnswered: boolean): void {
    this.#stream = null
    if (!this.#isRunning) return
    this.#left()
    if (end.kind === 'unimplemented' && this.#isDelta) {
      this.#options.log.info({ address }, 'the control plane does not speak delta xDS: using state of the world')
      this.#isDelta = false
      this.#connect()
      return
    }
    const isQuiet = end.kind === 'left' && hadAnswered
    this.#note(isQuiet ? 'ended' : 'failed', address, end.reason)
    if (!isQuiet) {
      this.#failed(end.reason)
      this.#state.away = { sinceMs: this.#leftAtMs, address, reason: end.reason }
    }
    if (!hadAnswered) {
      this.#fruitless++
      this.#addressIndex = (this.#addressIndex + 1) % this.#options.addresses.length
    }
    const delayMs = this.#delayMs(hadAnswered)
    const fields = { address, reason: end.reason, retryInMs: Math.round(delayMs) }
    if (isQuiet || this.#phase === 'lost') this.#options.log.debug(fields, 'the stream to the control plane ended')
    else {
      const what = this.#phase === 'connected' ? 'lost the control plane' : 'cannot reach the control plane'
      this.#options.log.warn(fields, `${what}; what it sent before stays in use, trying again`)
      this.#phase = 'lost'
    }
    this.#state.nextAttemptAtMs = this.#clock.now() + delayMs
    this.#cancelAttempt = this.#clock.after(delayMs, () => this.#connect())
    this.#tellState()
  }

  #delayMs(hadAnswered: boolean): number {
    if (!hadAnswered && this.#fruitless % this.#options.addresses.length !== 0) return 0
    const elapsedMs = Math.max(0, this.#clock.now() - this.#openedAtMs)
    return Math.max(0, this.#backoff.next() - elapsedMs)
  }

  #note(what: XdsEvent['what'], address: string, detail: string): void {
    this.#history.add(what, address, detail, this.#clock.now())
  }

  #failed(reason: string): void {
    this.#state.lastError = reason
    this.#state.lastErrorAtMs = this.#clock.now()
  }

  #left(): void {
    if (this.#state.connected) this.#leftAtMs = this.#clock.now()
    this.#state.connected = false
    this.#state.connectedSinceMs = null
  }

  #tellState(): void {
    this.#options.onState?.()
  }
}

function newlySubscribed(subscription: Subscription): Subscribed {
  const counts = { accepted: 0, unchanged: 0, rejected: 0 }
  const state = { nonce: '', version: '', ...counts, lastAcceptedAtMs: null, refused: null }
  return { subscription, state, held: null, refusal: null }
}

function systemTarget(address: string): Promise<{ target: string }> {
  return Promise.resolve({ target: `dns:${address}` })
}

function notAskedFor(typeUrl: string, wanted: string): string {
  return `type ${JSON.stringify(typeUrl.slice(0, 255))} was not asked for, only ${wanted}`
}
