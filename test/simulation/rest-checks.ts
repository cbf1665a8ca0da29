/** What must be true when nothing is under way. */
import type { Engine } from '../../src/engine/engine.ts'
import { ClientQuery } from '../../src/engine/client-query.ts'
import { MAX_ATTEMPTS, NONE } from '../../src/engine/in-flight.ts'
import { Cell, Drop, Source, type WorkerCounters } from '../../src/stats/counters.ts'
import type { Referee } from './referee.ts'
import { Violation } from './violation.ts'

const RCODES = 24

function expect(what: string, got: number, wanted: number): void {
  if (got !== wanted) throw new Violation(`${what}: ${got} instead of ${wanted}`)
}

/** Counters add up. */
export function checkCounters(counters: WorkerCounters, referee: Referee): void {
  let requests = 0
  for (const proto of [0, 1])
    for (const family of [0, 1])
      for (let slot = 0; slot < 20; slot++) requests += counters.requestsOf(proto, family, slot)
  const responses = [0, 1, 2, 3, 4].map((source) => {
    let sum = 0
    for (let rcode = 0; rcode < RCODES; rcode++) sum += counters.responsesOf(source, rcode)
    const durations = counters.durationsOf(source).reduce((a, b) => a + b, 0)
    expect(`durations of source ${source}`, durations, sum)
    return sum
  })
  const all = responses.reduce((a, b) => a + b, 0)
  expect('requests counted', requests, referee.requests)
  expect('responses counted', all, referee.requests - referee.lost)
  expect('drops counted', counters.droppedOf(Drop.runt) + counters.droppedOf(Drop.response), referee.dropped)
  const sizes = [0, 1].reduce((sum, proto) => sum + counters.sizesOf(proto).reduce((a, b) => a + b, 0), 0)
  expect('sizes counted', sizes, all)
  expect(
    'hits counted',
    counters.get(Cell.cacheHitsPositive) + counters.get(Cell.cacheHitsNegative),
    responses[Source.cache]!,
  )
  expect('stale hits counted', counters.get(Cell.cacheHitsStale), responses[Source.stale]!)
  if (counters.get(Cell.cacheRequests) < responses[Source.cache]!) throw new Violation('more cache hits than look-ups')
  expect('truncated replies counted', counters.get(Cell.truncated), referee.sightings.get('truncated reply') ?? 0)
}

/** Tables are empty, and every place in them is free. Ends the engine's usefulness. */
export function checkAtRest(engine: Engine, counters: WorkerCounters): void {
  const { inFlight, timers } = engine.forwarder
  expect('exchanges at rest', inFlight.open, 0)
  expect('waiters at rest', inFlight.waitersHeld, 0)
  expect('attempts at rest', inFlight.attemptsOpen, 0)
  expect('timers at rest', timers.armed, 0)
  expect('next timer at rest', engine.nextDue, Number.POSITIVE_INFINITY)
  expect('exchanges shown at rest', counters.get(Cell.inFlight), 0)
  const query = new ClientQuery()
  query.packet = new Uint8Array(64)
  query.questionEnd = 17
  const key = new Uint8Array(8)
  let waiters = 0
  let attempts = 0
  for (let k = 0; k < inFlight.capacity; k++) {
    key[0] = k
    key[1] = k >> 8
    const x = inFlight.openExchange(k, key, 8, true)
    if (x === NONE) throw new Violation(`only ${k} of ${inFlight.capacity} exchanges can be opened`)
    for (let n = 0; n < 3; n++) if (inFlight.addWaiter(x, query) !== NONE) waiters++
    for (let n = 0; n < MAX_ATTEMPTS; n++)
      if (inFlight.openAttempt(x, 0, 0, () => k * MAX_ATTEMPTS + n) !== NONE) attempts++
  }
  if (inFlight.openExchange(0, key, 8, true) !== NONE) throw new Violation('more exchanges than there is room for')
  expect('waiters that find room', waiters, inFlight.waiterCapacity)
  expect('attempts that find room', attempts, Math.min(inFlight.attemptCapacity, inFlight.capacity * MAX_ATTEMPTS))
}
