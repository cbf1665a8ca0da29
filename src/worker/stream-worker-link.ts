/**
 * The data worker's end of the port to the stream worker: what one turn there read from all connections comes as one
 * message, and the answers that are ready at once go back as one; later ones follow, gathered until `flush`.
 *
 * ```
 *  out   header │ 2 length │ reply │ 2 length │ reply … │ header │ …       a header for each run of one connection
 *        ↑ #headerAt                            ↑ #used
 * ```
 */
import type { MessagePort } from 'node:worker_threads'
import { HEADER_BYTES, MAX_MESSAGE } from '../dns/constants.ts'
import type { Engine } from '../engine/engine.ts'
import {
  addressLengthAt,
  addressOffset,
  connectionAt,
  framesLengthAt,
  isSameMachineAt,
  portAt,
  putWriteHeader,
  READ_HEADER_BYTES,
  WRITE_HEADER_BYTES,
} from '../engine/stream-batch.ts'
import type { FromStream, UpstreamQuery, StreamReplies } from '../engine/stream-port.ts'

const PREFIX = 2
/** Answers of one message: more are sent in several. */
const OUT_BYTES = 256 * 1024
const NO_CONNECTION = -1
/** Upstream queries kept until there is a stream worker: it takes a moment to start. More are given up to their timeout. */
const MOST_WAITING = 256

/** The data worker's end of the port to the stream worker. */
export class StreamWorkerLink {
  readonly #out: Uint8Array = new Uint8Array(OUT_BYTES)
  #used = 0
  /** The run being written: its header's place, its connection, what it settles. */
  #headerAt = 0
  #connection = NO_CONNECTION
  #settled = 0
  /** Connection of the query in hand, and whether it was held. */
  #asking = 0
  #wasHeld = false
  #port: MessagePort | null = null
  /** Upstream queries for a stream worker that is not there yet. */
  readonly #waiting: UpstreamQuery[] = []
  readonly #onWanted: () => void
  #isWanted = false
  /** Connection of each held waiter. */
  readonly #held: Float64Array

  /** `onWanted`: there is no stream worker yet, and one is needed. Told once. */
  constructor(waiters: number, onWanted: () => void = () => {}) {
    this.#onWanted = onWanted
    this.#held = new Float64Array(waiters)
  }

  /** Sees to it that there is a stream worker. */
  want(): void {
    if (this.#port !== null || this.#isWanted) return
    this.#isWanted = true
    this.#onWanted()
  }

  get port(): MessagePort | null {
    return this.#port
  }

  /** Takes the port to a (new) stream worker; what was held for an earlier one has no way back. */
  attach(port: MessagePort): void {
    this.#port?.close()
    this.#port = port
    this.#used = 0
    this.#connection = NO_CONNECTION
    this.#settled = 0
    // Numbers of the earlier one's connections mean nothing to the new one.
    this.#held.fill(NO_CONNECTION)
    for (const message of this.#waiting.splice(0)) port.postMessage(message)
  }

  /** Handles one message of the stream worker. */
  receive(message: FromStream, engine: Engine): void {
    if (message.kind === 'upstreamReply') {
      return engine.streamReply(message.token, message.reply, message.failure)
    }
    const { reads } = message
    for (let at = 0; at + READ_HEADER_BYTES <= reads.length; ) {
      const from = at + READ_HEADER_BYTES
      const to = from + framesLengthAt(reads, at)
      this.#asking = connectionAt(reads, at)
      const isSameMachine = isSameMachineAt(reads, at)
      engine.client(1, reads, addressOffset(at), addressLengthAt(reads, at), isSameMachine, portAt(reads, at))
      this.#answer(reads, from, to, engine)
      at = to
    }
  }

  #answer(frames: Uint8Array, from: number, to: number, engine: Engine): void {
    for (let at = from; at + PREFIX + HEADER_BYTES <= to; ) {
      const length = (frames[at]! << 8) | frames[at + 1]!
      // A reply to somebody else may have turned to another connection.
      this.#turnTo(this.#asking)
      this.#makeRoom()
      this.#wasHeld = false
      const written = engine.query(frames, at + PREFIX, length, this.#out, this.#used + PREFIX)
      if (written > 0) this.#commit(written)
      else if (!this.#wasHeld) this.#settled++
      at += PREFIX + length
    }
  }

  hold(waiter: number): void {
    this.#held[waiter] = this.#asking
    this.#wasHeld = true
  }

  /** Makes room for a reply to a held waiter, at `replyAt` of `reply`. */
  open(waiter: number): void {
    this.#turnTo(this.#held[waiter]!)
    this.#makeRoom()
  }

  get reply(): Uint8Array {
    return this.#out
  }

  get replyAt(): number {
    return this.#used + PREFIX
  }

  send(length: number): void {
    // The client's connection went with its stream worker.
    if (this.#connection === NO_CONNECTION) return
    if (length > 0) this.#commit(length)
    else this.#settled++
  }

  /** Asks the server of that label over a stream; `query` is given away. */
  askUpstream(
    token: number,
    server: string,
    transport: 'tcp' | 'tls' | 'https',
    query: Uint8Array,
    timeoutMs: number,
    attemptMs: number,
  ): void {
    const message: UpstreamQuery = {
      kind: 'upstreamQuery',
      token,
      server,
      transport,
      query,
      timeoutMs,
      attemptMs,
    }
    if (this.#port !== null) return this.#port.postMessage(message)
    if (this.#waiting.length < MOST_WAITING) this.#waiting.push(message)
    this.want()
  }

  /** Posts what has been gathered. */
  flush(): void {
    this.#endRun()
    if (this.#used === 0) return
    const writes = new Uint8Array(this.#used)
    writes.set(this.#out.subarray(0, this.#used))
    const message: StreamReplies = { kind: 'replies', writes }
    this.#port?.postMessage(message, [writes.buffer])
    this.#used = 0
  }

  #turnTo(connection: number): void {
    if (connection === this.#connection) return
    this.#endRun()
    if (connection === NO_CONNECTION) return
    if (this.#used + WRITE_HEADER_BYTES > OUT_BYTES) this.flush()
    this.#connection = connection
    this.#headerAt = this.#used
    this.#used += WRITE_HEADER_BYTES
  }

  #endRun(): void {
    if (this.#connection === NO_CONNECTION) return
    const length = this.#used - this.#headerAt - WRITE_HEADER_BYTES
    if (this.#settled === 0) this.#used = this.#headerAt
    else putWriteHeader(this.#out, this.#headerAt, this.#connection, this.#settled, length)
    this.#connection = NO_CONNECTION
    this.#settled = 0
  }

  #makeRoom(): void {
    if (this.#used + PREFIX + MAX_MESSAGE <= OUT_BYTES) return
    const connection = this.#connection
    this.flush()
    this.#turnTo(connection)
  }

  #commit(length: number): void {
    const at = this.#used
    this.#out[at] = length >>> 8
    this.#out[at + 1] = length
    this.#used = at + PREFIX + length
    this.#settled++
  }
}
