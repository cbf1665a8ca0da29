/** What plug-ins make of queries, and when one is there to be asked: all of it follows from ids, configs and the time. */
import { PluginError, type PluginSettings } from '../../src/engine/plugins/plugin-abi.ts'
import { Deed, deedOf, makingMs, rcodeOf } from './episode-plugins.ts'
import type { Asked } from './queries.ts'

/** `failed`: `onError` wants the client to get SERVFAIL. */
export type PluginOutcome =
  | { kind: 'pass' | 'answer' | 'rewrite' | 'drop' | 'failed' }
  | { kind: 'rcode'; rcode: number }

interface Slot {
  index: number
  settings: PluginSettings
  isMade: boolean
  isOff: boolean
  failuresInRow: number
  notBefore: number
  makingMs: number
}

/** What is counted of plug-ins, by place and name. */
export interface PluginCounts {
  name: string
  instances: number
  actions: number[]
  errors: number[]
}

const MOST_FAILURES = 10
const INSTANCE_MS = 0.2
const MAKING_PART = 20
const ACTIONS = 5
const ERRORS = 7
const FAULTS = new Map<string, number>([
  [Deed.TRAP, PluginError.TRAP],
  [Deed.OUT_OF_BOUNDS, PluginError.TRAP],
  [Deed.ENDLESS, PluginError.TIMEOUT],
  [Deed.NONSENSE, PluginError.ACTION],
  [Deed.OTHER_ID, PluginError.REPLY],
  [Deed.MALFORMED_QUERY, PluginError.QUERY],
])

export class ReferencePlugins {
  /** By place. */
  readonly counts: PluginCounts[] = []
  private slots: Slot[] = []
  private next = 0

  /** The engine starts anew. */
  restarted(): void {
    this.slots = []
  }

  configured(plugins: readonly PluginSettings[], now: number): void {
    const before = this.slots
    if (plugins.length === before.length && plugins.every(({ id }, k) => before[k]!.settings.id === id)) return
    this.slots = plugins.map((settings, index) => {
      if (this.counts[index]?.name !== settings.name)
        this.counts[index] = {
          name: settings.name,
          instances: 0,
          actions: Array(ACTIONS).fill(0),
          errors: Array(ERRORS).fill(0),
        }
      const known = before.find((slot) => slot.settings.id === settings.id)
      if (known !== undefined) return Object.assign(known, { index })
      const making = makingMs(settings)
      return { index, settings, isMade: false, isOff: false, failuresInRow: 0, notBefore: 0, makingMs: making }
    })
    for (const slot of this.slots) if (!slot.isMade && !slot.isOff && now >= slot.notBefore) this.make(slot, now)
  }

  /** A query begins with the first of them. */
  begin(): void {
    this.next = 0
  }

  /** What the next ones make of the query, up to the first that does something. */
  ask(asked: Asked, now: number): PluginOutcome {
    while (this.next < this.slots.length) {
      const outcome = this.askOne(this.slots[this.next++]!, asked, now)
      if (outcome.kind !== 'pass') return outcome
    }
    return { kind: 'pass' }
  }

  private askOne(slot: Slot, asked: Asked, now: number): PluginOutcome {
    const { settings } = slot
    const unhandled: PluginOutcome = { kind: settings.onError === 'pass' ? 'pass' : 'failed' }
    if (!slot.isMade && !slot.isOff && now >= slot.notBefore) this.make(slot, now)
    if (!slot.isMade) {
      this.counts[slot.index]!.errors[PluginError.UNAVAILABLE]!++
      return unhandled
    }
    const deed = deedOf(settings, asked.id)
    const fault = FAULTS.get(deed)
    if (fault !== undefined) {
      this.fail(slot, fault, now)
      return unhandled
    }
    slot.failuresInRow = 0
    const outcome = outcomeOf(deed, asked, settings)
    this.counts[slot.index]!.actions[['pass', 'answer', 'rewrite', 'rcode', 'drop'].indexOf(outcome.kind)]!++
    return outcome
  }

  private fail(slot: Slot, fault: number, now: number): void {
    this.counts[slot.index]!.errors[fault]!++
    if (fault === PluginError.TRAP || fault === PluginError.TIMEOUT) {
      slot.isMade = false
      slot.notBefore = Math.max(slot.notBefore, now)
    }
    if (++slot.failuresInRow < MOST_FAILURES) return
    slot.isOff = true
    slot.isMade = false
  }

  private make(slot: Slot, now: number): void {
    this.counts[slot.index]!.instances++
    slot.isMade = true
    slot.notBefore = now + (slot.makingMs + INSTANCE_MS) * MAKING_PART
  }
}

function outcomeOf(deed: string, asked: Asked, settings: PluginSettings): PluginOutcome {
  switch (deed) {
    case Deed.ANSWER:
      return { kind: 'answer' }
    case Deed.REWRITE:
      return { kind: asked.name === '\0' ? 'pass' : 'rewrite' }
    case Deed.RCODE:
      return { kind: 'rcode', rcode: rcodeOf(settings) }
    case Deed.DROP:
      return { kind: 'drop' }
    default:
      return { kind: 'pass' }
  }
}
