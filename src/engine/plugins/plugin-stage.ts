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
 * A plug-in cannot hold up more than its budget, and a call that fails does what `onError` says. The instance is thrown away
 * then, and made again at the next query, unless that took long: making takes a twentieth of the time at most. One that
 * fails MOST_FAILURES times in a row is switched off until another takes its place.
 */
import { CLASS_IN, Ede, HEADER_BYTES, Rcode } from '../../dns/constants.ts'
import { scanName } from '../../dns/name.ts'
import { Query, readQuery, Verdict } from '../../dns/query.ts'
import { PluginCell, Source, type WorkerCounters } from '../../stats/counters.ts'
import { type AnswerStage, PASS } from '../answers/answer-stage.ts'
import type { ClientQuery } from '../client-query.ts'
import { replaceQuestion } from '../rewriting.ts'
import type { EngineSettings } from '../settings.ts'
import { writeEmptyReply } from '../reply-opt.ts'
import {
  Action,
  NO_SOURCE,
  PLUGIN_ERRORS,
  PLUGIN_HEADER_BYTES,
  PluginError,
  type PluginSettings,
} from './plugin-abi.ts'
import { extendedErrorIn, type HeaderFacts, messageLength, rcodeIn, ttlIn, writeBuffer } from './plugin-buffer.ts'
import type { PluginHost } from './plugin-host.ts'
import { FAILED, PluginFailure, PluginInstance } from './plugin-instance.ts'
import { PluginReplies, writeDenial } from './plugin-reply.ts'

/** What `ask` returns when a plug-in has changed the question of the query. */
export const REWRITTEN = -2
/** What `ask` returns when a plug-in wants the client to get nothing. */
export const DROPPED = -3
/** Failures in a row after which a plug-in is switched off. */
const MOST_FAILURES = 10
/** Making instances takes at most this part of the time. */
const MAKING_PART = 20
/** What makes an instance besides the plug-in's own code, at a guess. */
const INSTANCE_MS = 0.2
/** Lines that a plug-in may log in a second. */
const LINES_A_SECOND = 10
/** Of `ClientQuery.plugins`: by plug-in, whether it wants to see the reply; number of the set. */
const REPLY_MASK = 0xffff
const SET_SHIFT = 16
const SET_MASK = 0x1fff

/** What `#act` returns for an action that cannot be followed. */
const REFUSED = -4

/** What the stage is made with. */
export interface PluginContext {
  readonly settings: Pick<EngineSettings, 'ttlSeconds'>
  readonly counters: WorkerCounters
  /** Seed of all name hashes. */
  readonly seed: number
  /** Engine time in ms. */
  readonly now: number
  readonly random: () => number
}

/** Who is told of what plug-ins do. */
export interface PluginEvents {
  /** Milliseconds since 1970. */
  wallClock(): number
  /** A line that a plug-in logs, UTF-8. */
  log(plugin: string, text: Uint8Array): void
  /** A plug-in, by its id, is switched off, and why. */
  switchedOff(id: number, why: string): void
  /** An instance with so many bytes of memory has trapped, and is garbage now. */
  discarded(bytes: number): void
}

