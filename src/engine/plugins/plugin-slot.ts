/**
 * A plug-in in its place: makes its instance, throws it away once it has trapped, and switches the plug-in off when it fails
 * again and again.
 *
 * ```
 *  made ──a call traps──→ gone ──the next query, unless that is too soon──→ made
 *    └─ MOST_FAILURES failures in a row, of whatever kind ──→ off, until another takes its place
 * ```
 * Making instances takes a twentieth of the time at most.
 */
import { PluginCell, type WorkerCounters } from '../../stats/counters.ts'
import { PLUGIN_ERRORS, PluginError, type PluginSettings } from './plugin-abi.ts'
import type { PluginHost } from './plugin-host.ts'
import { PluginFailure, PluginInstance } from './plugin-instance.ts'

/** Failures in a row after which a plug-in is switched off. */
const MOST_FAILURES = 10
/** Making instances takes at most this part of the time. */
const MAKING_PART = 20
/** What makes an instance besides the plug-in's own code, at a guess. */
const INSTANCE_MS = 0.2
/** After one that could not be made. */
const PAUSE_MS = 1000
/** Lines that a plug-in may log in a second. */
const LINES_A_SECOND = 10

/** By PLUGIN_ERRORS, where V8 says nothing of it, for people. */
const FAILURE_TEXTS: Readonly<Record<string, string>> = {
  action: 'it returned what is no action',
  reply: 'its replies do not fit the queries, or are malformed',
  query: 'its changed queries are malformed',
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

/** What a slot looks at. */
export interface SlotContext {
  readonly counters: WorkerCounters
  /** Engine time in ms. */
  readonly now: number
  readonly random: () => number
}

/** One plug-in of a data worker. Owns its instance. */
export class PluginSlot {
  readonly settings: PluginSettings
  /** Place among the plug-ins, and of its counters. */
  index: number
  /** Null once it has trapped, or as long as it cannot be made. */
  instance: PluginInstance | null = null
  readonly #context: SlotContext
  readonly #events: PluginEvents
  readonly #host: PluginHost
  #isOff: boolean
  #failuresInRow = 0
  /** No instance is made before this engine time. */
  #notBefore = Number.NEGATIVE_INFINITY
  #lines = 0
  #linesFrom = Number.NEGATIVE_INFINITY

  /** `wallMs`: milliseconds since 1970. */
  constructor(
    settings: PluginSettings,
    index: number,
    context: SlotContext,
    events: PluginEvents,
    wallMs: () => number,
  ) {
    this.settings = settings
    this.index = index
    this.#context = context
    this.#events = events
    this.#isOff = settings.module === null
    this.#host = {
      log: (text) => this.#log(text),
      now: wallMs,
      count: (counter, delta) => this.count(PluginCell.own + counter, delta),
      // The control thread has learned the names when it tried the plug-in.
      nameCounter: () => undefined,
      random: context.random,
    }
  }

  /** Makes the instance if there is none, and it is time; see `instance`. */
  make(): void {
    const { now } = this.#context
    if (this.instance !== null || this.#isOff || now < this.#notBefore) return
    this.count(PluginCell.instances, 1)
    try {
      this.instance = new PluginInstance(this.settings, this.#host)
      this.#notBefore = now + (this.instance.makingMs + INSTANCE_MS) * MAKING_PART
    } catch (error) {
      if (!(error instanceof PluginFailure)) throw error
      this.#notBefore = now + PAUSE_MS
      this.failed(PluginError.TRAP, error.message)
    }
  }

  /** Adds to a counter (PluginCell) of this plug-in. */
  count(field: number, by: number): void {
    this.#context.counters.pluginAdd(this.index, field, by)
  }

  /** A call did what it should. */
  succeeded(): void {
    this.#failuresInRow = 0
  }

  /** A call failed (PluginError): `text` says more, if there is more to say. */
  failed(error: number, text: string = ''): void {
    this.count(PluginCell.errors + error, 1)
    // Whoever sends queries must not be able to switch it off by their size.
    if (error === PluginError.TOO_LARGE) return
    this.#failuresInRow++
    if (this.#failuresInRow < MOST_FAILURES || this.#isOff) return
    this.#isOff = true
    this.instance = null
    const reason = PLUGIN_ERRORS[error]!
    this.#events.switchedOff(this.settings.id, text === '' ? (FAILURE_TEXTS[reason] ?? reason) : text)
  }

  /** A call of the instance has trapped: nobody can vouch for its memory any more. */
  trapped({ failure, failureText, memory }: PluginInstance): void {
    this.instance = null
    this.#events.discarded(memory.length)
    this.failed(failure, failureText)
  }

  #log(text: Uint8Array): void {
    const { now } = this.#context
    if (now - this.#linesFrom >= 1000) {
      this.#linesFrom = now
      this.#lines = 0
    }
    if (this.#lines++ < LINES_A_SECOND) this.#events.log(this.settings.name, text)
  }
}
