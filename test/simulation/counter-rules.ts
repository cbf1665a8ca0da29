/** Counters add up: after every step, not only at the end. */
import type { Engine } from '../../src/engine/engine.ts'
import { Cell, Drop, PluginCell, Source, UpstreamField, type WorkerCounters } from '../../src/stats/counters.ts'
import type { PluginCounts } from './reference-plugins.ts'
import type { Expectation } from './reference-resolver.ts'
import { Violation } from './violation.ts'

const RCODES = 24
const TYPE_SLOTS = 20
const SOURCES = [Source.mesh, Source.cache, Source.stale, Source.upstream, Source.local]
const REQUEST_FIELDS = new Map([
  ['udp', UpstreamField.requestsUdp],
  ['tcp', UpstreamField.requestsTcp],
  ['tls', UpstreamField.requestsTls],
  ['https', UpstreamField.requestsHttps],
])

/** What the referee has counted. */
export class Ledger {
  /** Queries that must have been counted; of them those that a restart swallowed, and those over the rate limit. */
  requests = 0
  lost = 0
  /** Over the rate limit: those that got no reply, and those that got one. */
  limited = 0
  limitedTold = 0
  /** What was not to be counted as a request. */
  dropped = 0
  mesh = 0
  /** Questions for which the cache is looked at, and what it answered: fresh, and stale at once. */
  lookups = 0
  hits = 0
  /** Answers that were either fresh or stale. */
  eitherHits = 0
  truncated = 0
  /** Replies to clients that had gone. */
  unseen = 0
  loops = 0
  /** Queries that a rule dropped, and how many matched, by counter of a rule. */
  ruledOut = 0
  droppedByPlugins = 0
  plugins: readonly PluginCounts[] = []
  readonly ruleMatches: Map<number, number> = new Map()
  /** Messages to each server of the settings since its place was given to it, by transport. */
  sent: { label: string; byTransport: Map<string, number> }[] = []

  /** A place that another server has now counts anew. */
  configured(labels: readonly string[]): void {
    this.sent = labels.map((label, index) => {
      const before = this.sent[index]
      return before?.label === label ? before : { label, byTransport: new Map() }
    })
  }

  /** A query of which this is expected; `rules`: counters of those that match it. */
  query(expectation: Expectation, rules: readonly number[], see: (what: string) => void): void {
    if (expectation.kind === 'drop') this.dropped++
    else this.requests++
    for (const counter of rules) {
      see('rule')
      this.ruleMatches.set(counter, (this.ruleMatches.get(counter) ?? 0) + 1)
    }
    if (expectation.kind === 'ruled out') {
      this.ruledOut++
      see('ruled out')
    }
    if (expectation.kind === 'dropped by a plug-in') {
      this.droppedByPlugins++
      see('dropped by a plug-in')
    }
    if (expectation.kind === 'limited') {
      this.limited++
      see('limited')
    }
    if (expectation.kind === 'local' && expectation.from === 'mesh') this.mesh++
    if (expectation.kind !== 'error') return
    if (expectation.isLimited) this.limitedTold++
    if (expectation.loop < 0) return
    this.loops++
    see('loop')
  }

  message(index: number, transport: string): void {
    const { byTransport } = this.sent[index]!
    byTransport.set(transport, (byTransport.get(transport) ?? 0) + 1)
  }
}

function expect(what: string, got: number, wanted: number): void {
  if (got !== wanted) throw new Violation(`${what}: ${got} instead of ${wanted}`)
}

