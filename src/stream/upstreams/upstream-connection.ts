/** One pipelined connection to an upstream server: ids made unique on it, replies matched to their attempts. */
import type { Socket } from 'node:net'
import { FrameReader, framed, PREFIX_BYTES } from '../../dns/frame.ts'
import { matchesQuestion } from './reply-match.ts'
import type { ServerLimits } from './server-limits.ts'
import { Silence } from './silence.ts'
import type { UpstreamFailure, UpstreamAttempt } from './upstream-transport.ts'
import { failureOf, MAX_SENT } from './upstream-transport.ts'

/** Attempts that timed out and whose replies may still come; with more of them the connection is closed. */
const MAX_ABANDONED = 16

/** Frames of no bytes in a row that a server may send: some send one before each reply. */
const MAX_EMPTY = 16

/** How connections to a server come about. */
export interface Connector {
  /** A socket that is connecting. Errors come as its `error` event. */
  open(): Socket
  readyEvent: 'connect' | 'secureConnect'
  /** What a query becomes on its way: padded where the connection is encrypted. */
  prepare(query: Uint8Array): Uint8Array
}

/** What a connection tells its pool. */
export interface UpstreamConnectionOwner {
  /** A place on the connection is free again. */
  hasRoom(connection: UpstreamConnection): void
  /**
   * The connection is over. `unanswered` are to be settled or sent elsewhere by the owner, those that were sent elsewhere
   * already are not among them.
   */
  closed(connection: UpstreamConnection, unanswered: UpstreamAttempt[], failure: UpstreamFailure): void
}

/** An attempt under its id. */
interface Sent {
  /** Null once it timed out, or was answered elsewhere: its reply is no forgery, but nobody waits for it. */
  attempt: UpstreamAttempt | null
  sentMs: number
  /** Replies that the connection had brought when it was sent. */
  answeredBefore: number
  /** It goes over another connection as well; the first reply counts. */
  isMoved: boolean
}

/** One connection to a server, from its handshake to its end. Its owner opens it and calls `sweep` for its deadlines. */
export class UpstreamConnection {
  /** True once it may not take further attempts: the server ended it, or it looks dead. */
  retired = false
  /** Replies received. One that has brought none may be one that the server does not serve. */
  answered = 0
  readonly openedMs: number
  readonly silence: Silence
  readonly #socket: Socket
  readonly #connector: Connector
  readonly #owner: UpstreamConnectionOwner
  readonly #reader: FrameReader = new FrameReader(true)
  /** By id on the wire. */
  readonly #outstanding: Map<number, Sent> = new Map()
  readonly #connectDeadlineMs: number
  readonly #limits: ServerLimits
  #abandoned = 0
  #emptyInARow = 0
  #sentCount = 0
  #nextId: number
  #connecting = true
  #corked = false
  #idleSinceMs: number
  #failure: UpstreamFailure | null = null
  #over = false
  readonly #now: () => number

