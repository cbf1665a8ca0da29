/** What plug-ins would do about a query, found out in instances that are made for it: those that answer are not touched. */
import { nameToText } from '../dns/name.ts'
import { readQuery, Verdict } from '../dns/query.ts'
import { rcodeOf } from '../dns/reply.ts'
import { isLoopback } from '../engine/access.ts'
import { ClientQuery } from '../engine/client-query.ts'
import type { ExplainedStage, PluginOutcome } from '../engine/explain.ts'
import { Action, PLUGIN_ERRORS, type PluginSettings } from '../engine/plugins/plugin-abi.ts'
import { DROPPED, PluginStage, REWRITTEN } from '../engine/plugins/plugin-stage.ts'
import { PluginCell, RCODES, WorkerCounters } from '../stats/counters.ts'

const REPLY_ROOM = 65_535
const LOOPBACK = Uint8Array.of(127, 0, 0, 1)
/** Of denials. */
const TTL_SECONDS = 30

/** Copies of plug-ins that are asked about some queries, one after the other. */
export class PluginExplainer {
  readonly #plugins: readonly PluginSettings[]
  readonly #counters: WorkerCounters = new WorkerCounters()
  /** Null before the first query, and after a failure: what it leaves behind must not be seen by the next one. */
  #stage: PluginStage | null = null

  constructor(plugins: readonly PluginSettings[]) {
    this.#plugins = plugins
  }

  /** Asks about the query `packet` of a client with the address `from`, null: this machine. Null without plug-ins. */
  explain(packet: Uint8Array, from: Uint8Array | null): PluginOutcome | null {
    const query = new ClientQuery()
    if (this.#plugins.length === 0 || readQuery(packet, 0, packet.length, 0, query) !== Verdict.OK) return null
    query.address = from ?? LOOPBACK
    query.addressLength = query.address.length
    query.family = query.addressLength === 4 ? 0 : 1
    query.limit = REPLY_ROOM
    this.#counters.cells.fill(0)
    const stage = this.#stage ?? this.#makeStage()
    const out = new Uint8Array(REPLY_ROOM)
    const outcomes: PluginOutcome[] = []
    let first = 0
    let length = stage.ask(query, from === null || isLoopback(from, 0, from.length), out, 0)
    let asked = packet.slice(0, query.questionEnd)
    for (;;) {
      const steps = this.#steps(first, length > 0 ? RCODES[rcodeOf(out, 0)]! : '')
      first += steps.length
      const isDropped = length === DROPPED
      const outcome: PluginOutcome = { asked, steps, reply: null, isDropped, changed: null, next: null }
      outcomes.push(outcome)
      if (length > 0) outcome.reply = out.slice(0, length)
      if (length !== REWRITTEN) break
      asked = query.packet.slice(query.at, query.questionEnd)
      outcome.changed = asked
      steps.at(-1)!.finding += ` to ${nameToText(query.name.lower)} (type ${query.type})`
      length = stage.askOn(query, out, 0)
    }
    for (let k = outcomes.length - 2; k >= 0; k--) outcomes[k]!.next = outcomes[k + 1]!
    return outcomes[0]!
  }

  #makeStage(): PluginStage {
    const stage = new PluginStage(
      { settings: { ttlSeconds: TTL_SECONDS }, counters: this.#counters, seed: 0, now: 0, random: anyNumber },
      { wallClock: Date.now, log: () => undefined, switchedOff: () => undefined, discarded: () => undefined },
    )
    stage.configure(this.#plugins)
    this.#stage = stage
    return stage
  }

  /** What the plug-ins from `first` on did, up to the one that did something. `rcode`: of its reply. */
  #steps(first: number, rcode: string): ExplainedStage[] {
    const counters = this.#counters
    const steps: ExplainedStage[] = []
    for (let k = first; k < this.#plugins.length; k++) {
      const { name, onError } = this.#plugins[k]!
      const did = ACTION_TEXTS.findIndex((_, action) => counters.pluginGet(k, PluginCell.actions + action) > 0)
      const error = PLUGIN_ERRORS.findIndex((_, reason) => counters.pluginGet(k, PluginCell.errors + reason) > 0)
      const hasFailed = did < 0
      if (hasFailed) this.#stage = null
      const answers = hasFailed ? onError === 'servfail' : did !== Action.PASS && did !== Action.REWRITE
      const finding = hasFailed
        ? `fails (${PLUGIN_ERRORS[error] ?? 'unavailable'}), and onError says ${onError}`
        : `${ACTION_TEXTS[did]!}${did === Action.RCODE ? ` ${rcode}` : ''}`
      steps.push({ name: `plug-in ${name}`, answers, finding })
      if (answers || did === Action.REWRITE) break
    }
    return steps
  }
}

function anyNumber(): number {
  return (Math.random() * 2 ** 32) | 0
}

/** By action. */
const ACTION_TEXTS: readonly string[] = [
  'passes it on',
  'has the answer',
  'changes the question',
  'answers without records:',
  'wants it to get no reply',
]
