import { StreamDecoder } from '@grpc/grpc-js/build/src/stream-decoder.js'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { assembleInPlace, MAX_MESSAGE_BYTES, MessageAssembly, release } from '../../src/xds/message-assembly.ts'

/** Length-prefixed, as gRPC frames it. */
function framed(content: Uint8Array): Buffer {
  const header = Buffer.alloc(5)
  header.writeUInt32BE(content.length, 1)
  return Buffer.concat([header, content])
}

describe('message assembly', () => {
  it("gives the messages that grpc-js's own decoder gives, however the stream is cut", () => {
    const messages = fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 })
    const cuts = fc.array(fc.nat({ max: 12 }), { maxLength: 60 })
    fc.assert(
      fc.property(messages, cuts, (contents, lengths) => {
        const bytes = Buffer.concat(contents.map(framed))
        const assembly = new MessageAssembly()
        // With a limit it is the original.
        const oracle = new StreamDecoder(1_000_000)
        let at = 0
        for (const length of [...lengths, bytes.length]) {
          const slice = bytes.subarray(at, at + length)
          at += length
          expect(assembly.write(slice)).toEqual(oracle.write(slice))
        }
      }),
    )
  })

  it('takes the place of the decoder of streams with our limit', () => {
    assembleInPlace()
    const decoder = new StreamDecoder(MAX_MESSAGE_BYTES)
    const message = framed(Buffer.alloc(100_000, 7))
    expect(decoder.write(message.subarray(0, 60_000))).toEqual([])
    // grpc-js's own would hold the slice.
    expect(Reflect.get(decoder, 'readPartialMessage')).toEqual([])
    expect(decoder.write(message.subarray(60_000))).toEqual([message])
  })

  it('leaves streams with another limit to it', () => {
    assembleInPlace()
    expect(() => new StreamDecoder(10).write(framed(Buffer.alloc(11)))).toThrow('larger than max')
  })

  it('a header that claims more than a table can have ends the stream, and no memory is taken for it', () => {
    const header = Buffer.of(0, 0xff, 0xff, 0xff, 0xff)
    const before = process.memoryUsage().arrayBuffers
    expect(() => new MessageAssembly().write(header)).toThrow('larger than max (4294967295 vs ')
    assembleInPlace()
    expect(() => new StreamDecoder(MAX_MESSAGE_BYTES).write(header)).toThrow('larger than max')
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(1 << 20)
  })

  it('frees a large message at once, and no small one', () => {
    const [large, small] = [framed(Buffer.alloc(2_000_000, 1)), framed(Buffer.alloc(100))]
    const [first, second] = new MessageAssembly().write(Buffer.concat([large, small]))
    release(first!.subarray(10))
    expect(first!.buffer.byteLength).toBe(0)
    release(second!)
    expect(second).toEqual(small)
  })
})
