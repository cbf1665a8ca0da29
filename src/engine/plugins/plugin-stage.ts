/**
 * Plug-ins in the path of a query. Each is shown the query, one after the other, until one does something about it; those that
 * want to see replies are shown the reply, the last one first.
 *
 * ```
 *  query ─→ plug-in ─pass─→ plug-in ─pass─→ … cache, servers ─→ reply ─→ plug-in ─→ plug-in ─→ client
 *              ├─ answer, rcode ─→ client
 *              ├─ drop
 *              └─ rewrite ─→ mesh, special names, hosts file ─→ the plug-ins after it … ─→ reply, with the question as it was
 * ```
 * A plug-in cannot hold up more than its budget, and after a call that fails `onError` says what becomes of the query
 * (plugin-slot.ts: what becomes of the plug-in).
 */
import { CLASS_IN, Ede, HEADER_BYTES, Rcode } from '../../dns/constants.ts'
import { scanName } from '../../dns/name.ts'
import { Query, readQuery, Verdict } from '../../dns/query.ts'
import { PluginCell, Source } from '../../stats/counters.ts'
import { type AnswerStage, PASS } from '../answers/answer-stage.ts'
import type { ClientQuery } from '../client-query.ts'
import { replaceQuestion } from '../rewriting.ts'
import type { EngineSettings } from '../settings.ts'
import { writeEmptyReply } from '../reply-opt.ts'
import { Action, NO_SOURCE, PLUGIN_HEADER_BYTES, PluginError, type PluginSettings } from './plugin-abi.ts'
import { extendedErrorIn, type HeaderFacts, messageLength, rcodeIn, ttlIn, writeBuffer } from './plugin-buffer.ts'
import { FAILED, type PluginInstance } from './plugin-instance.ts'
import { PluginReplies, writeDenial } from './plugin-reply.ts'
import { type PluginEvents, PluginSlot, type SlotContext } from './plugin-slot.ts'

/** What `ask` returns when a plug-in has changed the question of the query. */
export const REWRITTEN = -2
/** What `ask` returns when a plug-in wants the client to get nothing. */
export const DROPPED = -3
/** Of `ClientQuery.plugins`: by plug-in, whether it wants to see the reply; number of the set. */
const REPLY_MASK = 0xffff
const SET_SHIFT = 16
const SET_MASK = 0x1fff

/** What `#act` returns for an action that cannot be followed. */
const REFUSED = -4

/** What the stage is made with. */
export interface PluginContext extends SlotContext {
  readonly settings: Pick<EngineSettings, 'ttlSeconds'>
  /** Seed of all name hashes. */
  readonly seed: number
}

/** All plug-ins of a data worker. Owns their instances. */
export class PluginStage implements AnswerStage {
  readonly name = 'plug-ins'
  readonly source: Source = Source.local
  readonly #context: PluginContext
  readonly #events: PluginEvents
  readonly #replies: PluginReplies = new PluginReplies()
  readonly #facts: HeaderFacts = { nowLow: 0, nowHigh: 0, isSameMachine: false, ttlSeconds: 0, source: NO_SOURCE }
  readonly #parsed: Query = new Query()
  /** The changed query. Overwritten by the next one; who waits keeps a copy. */
  readonly #changed: Uint8Array = new Uint8Array(HEADER_BYTES + 256 + 4)
  #slots: PluginSlot[] = []
  /** Number of this set of plug-ins: a reply is not shown to those of another one. */
  #set = 0
  /** The plug-in that is asked next. */
  #next = 0
  /** Engine time at which the time of day was read, and what it was, in ms since 1970. */
  #readAt = Number.NEGATIVE_INFINITY
  #wallMs = 0

  constructor(context: PluginContext, events: PluginEvents) {
    this.#context = context
    this.#events = events
  }

  /** Takes the plug-ins that are to be asked from now on. Those that are there already go on as they are. */
  configure(plugins: readonly PluginSettings[]): void {
    const before = this.#slots
    const isSame = plugins.length === before.length && plugins.every(({ id }, k) => before[k]!.settings.id === id)
    if (isSame) return
    this.#set = (this.#set + 1) & SET_MASK
    this.#slots = plugins.map((settings, index) => {
      const known = before.find((slot) => slot.settings.id === settings.id)
      this.#context.counters.pluginBegin(index, settings.name)
      if (known === undefined) {
        return new PluginSlot(settings, index, this.#context, this.#events, () => this.#wallNow())
      }
      known.index = index
      return known
    })
    // Now, and not when the first query waits for it.
    for (const slot of this.#slots) slot.make()
  }

