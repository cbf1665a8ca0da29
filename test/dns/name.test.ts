import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  expandName,
  finishHash,
  hashBytes,
  nameToText,
  nameToWire,
  ScannedName,
  scanName,
  skipName,
} from '../../src/dns/name.ts'
import { bytes, u16, wire } from './messages.ts'

const SEED = 77

/** Labels of any bytes that make a legal name together. */
const labels = fc
  .array(fc.uint8Array({ minLength: 1, maxLength: 63 }), { maxLength: 127 })
  .filter((all) => all.reduce((sum, label) => sum + label.length + 1, 1) <= 255)

function wireOf(all: Uint8Array[]): Uint8Array {
  return bytes(...all.map((label) => bytes(label.length, label)), 0)
}

function lower(name: Uint8Array): Uint8Array {
  return name.map((byte) => (byte >= 65 && byte <= 90 ? byte + 32 : byte))
}

/** A name of exactly `length` bytes on the wire. */
function nameOf(length: number): Uint8Array {
  const parts: Uint8Array[] = []
  let left = length - 1
  while (left > 0) {
    const size = left > 64 ? Math.min(63, left - 3) : left - 1
    parts.push(bytes(size, new Uint8Array(size).fill(0x61)))
    left -= size + 1
  }
  return bytes(...parts, 0)
}

function expand(packet: Uint8Array, at: number, start: number = 0): Uint8Array | null {
  const out = new Uint8Array(300)
  const length = expandName(packet, start, at, packet.length, out, 3)
  return length < 0 ? null : out.slice(3, 3 + length)
}

describe('scanName', () => {
  it('reads any legal name into lower case with the places and hashes of its labels', () => {
    fc.assert(
      fc.property(labels, fc.nat(20), (all, at) => {
        const name = wireOf(all)
        const packet = bytes(new Uint8Array(at).fill(3), name, 1, 2)
        const scanned = new ScannedName()
        expect(scanName(packet, at, packet.length, SEED, scanned)).toBe(at + name.length)
        expect(scanned.lower.slice(0, scanned.length)).toEqual(lower(name))
        expect(scanned.labels).toBe(all.length)
        let offset = 0
        all.forEach((label, k) => {
          expect(scanned.labelAt[k]).toBe(offset)
          expect(scanned.hashAt[k]).toBe(hashBytes(SEED, name, 0, offset))
          offset += label.length + 1
        })
        expect(scanned.labelAt[all.length]).toBe(offset)
        expect(scanned.hash()).toBe(finishHash(hashBytes(SEED, name, 0, name.length - 1)))
      }),
    )
  })

  it('takes no part of a name that the message cuts off', () => {
    fc.assert(
      fc.property(labels, fc.nat(), (all, cut) => {
        const name = wireOf(all)
        expect(scanName(name, 0, cut % name.length, SEED, new ScannedName())).toBe(-1)
      }),
    )
  })

  it('reads the root', () => {
    const scanned = new ScannedName()
    expect(scanName(bytes(0), 0, 1, SEED, scanned)).toBe(1)
    expect([scanned.length, scanned.labels, scanned.labelAt[0]]).toEqual([1, 0, 0])
  })

  it('takes 255 bytes and 127 labels, and not one more', () => {
    const scanned = new ScannedName()
    expect(scanName(nameOf(255), 0, 255, SEED, scanned)).toBe(255)
    expect(scanName(nameOf(256), 0, 256, SEED, scanned)).toBe(-1)
    const most = wireOf(Array.from({ length: 127 }, () => bytes(0x78)))
    expect(scanName(most, 0, most.length, SEED, scanned)).toBe(255)
    expect(scanned.labels).toBe(127)
    const more = wireOf(Array.from({ length: 128 }, () => bytes(0x78)))
    expect(scanName(more, 0, more.length, SEED, scanned)).toBe(-1)
  })

  it.each([
    ['a label of 64 bytes', bytes(64, new Uint8Array(64), 0)],
    ['a pointer', bytes(0xc0, 0, 0)],
    ['an extended label', bytes(0x41, 0, 0)],
    ['nothing', bytes()],
  ])('refuses %s', (_, name) => {
    expect(scanName(name, 0, name.length, SEED, new ScannedName())).toBe(-1)
  })

  it('knows what a name ends below', () => {
    const scanned = new ScannedName()
    const name = wire('a.Shop.svc')
    scanName(name, 0, name.length, SEED, scanned)
    expect(scanned.endsBelow(wire('shop.svc'), 2)).toBe(true)
    expect(scanned.endsBelow(wire('svc'), 1)).toBe(true)
    expect(scanned.endsBelow(wire('hop.svc'), 2)).toBe(false)
    expect(scanned.endsBelow(wire('ship.svc'), 2)).toBe(false)
    expect(scanned.endsBelow(wire('a.shop.svc'), 3)).toBe(false)
    expect(scanned.endsBelow(wire('x.a.shop.svc'), 4)).toBe(false)
  })
})

describe('skipName', () => {
  it('passes over any legal name, and over a pointer without following it', () => {
    fc.assert(
      fc.property(labels, fc.option(fc.nat(0x3fff)), (all, pointer) => {
        const name = wireOf(all)
        const written = pointer === null ? name : bytes(name.subarray(0, -1), u16(0xc000 | pointer))
        expect(skipName(bytes(5, written, 9), 1, written.length + 2)).toBe(written.length + 1)
        expect(skipName(written, 0, written.length - 1)).toBe(-1)
      }),
    )
  })

  it.each([0x40, 0x7f, 0x80, 0xbf])('refuses the reserved label kind %i', (kind) => {
    expect(skipName(bytes(kind, new Uint8Array(255)), 0, 256)).toBe(-1)
  })
})

