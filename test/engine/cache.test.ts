import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { Cache } from '../../src/engine/cache/cache.ts'
import { StoredFlag } from '../../src/engine/cache/stored-answer.ts'
import { a, record, wire } from '../dns/messages.ts'
import { keyOf, StoredMessage, weakHash } from './stored-message.ts'

function put(
  cache: Cache,
  name: string,
  address: number = 1,
  more: { type?: number; variant?: number; pad?: number } = {},
): void {
  const { type = Type.A, variant = 0, pad = 0 } = more
  const answers = [a(address), ...(pad > 0 ? [record(65_280, 60, new Uint8Array(pad))] : [])]
  const stored = new StoredMessage(name, { answers }, { type, variant, at: 8 })
  cache.put(stored.store, 8)
}

/** Last byte of the address stored under the key, or null. */
function get(cache: Cache, name: string, type: number = Type.A, variant: number = 0): number | null {
  const key = keyOf(name, type, variant)
  const block = cache.find(weakHash(key), key, 0, key.length)
  if (block < 0) return null
  expect(cache.store.hasKey(block, key, 0, key.length)).toBe(true)
  expect(cache.store.has(block, StoredFlag.DEAD)).toBe(false)
  return cache.store.bytes[block + 40 + 12 + wire(name).length + 4 + 15]!
}

/** Bytes of what is stored, without the index. */
function filled(cache: Cache): number {
  return cache.bytes - new Cache(cache.maxBytes).bytes
}

describe('cache', () => {
  it('gives back what was stored, and nothing for another name, type or variant', () => {
    const cache = new Cache(64 * 1024)
    put(cache, 'example.org', 7)
    expect(get(cache, 'example.org')).toBe(7)
    expect(get(cache, 'EXAMPLE.org')).toBe(7)
    expect(get(cache, 'example.net')).toBeNull()
    expect(get(cache, 'example.org', Type.AAAA)).toBeNull()
    expect(get(cache, 'example.org', Type.A, 1)).toBeNull()
    expect(cache.entries).toBe(1)
  })

  it('replaces the answer of a key', () => {
    const cache = new Cache(64 * 1024)
    put(cache, 'a', 1)
    put(cache, 'a', 2)
    expect(get(cache, 'a')).toBe(2)
    expect(cache.entries).toBe(1)
    expect(cache.evictions).toBe(0)
  })

  it('keeps what is used and drops what has not been used for a generation', () => {
    const cache = new Cache(16 * 1024)
    put(cache, 'used', 1)
    put(cache, 'unused', 2)
    for (let k = 0; cache.evictions === 0 || k < 300; k++) {
      put(cache, `n${k}`)
      expect(get(cache, 'used')).toBe(1)
    }
    expect(get(cache, 'unused')).toBeNull()
  })

  it('replaces an answer of the older generation', () => {
    const cache = new Cache(8192)
    put(cache, 'a', 1)
    // Enough to turn the generations over once, and not twice.
    for (let k = 0; k < 30; k++) put(cache, `n${k}`)
    expect(cache.evictions).toBe(0)
    const { entries } = cache
    put(cache, 'a', 2)
    expect(get(cache, 'a')).toBe(2)
    expect(cache.entries).toBe(entries)
  })

  it('counts what it evicts', () => {
    const cache = new Cache(8192)
    let stored = 0
    while (cache.evictions === 0) put(cache, `n${stored++}`)
    expect(cache.entries + cache.evictions).toBe(stored)
    expect(cache.evictions).toBeGreaterThan(3)
  })

  it('keeps its bound, however small it was asked to be', () => {
    for (const maxBytes of [1, 4096, 5000, 5001, 10_007]) {
      const cache = new Cache(maxBytes)
      expect(cache.maxBytes).toBe(Math.max(4096, maxBytes))
      for (let k = 0; k < 200; k++) {
        put(cache, `name-${k}`, 1, { pad: k % 50 })
        expect(cache.bytes).toBeLessThanOrEqual(cache.maxBytes)
        expect(get(cache, `name-${k}`)).toBe(1)
      }
      expect(cache.entries).toBeGreaterThan(3)
    }
  })

  it('takes 4 GiB at most, as offsets have 32 bits', () => {
    const cache = new Cache(2 ** 40)
    expect(cache.maxBytes).toBe(2 ** 32)
    put(cache, 'a', 9)
    expect(get(cache, 'a')).toBe(9)
  })

  it('does not keep an answer that would take most of it, nor the one it replaces', () => {
    const cache = new Cache(4096)
    put(cache, 'a', 1)
    put(cache, 'a', 2, { pad: 1000 })
    expect(get(cache, 'a')).toBeNull()
    expect(cache.entries).toBe(0)
  })

  it('forgets everything at a flush, and says how much that was', () => {
    const cache = new Cache(8192)
    for (let k = 0; k < 50; k++) put(cache, `n${k}`)
    const { entries } = cache
    expect(cache.flush()).toBe(entries)
    expect([cache.entries, filled(cache), get(cache, 'n49')]).toEqual([0, 0, null])
    put(cache, 'n49', 3)
    expect(get(cache, 'n49')).toBe(3)
  })

  it('forgets all types and variants of one name', () => {
    const cache = new Cache(64 * 1024)
    put(cache, 'a.example', 1)
    put(cache, 'a.example', 1, { type: Type.AAAA })
    put(cache, 'a.example', 1, { variant: 1 })
    put(cache, 'b.example', 1)
    put(cache, 'x.a.example', 1)
    expect(cache.flushName(wire('a.example'))).toBe(3)
    expect(cache.flushName(wire('a.example'))).toBe(0)
    expect([get(cache, 'a.example'), get(cache, 'b.example'), get(cache, 'x.a.example')]).toEqual([null, 1, 1])
    expect(cache.entries).toBe(2)
  })

  it('shows every answer once', () => {
    const cache = new Cache(8192)
    for (let k = 0; k < 60; k++) {
      put(cache, `n${k}`)
      put(cache, `n${k >> 1}`, 2)
    }
    const keys = [...cache.blocks()].map(({ store, block }) => {
      const at = store.keyAt(block)
      return Buffer.from(store.bytes.slice(at, at + store.keyLength(block))).toString('hex')
    })
    expect(keys.length).toBe(cache.entries)
    expect(new Set(keys).size).toBe(keys.length)
  })

  it('forgets that a prefetch was tried once there is a new answer', () => {
    const cache = new Cache(64 * 1024)
    const key = keyOf('a')
    put(cache, 'a')
    cache.store.mark(cache.find(weakHash(key), key, 0, key.length), StoredFlag.PREFETCHED)
    expect(cache.store.has(cache.find(weakHash(key), key, 0, key.length), StoredFlag.PREFETCHED)).toBe(true)
    put(cache, 'a')
    expect(cache.store.has(cache.find(weakHash(key), key, 0, key.length), StoredFlag.PREFETCHED)).toBe(false)
  })
})

