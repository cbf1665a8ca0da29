/**
 * The messages to upstream servers, one for each attempt: with an id and a socket of its own, our OPT, and what makes a
 * reply hard to forge where the server takes it (a cookie, capitals at random).
 */
import { CLASS_IN, Flag, HEADER_BYTES } from '../../dns/constants.ts'
import { mixCase } from '../../dns/name-case.ts'
import { copyBytes, setCounts, writeOpt, writeU16 } from '../../dns/reply.ts'
import { UpstreamField } from '../../stats/counters.ts'
import { Variant } from '../client-query.ts'
import type { ForwarderState } from './forwarder-state.ts'
import { AttemptCookie, NONE } from './attempts.ts'
import { Purpose } from './in-flight.ts'

/** Payload size that we tell upstream servers: what crosses any path unfragmented (DNS Flag Day 2020). */
const UPSTREAM_PAYLOAD = 1232
/** The token of a stream names the attempt's id as well, because a pending query may have several under way. */
const TOKEN_ID = 2 ** 37

type StreamTransport = 'tcp' | 'tls' | 'https'

const STREAM_FIELDS: Record<StreamTransport, number> = {
  tcp: UpstreamField.requestsTcp,
  tls: UpstreamField.requestsTls,
  https: UpstreamField.requestsHttps,
}

/** Writes queries and hands them to the outlet. */
export class QuerySender {
  readonly #state: ForwarderState

  constructor(state: ForwarderState) {
    this.#state = state
  }

  /**
   * Opens an attempt and sends it by the server's transport, or over a stream all the same. `isPlain`: without an OPT.
   * False if it cannot be sent; the timer is the caller's.
   */
  send(p: number, server: number, isOverStream: boolean, isPlain: boolean = false): boolean {
    const state = this.#state
    const { attempts, inFlight, upstreams } = state
    const { counters, now, outlet, random } = state.context
    const a = attempts.start(p, server, now, random)
    // All attempts are in use: to be tried again when some have ended.
    if (a === NONE) return false
    inFlight.countMessage(p)
    const isRepeat = inFlight.tried.has(p, server)
    inFlight.tried.add(p, server)
    const { transport } = upstreams.server(server)
    // Where TLS proves who answers, cookies would only show who asks.
    const isInClear = transport === 'udp' || transport === 'tcp'
    attempts.setPlain(a, isPlain || this.#isWithoutOpt(p, server))
    // Over a stream that shows whether the server was it whose datagram had none.
    const isLost = !isOverStream && inFlight.cookieLost.has(p, server)
    if (isInClear && !isLost && state.cookies.isWanted(server, isRepeat, now)) attempts.setCookie(a, AttemptCookie.SENT)
    if (transport !== 'udp' || isOverStream) {
      this.sendOverStream(a)
      return true
    }
    if (state.settings.caseRandomization === true && this.#isCaseMixed(p, server)) attempts.setCaseSeed(a, random() | 1)
    const length = this.#writeQuery(a)
    counters.upstreamAdd(server, UpstreamField.requestsUdp, 1)
    const socket = outlet.sendQuery(server, length, inFlight.lastSocket(p))
    attempts.setSocket(a, socket)
    inFlight.setLastSocket(p, socket)
    if (socket >= 0) return true
    attempts.close(a)
    state.noteFailure(p, server, 'network', true)
    inFlight.failedOnce.add(p, server)
    inFlight.suspects.add(p, server)
    return false
  }

  /** Sends the query of an attempt over a stream: that of its server, or TCP. */
  sendOverStream(a: number): void {
    const { attempts, context, inFlight, upstreams } = this.#state
    const p = attempts.pendingOf(a)
    const server = attempts.server(a)
    const usual = upstreams.server(server).transport
    const transport = usual === 'udp' ? 'tcp' : usual
    const length = this.#writeQuery(a)
    context.counters.upstreamAdd(server, STREAM_FIELDS[transport], 1)
    const token = inFlight.token(p) + attempts.id(a) * TOKEN_ID
    const timeout = Math.max(1, inFlight.deadlineAt(p) - context.now)
    context.outlet.sendStreamQuery(token, server, transport, length, timeout, this.#state.attemptMs(p))
  }

  /** The attempt that a stream's token names, NONE if it is not open any more. */
  attemptOf(token: number): number {
    const { attempts, inFlight } = this.#state
    const p = inFlight.ofToken(token % TOKEN_ID)
    const a = p === NONE ? NONE : attempts.byId(Math.floor(token / TOKEN_ID))
    return a !== NONE && attempts.pendingOf(a) === p ? a : NONE
  }

  /** True if the server does not understand an OPT, as far as is known, or for this question or its probe is taken not to. */
  #isWithoutOpt(p: number, server: number): boolean {
    const { context, inFlight, upstreams } = this.#state
    return (
      inFlight.optFailed.has(p, server) ||
      upstreams.isEdnsBroken(server, context.now) ||
      (inFlight.purpose(p) === Purpose.PROBE && upstreams.isProbedPlainly(server))
    )
  }

  /** Nothing that a probe's reply says is believed: it needs no proof, and a server that does not repeat it does well. */
  #isCaseMixed(p: number, server: number): boolean {
    const { context, inFlight, upstreams } = this.#state
    const hasLost = inFlight.caseLost.has(p, server)
    return inFlight.isWaitedFor(p) && !hasLost && upstreams.keepsCase(server, context.now)
  }

  /** Writes the query of an attempt where the outlet wants it; returns its length. */
  #writeQuery(a: number): number {
    const { attempts, context, cookies, inFlight } = this.#state
    const { outlet } = context
    outlet.openQuery()
    const out = outlet.query
    const at = outlet.queryAt
    const p = attempts.pendingOf(a)
    const keyAt = inFlight.keyAt(p)
    const keyLength = inFlight.keyLength(p)
    const variant = inFlight.keys[keyAt + keyLength - 1]!
    writeU16(out, at, attempts.id(a))
    // AD asks for the server's verdict, which is then shown to the clients that want it (RFC 6840 §5.7).
    writeU16(
      out,
      at + 2,
      Flag.AD | ((variant & Variant.NO_RECURSION) !== 0 ? 0 : Flag.RD) | ((variant & Variant.CD) !== 0 ? Flag.CD : 0),
    )
    writeU16(out, at + 4, 1)
    setCounts(out, at, 0, 0, 0)
    copyBytes(inFlight.keys, keyAt, keyLength - 1, out, at + HEADER_BYTES)
    const seed = attempts.caseSeed(a)
    if (seed !== 0) mixCase(inFlight.keys, keyAt, keyLength - 3, seed, out, at + HEADER_BYTES)
    const end = writeU16(out, at + HEADER_BYTES + keyLength - 1, CLASS_IN)
    if (attempts.isPlain(a)) {
      attempts.setCookie(a, AttemptCookie.NONE)
      return end - at
    }
    const server = attempts.server(a)
    setCounts(out, at, 0, 0, 1)
    const opt = writeOpt(out, end, UPSTREAM_PAYLOAD, 0, (variant & Variant.DO) !== 0)
    return (attempts.cookie(a) === AttemptCookie.NONE ? opt : cookies.add(server, out, end, opt)) - at
  }
}
