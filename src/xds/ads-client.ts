import { status as grpcStatus } from '@grpc/grpc-js'
import type { Node, Status } from '../proto/ads.ts'
import { type Clock, waitFor, wallClock } from '../base/clock.ts'
import { type Log, lineOf } from '../base/log.ts'
import type { TableSink, TableVerdict } from '../table/nds.ts'
import { delta, type HeldTable, type Push, stateOfTheWorld } from './ads-dialect.ts'
import {
  AdsStream,
  DEFAULT_TIMINGS,
  type ResolveTarget,
  type StreamEnd,
  type StreamListener,
  type StreamTimings,
} from './ads-stream.ts'
import { Backoff, type BackoffSettings, DEFAULT_BACKOFF } from './backoff.ts'
import type { CredentialsSource } from './credentials.ts'
import type { XdsState } from './xds-state.ts'

export interface AdsClientOptions {
  /** `HOST:PORT`, at least one. Tried in turn; the one that works is kept until it fails. */
  addresses: readonly string[]
  /** Delta ADS, or state of the world. A server without delta gets the other. */
  delta: boolean
  node: Node
  credentials: CredentialsSource
  /** By default gRPC resolves the address as the machine does. */
  resolve?: ResolveTarget
  sink: TableSink
  log: Log
  /** As Math.random. */
  random: () => number
  /** Unix time. */
  clock?: Clock
  backoff?: BackoffSettings
  timings?: Partial<StreamTimings>
  /** Told after each change of what `state` returns, ages excepted. */
  onState?: (state: XdsState) => void
}

type Stream = { open(): Promise<void>; close(): Promise<void> }
type Phase = 'new' | 'connected' | 'lost'

/**
 * Subscribes to the name table and hands what comes to the sink, for as long as it runs: every end of a stream leads to
 * the next one. The table in use is the sink's and stays whatever happens here.
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
  /** The table last accepted, and who sent it: versions of another server mean nothing to this one. */
  #held: { table: HeldTable; address: string } | null = null
  /** As far as the log has told. */
  #phase: Phase = 'new'
  #refusal: string | null = null
  #remark = ''
  readonly #state: Omit<XdsState, 'ageSeconds'>

  constructor(options: AdsClientOptions) {
    if (options.addresses.length === 0) throw new RangeError('the xDS client needs an address')
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
      nonce: '',
      version: '',
      accepted: 0,
      unchanged: 0,
      rejected: 0,
      lastMessageAtMs: null,
      lastAcceptedAtMs: null,
      lastError: null,
      lastErrorAtMs: null,
      away: null,
      refused: null,
      nextAttemptAtMs: null,
    }
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

  state(): XdsState {
    const at = this.#state.lastAcceptedAtMs
    return { ...this.#state, ageSeconds: at === null ? null : Math.max(0, this.#clock.now() - at) / 1000 }
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
    const { credentials, node } = this.#options
    const held = this.#held?.address === address ? this.#held.table : null
    const resolve = this.#options.resolve ?? systemTarget
    const common = { address, credentials, resolve, node, held, clock: this.#clock, timings: this.#timings }
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
        this.#subscribed(address)
      },
      received: (push) => this.#received(push, address),
      ended: (end) => this.#ended(end, address, hasAnswered),
    }
  }

  #subscribed(address: string): void {
    this.#backoff.reset()
    this.#fruitless = 0
    this.#state.connected = true
    this.#state.away = null
    this.#state.connectedSinceMs = this.#clock.now()
    const fields = { address, dialect: this.#state.dialect }
    if (this.#phase === 'connected') this.#options.log.debug(fields, 'connected to the control plane again')
    else this.#options.log.info(fields, `connected to the control plane${this.#phase === 'lost' ? ' again' : ''}`)
    this.#phase = 'connected'
  }

  #received(push: Push, address: string): { held: HeldTable | null; error: Status | null } {
    const state = this.#state
    state.lastMessageAtMs = this.#clock.now()
    state.nonce = push.nonce
    if (push.controlPlane !== '') state.controlPlane = push.controlPlane
    if (push.remark !== '' && push.remark !== this.#remark) {
      this.#options.log.warn({ address, version: push.version }, push.remark)
    }
    this.#remark = push.remark
    const error = this.#take(push, address)
    this.#tellState()
    return { held: this.#held?.table ?? null, error }
  }

  /** Hands the table on. Returns what to refuse the response with, or null. */
  #take(push: Push, address: string): Status | null {
    if (push.problem !== null) return this.#refuse(push, address, grpcStatus.INVALID_ARGUMENT, push.problem)
    if (push.table === null) return null
    let verdict: TableVerdict
    try {
      verdict = this.#options.sink.accept(push.table, push.version)
    } catch (error) {
      // A bug of ours in taking the table in: it must not cost the names that work.
      this.#options.log.error({ address, version: push.version, err: error }, 'taking the name table in failed')
      return this.#refuse(push, address, grpcStatus.INTERNAL, lineOf(error))
    }
    if (!verdict.accepted) return this.#refuse(push, address, grpcStatus.INVALID_ARGUMENT, verdict.reason)
    const { version, resourceName, resourceVersion } = push
    this.#held = { table: { version, resourceName, resourceVersion }, address }
    this.#state.version = version
    this.#state.accepted++
    if (!verdict.changed) this.#state.unchanged++
    this.#state.lastAcceptedAtMs = this.#clock.now()
    if (this.#refusal !== null)
      this.#options.log.info({ address, version }, 'the control plane sends name tables that can be used again')
    this.#refusal = null
    this.#state.refused = null
    return null
  }

  #refuse(push: Push, address: string, code: number, message: string): Status {
    this.#state.rejected++
    const sinceMs = this.#state.refused?.sinceMs ?? this.#clock.now()
    this.#state.refused = { sinceMs, address, reason: message }
    this.#failed(message)
    const fields = { address, version: push.version, nonce: push.nonce, reason: message }
    if (this.#refusal === message) this.#options.log.debug(fields, 'refused a response of the control plane')
    else this.#options.log.warn(fields, 'refused a response of the control plane; the name table in use stays')
    this.#refusal = message
    return { code, message }
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
      this.#options.log.warn(fields, `${what}; answering from the name table held, if any, and trying again`)
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
    this.#options.onState?.(this.state())
  }
}

function systemTarget(address: string): Promise<{ target: string }> {
  return Promise.resolve({ target: `dns:${address}` })
}