  /** Not asked: `explain` must not touch these instances. See `ask`. */
  answer(): number {
    return PASS
  }

  finding(): string {
    return this.#slots.map(({ settings }) => settings.name).join(', ')
  }

  /**
   * Shows the query to the plug-ins. Returns the length of the reply written at `outAt`, PASS, REWRITTEN or DROPPED.
   * `isSameMachine`: the client is on this machine.
   */
  ask(query: ClientQuery, isSameMachine: boolean, out: Uint8Array, outAt: number): number {
    this.#next = 0
    this.#facts.isSameMachine = isSameMachine
    query.plugins = this.#set << SET_SHIFT
    return this.askOn(query, out, outAt)
  }

  /** Goes on with the plug-ins after the one that changed the question of the query asked last. */
  askOn(query: ClientQuery, out: Uint8Array, outAt: number): number {
    const facts = this.#facts
    this.#readClock()
    facts.ttlSeconds = this.#context.settings.ttlSeconds
    facts.source = NO_SOURCE
    while (this.#next < this.#slots.length) {
      const slot = this.#slots[this.#next++]!
      const length = this.#askOne(slot, query, out, outAt)
      if (length !== PASS) return length
    }
    // Nobody cares for the reply.
    if ((query.plugins & REPLY_MASK) === 0) query.plugins = 0
    return PASS
  }