/** A plug-in in its place. */
interface Slot {
  index: number
  settings: PluginSettings
  instance: PluginInstance | null
  failuresInRow: number
  isOff: boolean
  /** No instance is made before this time. */
  notBefore: number
  lines: number
  linesFrom: number
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
  #slots: Slot[] = []
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
      if (known !== undefined) {
        known.index = index
        return known
      }
      return {
        index,
        settings,
        instance: null,
        failuresInRow: 0,
        isOff: settings.module === null,
        notBefore: Number.NEGATIVE_INFINITY,
        lines: 0,
        linesFrom: Number.NEGATIVE_INFINITY,
      }
    })
    // Now, and not when the first query waits for it.
    for (const slot of this.#slots) if (slot.instance === null && !slot.isOff) this.#make(slot)
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

  /** The time of day is read once a batch. */
  #readClock(): void {
    const { now } = this.#context
    if (now === this.#readAt) return
    this.#readAt = now
    this.#wallMs = Math.floor(this.#events.wallClock())
    this.#facts.nowLow = this.#wallMs | 0
    this.#facts.nowHigh = (this.#wallMs / 2 ** 32) | 0
  }

  #askOne(slot: Slot, query: ClientQuery, out: Uint8Array, outAt: number): number {
    const instance = this.#instanceOf(slot)
    if (instance === null) return this.#unanswered(slot, query, out, outAt)
    const { packet, at, end } = query
    const bytes = writeBuffer(instance, query, this.#facts, packet, at, end - at, false)
    if (bytes < 0) return this.#failed(slot, PluginError.TOO_LARGE, query, out, outAt)
    const action = instance.query(bytes)
    if (action === FAILED) return this.#trapped(slot, instance, query, out, outAt)
    const length = this.#act(instance, action, query, out, outAt)
    if (length === REFUSED) return this.#failed(slot, this.#error, query, out, outAt)
    slot.failuresInRow = 0
    this.#context.counters.pluginAdd(slot.index, PluginCell.actions + action, 1)
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
    replaceQuestion(query, memory, at + HEADER_BYTES, bytes - HEADER_BYTES, this.#changed, seed)
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

  #showReply(slot: Slot, query: ClientQuery, length: number, out: Uint8Array, outAt: number): number {
    const { instance } = slot
    // Nothing is made for a reply alone.
    if (instance === null) return length
    const bytes = writeBuffer(instance, query, this.#facts, out, outAt, length, true)
    if (bytes < 0) return length
    const action = instance.reply(bytes)
    if (action === FAILED) return this.#orReply(this.#trapped(slot, instance, query, out, outAt), length)
    const { counters } = this.#context
    let written = length
    let counted = action
    if (action === null) {
      const isChanged = !isEqual(instance, out, outAt, length)
      counted = isChanged ? Action.ANSWER : Action.PASS
    }
    if (counted === Action.ANSWER) written = this.#writeReply(instance, query, out, outAt)
    else if (counted === Action.RCODE) written = this.#writeDenial(instance, query, out, outAt)
    else if (counted === Action.DROP) written = 0
    else if (counted !== Action.PASS) written = -1
    if (written < 0) {
      const error = counted === Action.ANSWER ? PluginError.REPLY : PluginError.ACTION
      return this.#orReply(this.#failed(slot, error, query, out, outAt), length)
    }
    slot.failuresInRow = 0
    counters.pluginAdd(slot.index, PluginCell.replyActions + counted!, 1)
    return written
  }

  /** After a failure `onError: pass` leaves the reply as it is. */
  #orReply(length: number, reply: number): number {
    return length === PASS ? reply : length
  }

  #trapped(slot: Slot, instance: PluginInstance, query: ClientQuery, out: Uint8Array, outAt: number): number {
    slot.instance = null
    this.#events.discarded(instance.memory.length)
    return this.#failed(slot, instance.failure, query, out, outAt, instance.failureText)
  }

  #failed(slot: Slot, error: number, query: ClientQuery, out: Uint8Array, outAt: number, text: string = ''): number {
    this.#countFailure(slot, error, text)
    return this.#unhandled(slot, query, out, outAt)
  }

  #countFailure(slot: Slot, error: number, text: string): void {
    this.#context.counters.pluginAdd(slot.index, PluginCell.errors + error, 1)
    slot.failuresInRow++
    if (slot.failuresInRow < MOST_FAILURES || slot.isOff) return
    slot.isOff = true
    slot.instance = null
    this.#events.switchedOff(slot.settings.id, text === '' ? FAILURE_TEXTS[error]! : text)
  }

  /** There is no instance to ask. */
  #unanswered(slot: Slot, query: ClientQuery, out: Uint8Array, outAt: number): number {
    this.#context.counters.pluginAdd(slot.index, PluginCell.errors + PluginError.UNAVAILABLE, 1)
    return this.#unhandled(slot, query, out, outAt)
  }

  /** What `onError` says. */
  #unhandled({ settings }: Slot, query: ClientQuery, out: Uint8Array, outAt: number): number {
    return settings.onError === 'pass' ? PASS : writeEmptyReply(query, Rcode.SERVFAIL, Ede.OTHER, out, outAt)
  }

  #instanceOf(slot: Slot): PluginInstance | null {
    if (slot.instance !== null) return slot.instance
    if (slot.isOff || this.#context.now < slot.notBefore) return null
    this.#make(slot)
    return slot.instance
  }

  #make(slot: Slot): void {
    const { now, counters } = this.#context
    counters.pluginAdd(slot.index, PluginCell.instances, 1)
    try {
      slot.instance = new PluginInstance(slot.settings, this.#hostOf(slot))
      slot.notBefore = now + (slot.instance.makingMs + INSTANCE_MS) * MAKING_PART
    } catch (error) {
      if (!(error instanceof PluginFailure)) throw error
      slot.notBefore = now + 1000
      this.#countFailure(slot, PluginError.TRAP, error.message)
    }
  }

  #hostOf(slot: Slot): PluginHost {
    const { counters, random } = this.#context
    return {
      log: (text) => this.#log(slot, text),
      now: () => {
        this.#readClock()
        return this.#wallMs
      },
      count: (counter, delta) => counters.pluginAdd(slot.index, PluginCell.own + counter, delta),
      // The control thread has learned the names when it tried the plug-in.
      nameCounter: () => undefined,
      random,
    }
  }

  #log(slot: Slot, text: Uint8Array): void {
    const { now } = this.#context
    if (now - slot.linesFrom >= 1000) {
      slot.linesFrom = now
      slot.lines = 0
    }
    if (slot.lines++ < LINES_A_SECOND) this.#events.log(slot.settings.name, text)
  }
}

/** By PLUGIN_ERRORS, for people. */
const FAILURE_TEXTS: readonly string[] = PLUGIN_ERRORS.map(
  (error) =>
    ({
      action: 'it returned what is no action',
      reply: 'its replies do not fit the queries, or are malformed',
      query: 'its changed queries are malformed',
      too_large: 'messages do not fit into its buffer',
    })[error] ?? error,
)

/** True if the message in the buffer is still the one at `at` of `message`. */
function isEqual(instance: PluginInstance, message: Uint8Array, at: number, length: number): boolean {
  if (messageLength(instance) !== length) return false
  const from = instance.bufferAt + PLUGIN_HEADER_BYTES
  for (let i = 0; i < length; i++) if (instance.memory[from + i] !== message[at + i]) return false
  return true
}
