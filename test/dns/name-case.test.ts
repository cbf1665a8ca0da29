import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { hasMixedCase, mixCase } from '../../src/dns/name-case.ts'
import { nameToText } from '../../src/dns/name.ts'
import { bytes, wire } from './messages.ts'

const NAME = wire('www.xn--bcher-kva-1234567890.a-long-name.with-many-letters.example')

function mixed(seed: number, name: Uint8Array = NAME): Uint8Array {
  const out = new Uint8Array(name.length + 2)
  mixCase(bytes(1, name), 1, name.length, seed, out, 2)
  return out.subarray(2)
}

test('only the case of letters changes', () => {
  fc.assert(
    fc.property(fc.integer(), (seed) => {
      expect(nameToText(mixed(seed)).toLowerCase()).toBe(nameToText(NAME))
    }),
  )
})

test('each letter is a capital about half the time, whatever the others are', () => {
  const letters = nameToText(NAME).replace(/[^a-z]/g, '').length
  const capitals = new Set<string>()
  let count = 0
  for (let seed = 1; seed <= 2000; seed++) {
    const text = nameToText(mixed(seed * 2 + 1))
    capitals.add(text)
    count += text.replace(/[^A-Z]/g, '').length
  }
  expect(capitals.size).toBe(2000)
  expect(count / 2000 / letters).toBeGreaterThan(0.45)
  expect(count / 2000 / letters).toBeLessThan(0.55)
})

test('a name in another mixture is told apart', () => {
  const name = mixed(77)
  const same = (other: Uint8Array): boolean => hasMixedCase(bytes(0, other), 1, bytes(0, NAME), 1, NAME.length, 77)
  expect(same(name)).toBe(true)
  expect([same(NAME), same(mixed(78))]).toEqual([false, false])
  for (let i = 0; i < name.length; i++) {
    if (!/[a-z]/i.test(String.fromCharCode(name[i]!))) continue
    const other = name.slice()
    other[i]! ^= 0x20
    expect(same(other)).toBe(false)
  }
})