describe('expandName', () => {
  const HEADER = new Uint8Array(12)

  it('follows pointers and keeps the case', () => {
    const packet = bytes(HEADER, wire('Example.org'), bytes(3, 0x57, 0x77, 0x77), u16(0xc00c))
    expect(expand(packet, 25)).toEqual(wire('Www.Example.org'))
  })

  it('counts pointers from the start of the message', () => {
    const packet = bytes(8, 8, HEADER, wire('org'), u16(0xc00c))
    expect(expand(packet, 2 + 12 + 5, 2)).toEqual(wire('org'))
  })

  it('expands any legal name cut into a chain of pointers', () => {
    fc.assert(
      fc.property(labels, (all) => {
        // Each label stands in front of a pointer to the one after it, the last label first.
        let packet = bytes(HEADER, 0)
        let at = 12
        for (const label of all.toReversed()) {
          const target = at
          at = packet.length
          packet = bytes(packet, label.length, label, u16(0xc000 | target))
        }
        expect(expand(packet, at)).toEqual(wireOf(all))
      }),
    )
  })

  it.each([
    ['a pointer to itself', bytes(HEADER, u16(0xc00c))],
    ['a pointer forward', bytes(HEADER, u16(0xc00e), 0)],
    ['a loop of a label', bytes(HEADER, 1, 0x61, u16(0xc00c))],
    ['half a pointer', bytes(HEADER, 0xc0)],
    ['a pointer into the header', bytes(HEADER, u16(0xc00b))],
    ['a label past the end', bytes(HEADER, 5, 1, 2)],
    ['a label that ends the message', bytes(HEADER, 2, 1, 2)],
    ['a reserved label kind', bytes(HEADER, 0x80, 0)],
    ['nothing', HEADER],
  ])('refuses %s', (_, packet) => {
    expect(expand(packet, 12)).toBeNull()
  })

  it('refuses a pointer to labels that run on into the name it stands in', () => {
    expect(expand(bytes(HEADER, 2, 0x61, u16(0xc00c), new Uint8Array(20)), 14)).toBeNull()
    expect(expand(bytes(HEADER, 1, 0x61, u16(0xc00c), new Uint8Array(20)), 14)).toBeNull()
    expect(expand(bytes(HEADER, 1, 0x61, 0, u16(0xc00c)), 15)).toEqual(wire('a'))
  })

  it('refuses two pointers that point at each other', () => {
    expect(expand(bytes(HEADER, u16(0xc00e), u16(0xc00c)), 14)).toBeNull()
  })

  it('takes 255 bytes and not one more, however they come together', () => {
    expect(expand(bytes(HEADER, nameOf(255)), 12)).toEqual(nameOf(255))
    expect(expand(bytes(HEADER, nameOf(256)), 12)).toBeNull()
    const tail = nameOf(253)
    expect(expand(bytes(HEADER, tail, 1, 0x62, u16(0xc00c)), 12 + 253)).toEqual(bytes(1, 0x62, tail))
    expect(expand(bytes(HEADER, tail, 2, 0x62, 0x62, u16(0xc00c)), 12 + 253)).toBeNull()
  })

  it('reads nothing past the end and ends, whatever the bytes', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (packet, at) => {
        const name = expand(packet, at)
        if (name === null) return
        expect(name.length).toBeLessThanOrEqual(255)
        expect(scanName(name, 0, name.length, SEED, new ScannedName())).toBe(name.length)
      }),
    )
  })
})

describe('nameToWire and nameToText', () => {
  it('give any name back', () => {
    fc.assert(
      fc.property(labels, (all) => {
        const name = wireOf(all)
        const text = nameToText(bytes(1, name), 1)
        expect(nameToWire(text)).toEqual(name)
        expect(text).toMatch(/^[\x21-\x7e]*\.$/)
      }),
    )
  })

  it('take a missing trailing dot as there', () => {
    expect(nameToWire('a.b')).toEqual(nameToWire('a.b.'))
    expect(nameToWire('.')).toEqual(bytes(0))
    expect(nameToText(bytes(0))).toBe('.')
  })

  it('read and write escapes', () => {
    expect(nameToWire('a\\.b\\\\.\\000\\255')).toEqual(bytes(4, Buffer.from('a.b\\'), 2, 0, 255, 0))
    expect(nameToText(bytes(4, Buffer.from('a.b\\'), 2, 0, 255, 0))).toBe('a\\.b\\\\.\\000\\255.')
    expect(nameToWire('é')).toEqual(bytes(2, 0xc3, 0xa9, 0))
  })

  it.each(['', '..', '.a', 'a..b', 'a..', 'a\\', '\\25', '\\256', '\\1', '\\1a1', '\\1e1', '\\1.1', '\\12 ', '\\0x1'])(
    'have no name in %j',
    (text) => {
      expect(nameToWire(text)).toBeNull()
    },
  )

  it('keep to 63 bytes a label and 255 in all', () => {
    const label = 'a'.repeat(63)
    expect(nameToWire(label)?.length).toBe(65)
    expect(nameToWire(`${label}a`)).toBeNull()
    expect(nameToWire(`${label}a.b`)).toBeNull()
    const long = `${label}.${label}.${label}.${'b'.repeat(61)}`
    expect(nameToWire(long)?.length).toBe(255)
    expect(nameToWire(`${long}.`)?.length).toBe(255)
    expect(nameToWire(`${long}b`)).toBeNull()
  })
})