type Step =
  | { kind: 'put'; name: number; type: number; address: number; pad: number }
  | { kind: 'find'; name: number; type: number }
  | { kind: 'flush' }
  | { kind: 'flushName'; name: number }

const name = fc.nat(60)
const type = fc.constantFrom(Type.A, Type.AAAA)
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 50,
    arbitrary: fc.record({ kind: fc.constant('put' as const), name, type, address: fc.nat(255), pad: fc.nat(500) }),
  },
  { weight: 50, arbitrary: fc.record({ kind: fc.constant('find' as const), name, type }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('flushName' as const), name }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('flush' as const) }) },
)

describe('cache beside a map', () => {
  it('never gives a wrong answer or one that was dropped, and keeps its bound', () => {
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 250, size: 'max' }),
        fc.integer({ min: 4096, max: 9000 }),
        (steps, maxBytes) => {
          const cache = new Cache(maxBytes)
          const model = new Map<string, number>()
          let stored = 0
          for (const one of steps) {
            if (one.kind === 'put') {
              put(cache, `host-${one.name}`, one.address, { type: one.type, pad: one.pad })
              model.set(`${one.name} ${one.type}`, one.address)
              stored++
            } else if (one.kind === 'find') {
              const got = get(cache, `host-${one.name}`, one.type)
              // It may have been evicted, but it must not be another's or an older one.
              if (got !== null && got !== model.get(`${one.name} ${one.type}`)) throw new Error(`got ${got}`)
            } else if (one.kind === 'flush') {
              cache.flush()
              model.clear()
            } else {
              cache.flushName(wire(`host-${one.name}`))
              for (const t of [Type.A, Type.AAAA]) model.delete(`${one.name} ${t}`)
            }
            if (cache.bytes > cache.maxBytes) throw new Error(`${cache.bytes} bytes`)
            if (cache.entries > model.size || cache.evictions > stored) throw new Error(`${cache.entries} entries`)
          }
          expect([...cache.blocks()].length).toBe(cache.entries)
        },
      ),
      { numRuns: 60, interruptAfterTimeLimit: 10_000 },
    )
  })
})
