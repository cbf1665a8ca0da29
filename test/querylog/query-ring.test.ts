import { setImmediate as nextTurn } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { createRing, MOST_RECORD_BYTES, RING_HEAD, Taken } from '../../src/querylog/ring-layout.ts'
import { RingReader } from '../../src/querylog/ring-reader.ts'
import { RingWriter } from '../../src/querylog/ring-writer.ts'

const RING_BYTES = RING_HEAD + 2 * MOST_RECORD_BYTES

/** Writes a record of `size` bytes that is told by `number` in its first and its last word. */
function write(writer: RingWriter, size: number, number: number): boolean {
  const at = writer.begin(size)
  if (at < 0) return false
  writer.words[(at >> 2) + 1] = Taken.LOG
  writer.words[(at >> 2) + 4] = 0
  writer.words[(at >> 2) + 5] = number
  writer.words[((at + size) >> 2) - 1] = number
  return true
}

/** Numbers of the records read. */
function read(reader: RingReader, most: number): number[] {
  const numbers: number[] = []
  reader.read(most, (record) => void numbers.push(record.weight))
  return numbers
}

const step = fc.oneof(
  { weight: 5, arbitrary: fc.record({ write: fc.integer({ min: 9, max: MOST_RECORD_BYTES >> 3 }) }) },
  { weight: 2, arbitrary: fc.constant('show' as const) },
  { weight: 2, arbitrary: fc.record({ read: fc.integer({ min: 0, max: 8 }) }) },
  { weight: 1, arbitrary: fc.constant('restart' as const) },
)

describe('the ring', () => {
  it('is a queue that refuses what it has no room for, whatever sizes come in whatever order', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 400 }), fc.boolean(), (steps, isSparing) => {
        const buffer = createRing(RING_BYTES)
        const reader = new RingReader(buffer)
        let writer = new RingWriter(buffer)
        writer.isSparing = isSparing
        const shown: number[] = []
        let unshown: number[] = []
        let next = 1
        let dropped = 0
        for (const each of steps) {
          if (each === 'show') {
            writer.show(0, 0, 0)
            shown.push(...unshown)
            unshown = []
          } else if (each === 'restart') {
            // What the thread before had not shown went with it.
            writer = new RingWriter(buffer)
            unshown = []
          } else if ('write' in each) {
            const number = next++
            if (write(writer, each.write * 8, number)) unshown.push(number)
            else {
              dropped++
              // It may only refuse what would not fit beside what is there.
              expect(shown.length + unshown.length).toBeGreaterThan(0)
            }
          } else expect(read(reader, each.read)).toEqual(shown.splice(0, each.read))
        }
        writer.show(0, 0, 0)
        expect(read(reader, 1000)).toEqual([...shown, ...unshown])
        expect(reader.dropped).toBe(dropped)
        expect(reader.written).toBe(next - 1 - dropped)
      }),
      { numRuns: 300 },
    )
  })

  it('takes a record of any size again once it has been read', () => {
    const buffer = createRing(RING_BYTES)
    const reader = new RingReader(buffer)
    const writer = new RingWriter(buffer)
    for (let number = 1; number <= 1000; number++) {
      const size = number % 3 === 0 ? MOST_RECORD_BYTES & ~7 : 72 + 8 * (number % 40)
      expect(write(writer, size, number), `record ${number}`).toBe(true)
      writer.show(0, 0, 0)
      expect(read(reader, 10)).toEqual([number])
    }
  })

  it('uses little of a large ring as long as its reader keeps up and memory is to be spared', () => {
    const buffer = createRing(1024 * 1024)
    const reader = new RingReader(buffer)
    const writer = new RingWriter(buffer)
    writer.isSparing = true
    for (let number = 1; number <= 10_000; number++) {
      expect(write(writer, 128, number)).toBe(true)
      writer.show(0, 0, 0)
      if (number % 20 === 0) expect(read(reader, 100)).toHaveLength(20)
    }
    expect(new Uint8Array(buffer, 128 * 1024).every((byte) => byte === 0)).toBe(true)
  })

  it('fills in the latency of a batch, and takes the log off what was too fast for it', () => {
    const buffer = createRing(RING_BYTES)
    const reader = new RingReader(buffer)
    const writer = new RingWriter(buffer)
    for (const [taken, latency] of [
      [Taken.LOG, -1],
      [Taken.LOG | Taken.SAMPLE, -1],
      [Taken.LOG, 7000],
    ] as const) {
      const at = writer.begin(72)
      writer.words[(at >> 2) + 1] = taken
      writer.words[(at >> 2) + 4] = latency
    }
    writer.show(250, 1000, Taken.LOG)
    const seen: [number, number][] = []
    expect(reader.read(10, ({ taken, latencyMicros }) => void seen.push([taken, latencyMicros]))).toBe(3)
    expect(seen).toEqual([
      [Taken.SAMPLE, 250],
      [Taken.LOG, 7000],
    ])
  })

  it('gives back the room of what its reader choked on', () => {
    const buffer = createRing(RING_BYTES)
    const reader = new RingReader(buffer)
    const writer = new RingWriter(buffer)
    for (const number of [1, 2]) write(writer, 72, number)
    writer.show(0, 0, 0)
    expect(() =>
      reader.read(10, () => {
        throw new Error('no')
      }),
    ).toThrow('no')
    expect(read(reader, 10)).toEqual([2])
  })

  it('hands over whole records, in order, from a thread that writes while another reads', async () => {
    const records = 10_000
    const buffer = createRing(RING_BYTES)
    const reader = new RingReader(buffer)
    const thread = new Worker(new URL('ring-producer.ts', import.meta.url), { workerData: { buffer, records } })
    const ended = new Promise<number>((resolve, reject) => {
      thread.once('exit', resolve)
      thread.once('error', reject)
    })
    let last = 0
    let count = 0
    const look = (): number => {
      count += reader.read(64, ({ bytes, weight, nameAt, nameLength }) => {
        if (weight !== ++last) expect.fail(`${weight} came instead of ${last}`)
        // The name is filled with the number's last byte, up to the record's end.
        for (let k = 0; k < nameLength; k++) if (bytes[nameAt + k] !== (weight & 0xff)) expect.fail(`torn: ${weight}`)
      })
      return count
    }
    const failed = ended.then((code) => expect(code).toBe(0))
    while (look() < records) await Promise.race([failed, nextTurn()]).then(nextTurn)
    await failed
    expect(count).toBe(records)
    expect(reader.dropped, 'it was full now and then').toBeGreaterThan(0)
  })
})
