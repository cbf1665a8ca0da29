import { beforeEach, describe, expect, it } from 'vitest'
import { LoopWatch } from '../../src/daemon/loop-watch.ts'

let now: number
let due: { at: number; run: () => void }[]
let changes: { at: number; id: string; mended: string[] }[]
let watch: LoopWatch

beforeEach(() => {
  now = 0
  due = []
  changes = []
  let ids = 0
  watch = new LoopWatch({
    newId: () => `id${ids++}`,
    schedule: (run, ms) => {
      const entry = { at: now + ms, run }
      due.push(entry)
      return () => void (due = due.filter((one) => one !== entry))
    },
    onChange: (mended) => void changes.push({ at: now, id: watch.id, mended }),
  })
})

/** Lets time pass; `isLooping` says whether a probe sent comes back after a moment. */
function pass(seconds: number, isLooping: boolean): void {
  const until = now + seconds * 1000
  for (;;) {
    const next = due.toSorted((a, b) => a.at - b.at)[0]
    if (next === undefined || next.at > until) break
    now = next.at
    due = due.filter((one) => one !== next)
    const { id } = watch
    next.run()
    if (watch.id !== id && isLooping) watch.found('loop')
  }
  now = until
}

it('probes all servers again when one begins to fail, at most once in the time that a verdict takes', () => {
  watch.suspect()
  watch.suspect()
  pass(14, false)
  watch.suspect()
  expect(changes.map(({ at }) => at)).toEqual([0])
  pass(1, false)
  watch.suspect()
  expect(changes.map(({ at }) => at)).toEqual([0, 15_000])
  expect(new Set(changes.map(({ id }) => id)).size).toBe(2)
  watch.stop()
  expect(due).toEqual([])
})

describe('a server that forwards to us', () => {
  it('is news once', () => {
    expect([watch.found('loop'), watch.found('loop'), watch.found('other')]).toEqual([true, false, true])
    expect([...watch.loops]).toEqual(['loop', 'other'])
    expect(due).toHaveLength(1)
  })

  it('is probed after 30 s, then ever more rarely, at least every ten minutes, as long as it does', () => {
    watch.found('loop')
    pass(7200, true)
    const probes = changes.map(({ at }) => at / 1000)
    const gaps = probes.slice(1).map((at, k) => at - probes[k]!)
    expect(probes[0]).toBe(30)
    // Fifteen seconds are for the verdict.
    expect(gaps.slice(0, 6)).toEqual([75, 135, 255, 495, 615, 615])
    expect(new Set(changes.map(({ id }) => id)).size).toBe(changes.length)
    expect(changes.every(({ mended }) => mended.length === 0)).toBe(true)
    expect([...watch.loops]).toEqual(['loop'])
  })

  it('and was mended is asked again after the next probe, and probed once more', () => {
    watch.found('loop')
    pass(40, false)
    expect([...watch.loops]).toEqual(['loop'])
    pass(5, false)
    expect([...watch.loops]).toEqual([])
    expect(changes.map(({ mended }) => mended)).toEqual([[], ['loop']])
    expect(changes[1]!.id).not.toBe(changes[0]!.id)
    pass(15, false)
    expect(due).toEqual([])
  })

  it('is checked after 30 s again once all were mended, as if there had never been one', () => {
    watch.found('loop')
    watch.found('other')
    pass(1200, true)
    pass(1200, false)
    expect([watch.loops.size, due.length]).toEqual([0, 0])
    watch.found('loop')
    expect(due.map(({ at }) => at - now)).toEqual([30_000])
    pass(45, false)
    expect(watch.loops.size).toBe(0)
  })

  it('but was silent when it was probed is found again, and waits longer', () => {
    watch.found('loop')
    pass(45, false)
    expect(watch.found('loop')).toBe(true)
    expect(due[0]!.at - now).toBe(60_000)
  })

  it('beside another one: each is judged by itself', () => {
    watch.found('loop')
    watch.found('mended')
    pass(45, true)
    expect([...watch.loops]).toEqual(['loop'])
    expect(changes.at(-1)!.mended).toEqual(['mended'])
    expect(due).toHaveLength(1)
  })

  it('is forgotten with the servers, and nothing is checked any more', () => {
    const { id } = watch
    watch.found('loop')
    pass(100, true)
    watch.forget()
    expect([watch.loops.size, due.length]).toEqual([0, 0])
    expect(watch.id).not.toBe(id)
    watch.found('loop')
    expect(due[0]!.at - now).toBe(30_000)
    watch.stop()
    expect(due).toEqual([])
  })
})
