import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { FrameReader, frameBoundary, framed, MAX_FRAME_BYTES } from '../../src/dns/frame.ts'

const message = fc.uint8Array({ minLength: 12, maxLength: 300 })

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts))
}

/** Feeds `stream` in pieces of the given sizes (the last takes the rest) and returns what came out. */
function readIn(reader: FrameReader, stream: Uint8Array, sizes: readonly number[]): { out: Uint8Array; count: number } {
  const out: Uint8Array[] = []
  let count = 0
  let at = 0
  for (const size of [...sizes, stream.length]) {
    const frames = reader.push(stream.subarray(at, at + size))
    if (frames !== null) out.push(frames.slice())
    count += reader.count
    at = Math.min(stream.length, at + size)
  }
  return { out: joined(out), count }
}

describe('FrameReader', () => {
  it('returns every frame once and in order, however the stream is cut', () => {
    fc.assert(
      fc.property(fc.array(message, { maxLength: 20 }), fc.array(fc.nat(200)), (messages, sizes) => {
        const stream = joined(messages.map(framed))
        const reader = new FrameReader()
        const { out, count } = readIn(reader, stream, sizes)
        expect(out).toEqual(stream)
        expect(count).toBe(messages.length)
        expect(reader.heldBytes).toBe(0)
      }),
    )
  })

  it('holds an incomplete frame and no more', () => {
    fc.assert(
      fc.property(fc.array(message), message, fc.nat(), fc.array(fc.nat(200)), (messages, last, cut, sizes) => {
        const whole = joined(messages.map(framed))
        const rest = framed(last)
        const part = rest.subarray(0, cut % rest.length)
        const reader = new FrameReader()
        const { out, count } = readIn(reader, joined([whole, part]), sizes)
        expect(out).toEqual(whole)
        expect(count).toBe(messages.length)
        expect(reader.heldBytes).toBe(part.length)
      }),
    )
  })

  it('hands on a read of whole frames as it is, uncopied', () => {
    const chunk = joined([framed(new Uint8Array(12)), framed(new Uint8Array(40))])
    const reader = new FrameReader()
    expect(reader.push(chunk)).toBe(chunk)
    expect(reader.count).toBe(2)
  })

  it('hands on the whole frames of a read as a view of it and may lose the chunk afterwards', () => {
    const first = framed(new Uint8Array(12).fill(1))
    const second = framed(new Uint8Array(12).fill(2))
    const chunk = joined([first, second.subarray(0, 5)])
    const reader = new FrameReader()
    const frames = reader.push(chunk)
    expect(frames).toEqual(first)
    expect(frames!.buffer).toBe(chunk.buffer)
    chunk.fill(0xff)
    expect(reader.push(second.subarray(5))).toEqual(second)
  })

  it('reads the longest frame byte by byte', () => {
    const frame = framed(new Uint8Array(0xffff).fill(7))
    expect(frame.length).toBe(MAX_FRAME_BYTES)
    const reader = new FrameReader()
    let early = 0
    for (let i = 0; i < frame.length - 1; i++) if (reader.push(frame.subarray(i, i + 1)) !== null) early++
    expect(early).toBe(0)
    expect(reader.push(frame.subarray(frame.length - 1))).toEqual(frame)
  })

  it('calls a frame shorter than a header malformed, wherever its bytes come, and stays so', () => {
    fc.assert(
      fc.property(fc.array(message), fc.nat(11), fc.array(fc.nat(60)), (messages, length, sizes) => {
        const stream = joined([...messages.map(framed), Uint8Array.of(0, length), new Uint8Array(40)])
        const reader = new FrameReader()
        readIn(reader, stream, sizes)
        expect(reader.malformed).toBe(true)
        expect(reader.push(framed(new Uint8Array(12)))).toBeNull()
      }),
    )
  })

  it('never throws and never holds more than a frame, whatever it is fed', () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 400 })), (chunks) => {
        const reader = new FrameReader()
        for (const chunk of chunks) {
          reader.push(chunk)
          expect(reader.heldBytes).toBeLessThan(MAX_FRAME_BYTES)
        }
      }),
    )
  })
})

describe('frames of no bytes', () => {
  it('end a stream unless they may be there, and are handed on then, wherever reads are cut', () => {
    const stream = Uint8Array.from([0, 0, ...framed(new Uint8Array(12).fill(7)), 0, 0, 0, 0])
    expect(new FrameReader().push(stream)).toBeNull()
    for (let cut = 0; cut <= stream.length; cut++) {
      const reader = new FrameReader(true)
      const parts = [stream.subarray(0, cut), stream.subarray(cut)].map((part) => [...(reader.push(part) ?? [])])
      expect([parts.flat(), reader.malformed, reader.heldBytes]).toEqual([[...stream], false, 0])
    }
    expect(new FrameReader(true).push(Uint8Array.of(0, 1, 0))).toBeNull()
  })
})

describe('frameBoundary', () => {
  it('passes at most as many frames as it may', () => {
    const stream = joined([framed(new Uint8Array(12)), framed(new Uint8Array(13)), framed(new Uint8Array(14))])
    expect({ ...frameBoundary(stream, 0, 2) }).toEqual({ at: 29, count: 2, malformed: false })
    expect({ ...frameBoundary(stream, 29, 2) }).toEqual({ at: stream.length, count: 1, malformed: false })
  })
})
