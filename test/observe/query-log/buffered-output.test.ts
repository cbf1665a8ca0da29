import { setImmediate as nextTurn } from 'node:timers/promises'
import { beforeEach, describe, expect, it } from 'vitest'
import { BufferedOutput } from '../../../src/observe/query-log/buffered-output.ts'
import type { Channel } from '../../../src/observe/query-log/channel.ts'
import { FakeClock } from '../../base/fake-clock.ts'
import { fakeLog } from '../fake-sources.ts'

const MIB = 1024 * 1024

/** What a test decides of the channels that are opened. */
class Reader {
  got = ''
  opened = 0
  closed = 0
  reopened = 0
  /** Why it cannot be opened, or written to. */
  obstacle: string | null = null
  /** Writes wait as long as it is set. */
  pause: Promise<void> | null = null
  lost: (reason: string) => void = () => {}

  readonly open = async (lost: (reason: string) => void): Promise<Channel> => {
    if (this.obstacle !== null) throw new Error(this.obstacle)
    this.opened++
    this.lost = lost
    return {
      write: async (bytes) => {
        await this.pause
        if (this.obstacle !== null) throw new Error(this.obstacle)
        this.got += Buffer.from(bytes.subarray(0, 8)).toString()
      },
      reopen: async () => void this.reopened++,
      close: async () => void this.closed++,
    }
  }
}

let reader: Reader
let clock: FakeClock
let log: ReturnType<typeof fakeLog>
let output: BufferedOutput

beforeEach(async () => {
  reader = new Reader()
  begin()
  await settled()
})

function begin(): void {
  clock = new FakeClock()
  log = fakeLog()
  output = new BufferedOutput({ name: 'file x', open: reader.open, clock, log })
}

async function settled(): Promise<void> {
  for (let k = 0; k < 5; k++) await nextTurn()
}

function push(text: string, size: number = text.length, count: number = 1): void {
  output.push({ bytes: Buffer.concat([Buffer.from(text), Buffer.alloc(size - text.length)]), count })
}

/** The reader fails three times, and so many entries are lost meanwhile. Returns the first two pauses. */
async function trouble(lost: number): Promise<number[]> {
  reader.obstacle = 'gone'
  push('a', 4 * MIB)
  await settled()
  push('b', 1, lost)
  const pauses: number[] = []
  for (let k = 0; k < 2; k++) {
    pauses.push(...clock.pending)
    clock.advance(clock.pending[0]!)
    await settled()
  }
  reader.obstacle = null
  clock.advance(clock.pending[0]!)
  await settled()
  return pauses
}

const messages = (): string[] => log.lines.map(({ level, message }) => `${level} ${message.slice(0, 24)}`)

describe('an output', () => {
  it('writes entries in their order, one write at a time', async () => {
    for (const text of ['a', 'b', 'c']) push(text)
    await settled()
    expect(reader.got).toBe('abc')
    expect(output.dropped).toBe(0)
  })

  it('holds a bounded amount while its reader is slow, counts the rest and says so once', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    reader.pause = promise
    for (let k = 0; k < 8; k++) push(String(k), MIB, 10)
    await settled()
    expect(output.dropped).toBe(40)
    expect(output.trouble?.reason).toBe('entries are taken more slowly than they come')
    resolve()
    await settled()
    expect(reader.got.replaceAll('\0', '')).toBe('0123')
    expect(output.trouble).toBeNull()
    expect(messages()).toEqual(['warn the query log cannot be ', 'info the query log is written'])
    expect(log.lines[1]!.fields).toMatchObject({ lost: 40 })
  })

  it('keeps what could not be written, opens again after pauses that grow, and then writes it', async () => {
    reader.obstacle = 'ENOSPC: no space left on device'
    push('a')
    await settled()
    expect(output.trouble?.reason).toContain('ENOSPC')
    expect(reader.closed).toBe(1)
    const pauses: number[] = []
    for (let k = 0; k < 9; k++) {
      pauses.push(...clock.pending)
      clock.advance(clock.pending[0]!)
      await settled()
    }
    expect(pauses).toEqual([250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000])
    reader.obstacle = null
    clock.advance(30_000)
    await settled()
    expect(reader.got).toBe('a')
    expect(messages()).toEqual(['warn the query log cannot be ', 'info the query log is written'])
    expect(log.lines[1]!.fields).toMatchObject({ lost: 0, seconds: expect.any(Number) })
    push('b')
    await settled()
    expect(reader.got).toBe('ab')
  })

  it('is open again after its reader went, also if nothing was to be written', async () => {
    reader.lost('the reader has closed the connection')
    reader.lost('once more')
    expect(output.trouble).not.toBeNull()
    clock.advance(250)
    await settled()
    expect([reader.opened, output.trouble]).toEqual([2, null])
    expect(clock.pending).toEqual([])
  })

  it('that has found no place begins as soon as there is one', async () => {
    reader = new Reader()
    reader.obstacle = 'no such file or directory'
    begin()
    push('a')
    await settled()
    expect(output.trouble?.reason).toBe('no such file or directory')
    reader.obstacle = null
    output.reopen()
    await settled()
    // What is opened then need not be looked for once more.
    expect([reader.got, reader.reopened]).toEqual(['a', 0])
  })

  it('has room again for as much as was written, however much there was', async () => {
    for (let k = 0; k < 10; k++) {
      for (let n = 0; n < 4; n++) push('a', MIB)
      await settled()
    }
    expect([reader.got.replaceAll('\0', ''), output.dropped, output.trouble]).toEqual(['a'.repeat(40), 0, null])
  })

  it('takes up to four MiB, what is being written included', async () => {
    reader.pause = Promise.withResolvers<void>().promise
    push('a', 4 * MIB)
    await settled()
    expect([output.dropped, output.trouble]).toEqual([0, null])
    push('b', 1, 7)
    expect([output.dropped, output.trouble?.reason]).toEqual([7, 'entries are taken more slowly than they come'])
  })

  it('counts pauses and losses of each trouble by themselves', async () => {
    expect(await trouble(3)).toEqual([250, 500])
    expect(await trouble(5)).toEqual([250, 500])
    const losses = log.lines.filter(({ level }) => level === 'info').map(({ fields }) => fields)
    expect(losses).toMatchObject([{ lost: 3 }, { lost: 5 }])
    expect(output.dropped).toBe(8)
  })

  it('looks for a file that was moved when it is told to, and not during a write', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    reader.pause = promise
    push('a')
    await settled()
    output.reopen()
    await settled()
    expect(reader.reopened).toBe(0)
    resolve()
    await settled()
    expect([reader.got, reader.reopened]).toEqual(['a', 1])
  })
})

describe('when it is stopped, an output', () => {
  it('writes what waits, closes and takes nothing more', async () => {
    for (const text of ['a', 'b', 'c']) push(text)
    await output.stop()
    push('d')
    await settled()
    expect([reader.got, reader.closed, output.dropped]).toEqual(['abc', 1, 1])
  })

  it('waits a second for a reader that takes nothing, and counts what it did not get', async () => {
    reader.pause = Promise.withResolvers<void>().promise
    push('a', 1, 3)
    push('b', 1, 4)
    await settled()
    const stopped = output.stop()
    await settled()
    clock.advance(1000)
    await stopped
    expect([reader.closed, output.dropped]).toEqual([1, 7])
  })

  it('tries no more', async () => {
    reader.obstacle = 'gone'
    push('a')
    await settled()
    await output.stop()
    expect([clock.pending, output.dropped]).toEqual([[], 1])
  })
})