  /** `isReplacement`: see Silence. */
  constructor(
    connector: Connector,
    connectTimeoutMs: number,
    now: () => number,
    owner: UpstreamConnectionOwner,
    limits: ServerLimits,
    isReplacement: boolean,
  ) {
    const socket = connector.open()
    this.#socket = socket
    this.#connector = connector
    this.#owner = owner
    this.#limits = limits
    this.#now = now
    this.openedMs = now()
    this.#idleSinceMs = this.openedMs
    this.silence = new Silence(this.#idleSinceMs, isReplacement)
    this.#connectDeadlineMs = this.#idleSinceMs + connectTimeoutMs
    this.#nextId = (Math.random() * 0x10000) | 0
    socket.once(connector.readyEvent, () => {
      this.#connecting = false
      this.silence.ready(now(), this.#waiting > 0)
    })
    socket.on('data', (chunk: Buffer) => this.#read(chunk))
    socket.on('error', (error) => {
      this.#failure ??= failureOf(error)
    })
    // A server's FIN: nothing comes after it, so what is unanswered need not wait until both sides are closed.
    socket.on('end', () => this.close('network'))
    socket.on('close', () => this.#end())
  }

  /** Attempts under way, those that timed out included: their ids are taken. */
  get load(): number {
    return this.#outstanding.size
  }

  /** True once it has carried as many queries as the server answers on one connection. */
  get isUsedUp(): boolean {
    return this.#sentCount >= this.#limits.queries
  }

  get isConnecting(): boolean {
    return this.#connecting
  }

  /** Whether the server answered queries that came after one that it has left unanswered. */
  get hasLeftOut(): boolean {
    for (const { answeredBefore, attempt, isMoved } of this.#outstanding.values())
      if (attempt !== null && !isMoved && answeredBefore < this.answered) return true
    return false
  }

  /** Whether nothing has come for as long as whoever asks waits for an answer before asking again. */
  isOverdue(nowMs: number): boolean {
    for (const { attempt, isMoved } of this.#outstanding.values())
      if (attempt !== null && !isMoved && this.silence.since(nowMs, attempt.attemptMs) > Number.NEGATIVE_INFINITY)
        return true
    return false
  }

  /** Attempts that somebody waits for. */
  get #waiting(): number {
    return this.#outstanding.size - this.#abandoned
  }

  /** Sends the query under an id of this connection. */
  ask(attempt: UpstreamAttempt): void {
    let id = this.#nextId
    while (this.#outstanding.has(id)) id = (id + 1) & 0xffff
    this.#nextId = (id + 1) & 0xffff
    const sentMs = this.#now()
    attempt.sent++
    this.#sentCount++
    this.#outstanding.set(id, { attempt, sentMs, answeredBefore: this.answered, isMoved: false })
    this.silence.asked(sentMs)
    const frame = framed(this.#connector.prepare(attempt.query))
    frame[PREFIX_BYTES] = id >> 8
    frame[PREFIX_BYTES + 1] = id & 0xff
    this.#corkThisTurn()
    this.#socket.write(frame)
  }

  /** Fails what is over its deadline and ends the connection if it is idle, dead or does not come about. */
  sweep(nowMs: number, idleTimeoutMs: number): void {
    if (this.#connecting && nowMs >= this.#connectDeadlineMs) return this.close('timeout')
    for (const sent of this.#outstanding.values()) {
      const { attempt } = sent
      if (attempt === null || (nowMs < attempt.deadlineMs && !attempt.isSettled)) continue
      sent.attempt = null
      this.#abandoned++
      const isDead = !attempt.isSettled && this.silence.isDead(sent.sentMs, nowMs, attempt.attemptMs)
      if (isDead || this.#abandoned > MAX_ABANDONED) this.retired = true
      if (this.#waiting === 0) this.silence.nothingDue()
      attempt.settle(null, 'timeout')
    }
    if (this.#waiting === 0 && (this.retired || this.isUsedUp || nowMs - this.#idleSinceMs >= idleTimeoutMs))
      this.close('network')
  }

  /**
   * Gives away what was sent at `untilMs` or before and is not answered, to be sent over another connection. What comes here
   * all the same counts.
   */
  giveAway(untilMs: number): UpstreamAttempt[] {
    const given: UpstreamAttempt[] = []
    for (const sent of this.#outstanding.values()) {
      const { attempt, isMoved, sentMs } = sent
      if (attempt === null || attempt.isSettled || isMoved || sentMs > untilMs || attempt.sent >= MAX_SENT) continue
      sent.isMoved = true
      given.push(attempt)
    }
    return given
  }

  /** Ends the connection at once; `failure` is what its attempts may end with. */
  close(failure: UpstreamFailure): void {
    this.#failure ??= failure
    this.retired = true
    this.#socket.destroy()
    // At once, not with the socket's own event: nobody must choose this connection any more.
    this.#end()
  }

  /** Queries of one turn leave in one segment (RFC 7766 §6.2.1 asks clients for it). */
  #corkThisTurn(): void {
    if (this.#corked) return
    this.#corked = true
    this.#socket.cork()
    process.nextTick(() => {
      this.#corked = false
      this.#socket.uncork()
    })
  }

  #read(chunk: Buffer): void {
    const frames = this.#reader.push(chunk)
    if (this.#reader.malformed) return this.close('malformed')
    if (frames === null) return
    for (let at = 0; at < frames.length && !this.#over; ) {
      const start = at + PREFIX_BYTES
      at = start + ((frames[at]! << 8) | frames[at + 1]!)
      if (start < at) {
        this.#emptyInARow = 0
        this.#receive(frames.subarray(start, at))
      } else if (++this.#emptyInARow > MAX_EMPTY) return this.close('malformed')
    }
    if (this.#over) return
    this.#idleSinceMs = this.#now()
    this.silence.heard(this.#idleSinceMs, this.#waiting > 0)
    if ((this.retired || this.isUsedUp) && this.#waiting === 0) return this.close('network')
    this.#owner.hasRoom(this)
  }

  #receive(message: Uint8Array): void {
    const id = (message[0]! << 8) | message[1]!
    const sent = this.#outstanding.get(id)
    if (sent === undefined) {
      // Whose it was to be cannot be known. The others' replies come under their own ids; nothing new is asked here.
      this.retired = true
      return
    }
    const { attempt } = sent
    if (attempt === null) {
      this.#outstanding.delete(id)
      this.#abandoned--
      return
    }
    this.#outstanding.delete(id)
    if (!matchesQuestion(attempt.query, message)) {
      this.retired = true
      return attempt.settle(null, 'malformed')
    }
    if (sent.answeredBefore < this.answered) this.#limits.pipelines = true
    this.#limits.answeredMs = this.#now()
    if (this.answered++ === 0) this.#limits.firstAnswer(this.#limits.answeredMs - this.openedMs)
    // A copy of its own: a view would take the whole read along when it is posted.
    const reply = Uint8Array.from(message)
    reply[0] = attempt.query[0]!
    reply[1] = attempt.query[1]!
    attempt.settle(reply, null)
  }

  #end(): void {
    if (this.#over) return
    this.#over = true
    this.retired = true
    const unanswered: UpstreamAttempt[] = []
    for (const { attempt, isMoved } of this.#outstanding.values())
      if (attempt !== null && !attempt.isSettled && !isMoved) unanswered.push(attempt)
    this.#owner.closed(this, unanswered, this.#failure ?? 'network')
    this.#outstanding.clear()
  }
}
