import { beforeEach, describe, expect, test } from 'vitest'
import { createLog, type ProcessLog } from '../../src/observe/log.ts'
import { FakeClock } from '../base/fake-clock.ts'

type Line = Record<string, unknown> & { level: string; msg: string }

let clock: FakeClock
let lines: Line[]
let log: ProcessLog
beforeEach(async () => {
  clock = new FakeClock()
  lines = []
  const destination = { write: (line: string) => void lines.push(JSON.parse(line)) }
  log = await createLog({ level: 'debug', format: 'json', destination, clock })
})

function messages(): string[] {
  return lines.map(({ msg }) => msg)
}

describe('a line that comes again and again', () => {
  test('is written five times at once, and the rest of a minute is one line that counts them', () => {
    for (let n = 1; n <= 316; n++) {
      log.warn({ n }, 'no room')
      clock.advance(100)
    }
    expect(lines.map(({ n }) => n)).toEqual([1, 2, 3, 4, 5])
    clock.advance(60_000)
    expect(messages().slice(5)).toEqual(['no room (… 311 more in 60 s)'])
    expect(lines.at(-1)).toMatchObject({ level: 'warn', n: 316, repeated: 311 })
  })

  test('begins a new window after each', () => {
    for (let minute = 0; minute < 3; minute++) {
      for (let n = 0; n < 8; n++) log.info({}, 'again')
      clock.advance(60_000)
    }
    const window = [...Array.from({ length: 5 }, () => 'again'), 'again (… 3 more in 60 s)']
    expect(messages()).toEqual([...window, ...window, ...window])
  })

  test('and one time more than is shown is written as it was', () => {
    for (let n = 1; n <= 6; n++) log.info({ n }, 'again')
    clock.advance(60_000)
    expect(lines.map(({ n, msg }) => [n, msg])).toEqual([1, 2, 3, 4, 5, 6].map((n) => [n, 'again']))
  })

  test('does not lose the last one when the process ends', () => {
    for (let n = 1; n <= 20; n++) log.error({ n }, 'failed')
    clock.advance(12_000)
    log.flush()
    expect(messages().at(-1)).toBe('failed (… 15 more in 12 s)')
    expect(lines.at(-1)).toMatchObject({ n: 20 })
    log.flush()
    clock.advance(120_000)
    expect(lines).toHaveLength(6)
  })

  test('does not hide others, nor another level of itself', () => {
    for (let n = 0; n < 100; n++) log.info({}, 'one')
    log.warn({}, 'one')
    log.info({}, 'another')
    expect(messages().slice(5)).toEqual(['one', 'another'])
  })

  test('is not folded at level debug', () => {
    for (let n = 0; n < 20; n++) log.debug({}, 'query')
    expect(lines).toHaveLength(20)
  })
})

test('of messages that never repeat each is written, and what is remembered of them stays bounded', () => {
  for (let n = 0; n < 10_000; n++) log.info({}, `message ${n}`)
  expect(lines).toHaveLength(10_000)
  expect(clock.pending.length).toBeLessThanOrEqual(256)
})

test('a message whose window has to make room is written with its count', () => {
  for (let n = 0; n < 10; n++) log.info({}, 'first')
  for (let n = 0; n < 300; n++) log.info({}, `message ${n}`)
  expect(messages()).toContain('first (… 5 more in 0 s)')
})

describe('the lines that are kept', () => {
  test('are those of level info and above, folded as they are written, whatever level is written', () => {
    log.level = 'error'
    for (let n = 1; n <= 7; n++) log.info({ n }, 'again')
    log.debug({}, 'unheard')
    log.flush()
    expect(lines).toEqual([])
    expect(log.recent().lines.map(({ message }) => message)).toEqual([
      ...Array.from({ length: 5 }, () => 'again'),
      'again (… 2 more in 0 s)',
    ])
  })

  test('are bounded, and a flood does not push out failures', () => {
    log.error({ error: new Error('no table', { cause: new Error('refused') }), count: 5n }, 'failed')
    for (let n = 0; n < 2000; n++) log.info({ n }, `message ${n}`)
    const { lines: kept, failures, dropped } = log.recent()
    expect(kept).toHaveLength(512)
    expect(kept.at(-1)).toMatchObject({ level: 'info', message: 'message 1999', fields: { n: 1999 } })
    expect(dropped).toBe(2001 - 512)
    expect(failures).toEqual([
      {
        time: expect.any(String),
        level: 'error',
        message: 'failed',
        fields: { error: 'no table: refused', count: '5' },
      },
    ])
  })

  test('take little room, whatever a line holds', () => {
    const circle: Record<string, unknown> = {}
    circle['circle'] = circle
    log.warn({ circle }, 'round')
    log.warn({ long: 'x'.repeat(100_000) }, 'y'.repeat(100_000))
    const { lines: kept } = log.recent()
    expect(kept[0]!.fields).toEqual({})
    expect(JSON.stringify(kept[1]).length).toBeLessThan(5000)
  })
})
