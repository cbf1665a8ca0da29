import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Timers } from '../../src/engine/forward/timers.ts'

const IDS = 24
const LAP_MS = 2048 * 4

function fired(timers: Timers, now: number): number[] {
  const ids: number[] = []
  timers.expire(now, (id) => ids.push(id))
  return ids
}

describe('timers', () => {
  it('fire once, when due and not before', () => {
    const timers = new Timers(4, 1000)
    timers.arm(1, 1010)
    timers.arm(2, 1020.5)
    expect(fired(timers, 1009.9)).toEqual([])
    expect(fired(timers, 1010)).toEqual([1])
    expect(timers.isArmed(1)).toBe(false)
    expect(fired(timers, 1020.4)).toEqual([])
    expect(fired(timers, 1021)).toEqual([2])
    expect(fired(timers, 9999)).toEqual([])
    expect(timers.armed).toBe(0)
  })

  it('tell when to come back', () => {
    const timers = new Timers(4, 0)
    expect(timers.nextDue).toBe(Number.POSITIVE_INFINITY)
    timers.arm(0, 500)
    timers.arm(1, 300)
    expect(timers.nextDue).toBe(300)
    fired(timers, 300)
    expect(timers.nextDue).toBe(500)
    timers.cancel(0)
    expect(timers.nextDue).toBe(Number.POSITIVE_INFINITY)
  })

  it('fire at once what was due in the past', () => {
    const timers = new Timers(4, 1000)
    timers.arm(0, 10)
    expect(timers.nextDue).toBe(10)
    expect(fired(timers, 1000)).toEqual([0])
  })

  it('wait for their lap', () => {
    const timers = new Timers(4, 0)
    timers.arm(0, 100 + 3 * LAP_MS)
    timers.arm(1, 100)
    expect(fired(timers, 100)).toEqual([1])
    expect(fired(timers, 100 + LAP_MS)).toEqual([])
    expect(timers.nextDue).toBe(100 + 3 * LAP_MS)
    expect(fired(timers, 100 + 3 * LAP_MS)).toEqual([0])
  })

  it('all fire after a jump of many laps', () => {
    const timers = new Timers(IDS, 0)
    for (let id = 0; id < IDS; id++) timers.arm(id, id * 1000)
    expect(fired(timers, 1e9).toSorted((a, b) => a - b)).toEqual(Array.from({ length: IDS }, (_, id) => id))
  })

  it('do not fire when cancelled by another that fires with them', () => {
    const timers = new Timers(3, 0)
    for (let id = 0; id < 3; id++) timers.arm(id, 8)
    const ids: number[] = []
    timers.expire(8, (id) => {
      ids.push(id)
      for (let other = 0; other < 3; other++) if (other !== id) timers.cancel(other)
    })
    expect(ids.length).toBe(1)
    expect(timers.armed).toBe(0)
  })

  it('armed while one fires are told of and fire when they are due', () => {
    const timers = new Timers(3, 0)
    timers.arm(0, 100)
    timers.expire(101, () => timers.arm(1, 103))
    expect(timers.nextDue).toBe(103)
    expect(fired(timers, 102.9)).toEqual([])
    expect(fired(timers, 103)).toEqual([1])
  })
})

type Step =
  | { kind: 'arm'; id: number; delay: number }
  | { kind: 'cancel'; id: number }
  /** `armed` and `cancelled`: what each timer that fires does, by turns. */
  | { kind: 'expire'; by: number; inside: { id: number; delay: number | null }[] }

const delay = fc.oneof(
  fc.integer({ min: -50, max: 60 }),
  fc.double({ min: 0, max: 20, noNaN: true }),
  fc.integer({ min: 0, max: 3 * LAP_MS }),
)
const id = fc.nat(IDS - 1)
const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ kind: fc.constant('arm' as const), id, delay }),
  fc.record({ kind: fc.constant('cancel' as const), id }),
  fc.record({
    kind: fc.constant('expire' as const),
    by: fc.oneof(fc.nat(10), fc.double({ min: 0, max: 9, noNaN: true }), fc.nat(5000), fc.nat(5 * LAP_MS)),
    inside: fc.array(
      fc.record({
        id,
        delay: fc.option(
          fc.oneof(
            fc.integer({ min: 1, max: 60 }),
            fc.nat(2 * LAP_MS).map((ms) => ms + 1),
          ),
        ),
      }),
      { maxLength: 4 },
    ),
  }),
)

describe('timers beside a sorted list', () => {
  it('fire the same ids, whatever is armed and cancelled meanwhile', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(100_000), (steps, start) => {
        let now = start
        const timers = new Timers(IDS, now)
        const model = new Map<number, number>()
        for (const one of steps) {
          if (one.kind === 'arm') {
            timers.arm(one.id, now + one.delay)
            model.set(one.id, now + one.delay)
          } else if (one.kind === 'cancel') {
            timers.cancel(one.id)
            model.delete(one.id)
          } else {
            now += one.by
            const inside = [...one.inside]
            timers.expire(now, (fires) => {
              if (!(model.get(fires)! <= now))
                throw new Error(`${fires} fired at ${now} instead of ${model.get(fires)}`)
              if (timers.isArmed(fires)) throw new Error(`${fires} fired and is armed`)
              model.delete(fires)
              const action = inside.shift()
              if (action === undefined) return
              if (action.delay === null) {
                timers.cancel(action.id)
                model.delete(action.id)
              } else {
                timers.arm(action.id, now + action.delay)
                model.set(action.id, now + action.delay)
              }
            })
            const late = [...model].filter(([, due]) => due <= now)
            if (late.length > 0) throw new Error(`did not fire by ${now}: ${JSON.stringify(late)}`)
          }
          const least = Math.min(Number.POSITIVE_INFINITY, ...model.values())
          if (timers.nextDue > least) throw new Error(`next due ${timers.nextDue} instead of ${least}`)
          expect(timers.armed).toBe(model.size)
        }
        for (let k = 0; k < IDS; k++) expect(timers.isArmed(k)).toBe(model.has(k))
      }),
      { numRuns: 300, interruptAfterTimeLimit: 10_000 },
    )
  })
})
