/** What must be true of the engine as a whole: after each step, and when nothing is under way. */
import type { Engine } from '../../src/engine/engine.ts'
import type { Cache } from '../../src/engine/cache/cache.ts'
import { ClientQuery } from '../../src/engine/client-query.ts'
import { MAX_ATTEMPTS, NONE } from '../../src/engine/forward/attempts.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { Cell, UpstreamField, type WorkerCounters } from '../../src/stats/counters.ts'
import { routeOf } from './denial-rules.ts'
import { Violation } from './violation.ts'

function expect(what: string, got: number, wanted: number): void {
  if (got !== wanted) throw new Violation(`${what}: ${got} instead of ${wanted}`)
}

/** Every answer that is kept is found under its key, once, and they are as many as it says. */
function checkCache(cache: Cache): void {
  const keys = Array.from(cache.blocks(), ({ store, block }) => {
    const at = store.keyAt(block)
    return { hash: store.hash(block), key: store.bytes.slice(at, at + store.keyLength(block)) }
  })
  expect('answers kept', keys.length, cache.entries)
  expect('different questions of these', new Set(keys.map(({ key }) => key.toString())).size, keys.length)
  const found = keys.filter(({ hash, key }) => cache.find(hash, key, 0, key.length) >= 0).length
  expect('answers kept that are found', found, keys.length)
}

/** Tables are empty, and every place in them is free. Ends the engine's usefulness. */
export function checkAtRest(engine: Engine, counters: WorkerCounters): void {
  const { inFlight, timers } = engine.forwarder
  expect('pending queries at rest', inFlight.open, 0)
  expect('waiters at rest', inFlight.waiters.held, 0)
  expect('attempts at rest', inFlight.attempts.open, 0)
  expect('timers at rest', timers.armed, 0)
  expect('next timer at rest', engine.nextDue, Number.POSITIVE_INFINITY)
  expect('pending queries shown at rest', counters.get(Cell.inFlight), 0)
  if (engine.cache !== null) checkCache(engine.cache)
  const query = new ClientQuery()
  query.packet = new Uint8Array(64)
  query.questionEnd = 17
  const key = new Uint8Array(8)
  let waiters = 0
  for (let k = 0; k < inFlight.capacity; k++) {
    key[0] = k
    key[1] = k >> 8
    const x = inFlight.start(k, key, 8, true)
    if (x === NONE) throw new Violation(`only ${k} of ${inFlight.capacity} pending queries can be opened`)
    for (let n = 0; n < 3; n++) if (inFlight.waiters.add(x, query) !== NONE) waiters++
    for (let n = 0; n < MAX_ATTEMPTS; n++) inFlight.attempts.start(x, 0, 0, () => k * MAX_ATTEMPTS + n)
    if (inFlight.attempts.openOf(x) === 0) throw new Violation('a pending query finds no room for its first attempt')
  }
  if (inFlight.start(0, key, 8, true) !== NONE) throw new Violation('more pending queries than there is room for')
  expect('waiters that find room', waiters, inFlight.waiters.capacity)
  const most = Math.min(inFlight.attempts.capacity, inFlight.capacity * MAX_ATTEMPTS)
  expect('attempts that find room', inFlight.attempts.open, most)
}

/** Some while after all servers recovered, in which these names were asked. */
export function checkHealth(counters: WorkerCounters, settings: EngineSettings, askedNames: readonly string[]): void {
  const askedServers = new Set(askedNames.flatMap((name) => routeOf(name, settings).servers))
  settings.servers.forEach((server, index) => {
    // A server that no route leads to, or only one for names that were not asked, stays as it was.
    if (askedServers.has(index) && counters.upstreamGet(index, UpstreamField.healthy) !== 1)
      throw new Violation(`server ${server.label} is well again and still counts as down`)
  })
}

/** Bounds that hold after each step. */
export function checkBounds(engine: Engine, counters: WorkerCounters, maxInFlight: number): void {
  const { inFlight, timers } = engine.forwarder
  if (inFlight.open > inFlight.capacity || inFlight.open < 0)
    throw new Violation(`${inFlight.open} pending queries of ${inFlight.capacity}`)
  if (counters.get(Cell.inFlight) > maxInFlight)
    throw new Violation(`clients wait for ${counters.get(Cell.inFlight)} pending queries, ${maxInFlight} are allowed`)
  if (timers.armed !== inFlight.open) throw new Violation(`${timers.armed} timers for ${inFlight.open} pending queries`)
  const { cache } = engine
  if (cache !== null && (cache.bytes > cache.maxBytes || cache.entries < 0))
    throw new Violation(`cache of ${cache.bytes} bytes, ${cache.entries} entries`)
}