/** Checks the counters between two steps, `endBatch` done. */
export function checkCounters(counters: WorkerCounters, ledger: Ledger, engine: Engine): void {
  let requests = 0
  for (const proto of [0, 1])
    for (const family of [0, 1])
      for (let slot = 0; slot < TYPE_SLOTS; slot++) requests += counters.requestsOf(proto, family, slot)
  expect('requests counted', requests, ledger.requests)
  let responses = 0
  let durations = 0
  const bySource = [0, 0, 0, 0, 0]
  for (const source of SOURCES) {
    let sum = 0
    for (let rcode = 0; rcode < RCODES; rcode++) sum += counters.responsesOf(source, rcode)
    bySource[source] = sum
    responses += sum
    durations += sumOf(counters.durationsOf(source))
  }
  const waiting = engine.forwarder.inFlight.waiters.held
  expect(
    'responses counted',
    responses,
    ledger.requests - ledger.lost - ledger.limited - ledger.ruledOut - ledger.droppedByPlugins - waiting,
  )
  expect('durations counted', durations, responses)
  let sizes = 0
  for (const proto of [0, 1]) sizes += sumOf(counters.sizesOf(proto))
  expect('sizes counted', sizes, responses)
  expect('drops counted', counters.droppedOf(Drop.runt) + counters.droppedOf(Drop.response), ledger.dropped)
  expect('limited queries counted', counters.droppedOf(Drop.rateLimited), ledger.limited + ledger.limitedTold)
  expect('dropped by rules, counted', counters.droppedOf(Drop.rule), ledger.ruledOut)
  expect('dropped by plug-ins, counted', counters.droppedOf(Drop.plugin), ledger.droppedByPlugins)
  for (const [place, { actions, errors, instances, name }] of ledger.plugins.entries()) {
    expect(`instances of ${name} counted`, counters.pluginGet(place, PluginCell.instances), instances)
    for (const [action, count] of actions.entries())
      expect(`action ${action} of ${name} counted`, counters.pluginGet(place, PluginCell.actions + action), count)
    for (const [error, count] of errors.entries())
      expect(`error ${error} of ${name} counted`, counters.pluginGet(place, PluginCell.errors + error), count)
  }
  for (const [counter, matches] of ledger.ruleMatches)
    expect(`matches of rule ${counter} counted`, counters.ruleMatchesOf(counter), matches)
  expect('mesh answers counted', bySource[Source.mesh]!, ledger.mesh)
  expect('look-ups counted', counters.get(Cell.cacheRequests), ledger.lookups)
  const hits = counters.get(Cell.cacheHitsPositive) + counters.get(Cell.cacheHitsNegative)
  expect('hits counted', hits, Math.min(Math.max(hits, ledger.hits), ledger.hits + ledger.eitherHits))
  expect('answers from the cache counted', bySource[Source.cache]!, hits)
  expect('stale answers counted', counters.get(Cell.cacheHitsStale), bySource[Source.stale]!)
  expect('loops counted', counters.get(Cell.loopsDetected), ledger.loops)
  const shown = counters.get(Cell.inFlight)
  if (shown > 0 ? engine.isQuiet : waiting > 0)
    throw new Violation(
      `${shown} pending queries shown, ${waiting} clients wait${engine.isQuiet ? ', all is quiet' : ''}`,
    )
  expect('answers kept shown', counters.get(Cell.cacheEntries), engine.cache?.entries ?? 0)
}

/** Without iterators: this is done after each step. */
function sumOf(cells: Float64Array): number {
  let sum = 0
  for (let k = 0; k < cells.length; k++) sum += cells[k]!
  return sum
}

/** The same for what is seen from outside only when nothing is under way, or need not be looked at so often. */
export function checkCountersAtRest(counters: WorkerCounters, ledger: Ledger): void {
  const truncated = counters.get(Cell.truncated)
  expect(
    'truncated replies counted',
    truncated,
    Math.min(Math.max(truncated, ledger.truncated), ledger.truncated + ledger.unseen),
  )
  ledger.sent.forEach(({ label, byTransport }, index) => {
    for (const [transport, field] of REQUEST_FIELDS)
      expect(
        `queries to ${label} over ${transport}`,
        counters.upstreamGet(index, field),
        byTransport.get(transport) ?? 0,
      )
  })
}