  #wallNow(): number {
    this.#readClock()
    return this.#wallMs
  }

  /** The time of day is read once a batch. */
  #readClock(): void {
    const { now } = this.#context
    if (now === this.#readAt) return
    this.#readAt = now
    this.#wallMs = Math.floor(this.#events.wallClock())
    this.#facts.nowLow = this.#wallMs | 0
    this.#facts.nowHigh = (this.#wallMs / 2 ** 32) | 0
  }

  #askOne(slot: PluginSlot, query: ClientQuery, out: Uint8Array, outAt: number): number {
    slot.make()
    const { instance } = slot
    if (instance === null) {
      slot.count(PluginCell.errors + PluginError.UNAVAILABLE, 1)
      return this.#unhandled(slot, query, out, outAt)
    }
    const { packet, at, end } = query
    const bytes = writeBuffer(instance, query, this.#facts, packet, at, end - at, false)
    const action = bytes < 0 ? FAILED : instance.query(bytes)
    const length = action === FAILED ? REFUSED : this.#act(instance, action, query, out, outAt)
    if (length === REFUSED) {
      if (bytes < 0) slot.failed(PluginError.TOO_LARGE)
      else if (action === FAILED) slot.trapped(instance)
      else slot.failed(this.#error)
      return this.#unhandled(slot, query, out, outAt)
    }
    slot.succeeded()
    slot.count(PluginCell.actions + action, 1)
    if (length < 0 && instance.hasReply) query.plugins |= 1 << slot.index
    return length
  }

  /** Why an action could not be followed. */
  #error: number = PluginError.ACTION

  #act(instance: PluginInstance, action: number, query: ClientQuery, out: Uint8Array, outAt: number): number {
    switch (action) {
      case Action.PASS:
        return PASS
      case Action.ANSWER: {
        this.#error = PluginError.REPLY
        const written = this.#writeReply(instance, query, out, outAt)
        return written < 0 ? REFUSED : written
      }
      case Action.REWRITE:
        this.#error = PluginError.QUERY
        return this.#rewrite(instance, query) ? REWRITTEN : REFUSED
      case Action.RCODE: {
        this.#error = PluginError.ACTION
        const written = this.#writeDenial(instance, query, out, outAt)
        return written < 0 ? REFUSED : written
      }
      case Action.DROP:
        return DROPPED
      default:
        this.#error = PluginError.ACTION
        return REFUSED
    }
  }

  #writeReply(instance: PluginInstance, query: ClientQuery, out: Uint8Array, outAt: number): number {
    const length = messageLength(instance)
    if (length < 0) return -1
    const at = instance.bufferAt + PLUGIN_HEADER_BYTES
    return this.#replies.write(query, instance.memory, at, length, extendedErrorIn(instance), out, outAt)
  }

  #writeDenial(instance: PluginInstance, query: ClientQuery, out: Uint8Array, outAt: number): number {
    const rcode = rcodeIn(instance)
    if (rcode > 15) return -1
    return writeDenial(query, rcode, extendedErrorIn(instance), ttlIn(instance), out, outAt)
  }

  /** Gives the query the question that the plug-in left. False if that is of no use. */
  #rewrite(instance: PluginInstance, query: ClientQuery): boolean {
    const length = messageLength(instance)
    if (length < HEADER_BYTES) return false
    const parsed = this.#parsed
    const { seed } = this.#context
    const { bufferAt, memory } = instance
    const at = bufferAt + PLUGIN_HEADER_BYTES
    const verdict = readQuery(memory, at, length, seed, parsed)
    const bytes = parsed.questionEnd - at
    if (verdict !== Verdict.OK || bytes <= HEADER_BYTES) return false
    replaceQuestion(query, memory, at + HEADER_BYTES, bytes - HEADER_BYTES, parsed.flags, this.#changed, seed)
    return true
  }

  /**
   * Shows the reply of `length` bytes at `outAt` to those that want to see it: they have passed on or changed the query, which has
   * its client's question again. Returns the new length, 0 if the client is to get none.
   */
  reply(query: ClientQuery, source: Source, length: number, out: Uint8Array, outAt: number): number {
    const { plugins } = query
    query.plugins = 0
    if (((plugins >>> SET_SHIFT) & SET_MASK) !== this.#set) return length
    // Of one that has waited, only the bytes are there.
    scanName(query.packet, query.at + HEADER_BYTES, query.questionEnd, this.#context.seed, query.name)
    query.class = CLASS_IN
    this.#readClock()
    this.#facts.source = source
    let now = length
    for (let k = this.#slots.length - 1; k >= 0 && now > 0; k--) {
      if ((plugins & (1 << k)) !== 0) now = this.#showReply(this.#slots[k]!, query, now, out, outAt)
    }
    return now
  }

  #showReply(slot: PluginSlot, query: ClientQuery, length: number, out: Uint8Array, outAt: number): number {
    const { instance } = slot
    // Nothing is made for a reply alone.
    if (instance === null) return length
    const bytes = writeBuffer(instance, query, this.#facts, out, outAt, length, true)
    if (bytes < 0) return length
    const action = instance.reply(bytes)
    if (action === FAILED) {
      slot.trapped(instance)
      return this.#orReply(this.#unhandled(slot, query, out, outAt), length)
    }
    // Without a result what it leaves in the buffer counts.
    const did = action ?? (isEqual(instance, out, outAt, length) ? Action.PASS : Action.ANSWER)
    let written = length
    if (did === Action.ANSWER) written = this.#writeReply(instance, query, out, outAt)
    else if (did === Action.RCODE) written = this.#writeDenial(instance, query, out, outAt)
    else if (did === Action.DROP) written = 0
    else if (did !== Action.PASS) written = -1
    if (written < 0) {
      slot.failed(did === Action.ANSWER ? PluginError.REPLY : PluginError.ACTION)
      return this.#orReply(this.#unhandled(slot, query, out, outAt), length)
    }
    slot.succeeded()
    slot.count(PluginCell.replyActions + did, 1)
    return written
  }

  /** After a failure `onError: pass` leaves the reply as it is. */
  #orReply(length: number, reply: number): number {
    return length === PASS ? reply : length
  }

  /** What `onError` says. */
  #unhandled({ settings }: PluginSlot, query: ClientQuery, out: Uint8Array, outAt: number): number {
    return settings.onError === 'pass' ? PASS : writeEmptyReply(query, Rcode.SERVFAIL, Ede.OTHER, out, outAt)
  }
}

/** True if the message in the buffer is still the one at `at` of `message`. */
function isEqual(instance: PluginInstance, message: Uint8Array, at: number, length: number): boolean {
  if (messageLength(instance) !== length) return false
  const from = instance.bufferAt + PLUGIN_HEADER_BYTES
  for (let i = 0; i < length; i++) if (instance.memory[from + i] !== message[at + i]) return false
  return true
}
