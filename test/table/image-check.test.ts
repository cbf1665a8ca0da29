import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { verifyImage } from '../../src/table/image-check.ts'
import {
  AT_ADDRESS_INDEX,
  AT_ADDRESS_SLOTS,
  AT_CHECKSUM,
  AT_FORMAT,
  AT_NAME_INDEX,
  AT_NAME_SLOTS,
  AT_WILDCARD_INDEX,
  AT_WILDCARD_SLOTS,
  checksum,
  FLAG_ALIAS,
  HEADER_BYTES,
  KEY_MASK,
} from '../../src/table/image-layout.ts'
import { listHosts } from '../../src/table/image-listing.ts'
import { Image, imageBytes } from '../../src/table/image.ts'
import type { NameTable } from '../../src/table/nds.ts'
import { nameTable } from './arbitraries.ts'
import { find, findAddress, imageOf, info, service } from './compiled.ts'

const TABLE: NameTable = new Map([
  service('reviews', 'shop', ['192.0.2.1', 'fd00::1']),
  service('redis-0.redis', 'shop', ['192.0.2.2']),
  [
    'aliased.shop.svc.cluster.local',
    info({ registry: 'Kubernetes', shortname: 'other', namespace: 'shop', altHosts: ['aliased.global'] }),
  ],
  ['*.apps.example', info({ ips: ['192.0.2.3'] })],
  ['www.example', info({ ips: ['fd00::2'] })],
])

function copy(): Buffer {
  return Buffer.from(imageBytes(imageOf(TABLE)))
}

function words(bytes: Uint8Array): Int32Array {
  return new Int32Array(bytes.buffer, bytes.byteOffset, bytes.length / 4)
}

function sealed(bytes: Uint8Array): Uint8Array {
  words(bytes)[AT_CHECKSUM] = checksum(words(bytes), bytes.length / 4)
  return bytes
}

/** Offsets of the alias records that the name index refers to. */
function* aliasesOf(all: Int32Array): Generator<number> {
  const bytes = new Uint8Array(all.buffer, all.byteOffset)
  const from = all[AT_NAME_INDEX]! >> 2
  for (let slot = from; slot < from + all[AT_NAME_SLOTS]! * 2; slot += 2) {
    const reference = all[slot + 1]!
    if (reference !== 0 && (reference & KEY_MASK) === 0 && (bytes[reference]! & FLAG_ALIAS) !== 0) yield reference
  }
}

/** Looks up everything that could be in the table and some that could not. */
function exercise(bytes: Uint8Array): void {
  const buffer = new SharedArrayBuffer(bytes.length)
  new Uint8Array(buffer).set(bytes)
  const image = new Image(buffer)
  const inside = (at: number, length: number): void => {
    expect(at).toBeGreaterThanOrEqual(HEADER_BYTES)
    expect(at + length).toBeLessThanOrEqual(bytes.length)
  }
  const names = [
    ...TABLE.keys(),
    'reviews',
    'reviews.shop',
    'reviews.shop.svc',
    'other',
    'aliased.global',
    'a.b.apps.example',
    'nothing',
  ]
  for (const name of names.flatMap((each) => [each, `${each}.shop.svc.cluster.local`, `x.${each}`])) {
    if (find(image, name) === null) continue
    inside(image.ownerAt, image.ownerLength)
    inside(image.v4At, image.v4Count * 4)
    inside(image.v6At, image.v6Count * 16)
  }
  for (const address of ['c0000201', 'c0000202', 'c0000203', 'c0000209', 'fd000000000000000000000000000001']) {
    if (findAddress(image, address) !== null) inside(image.ownerAt, image.ownerLength)
  }
  for (const host of listHosts(image)) expect(host.host.length).toBeGreaterThan(0)
}

test('an image is accepted wherever its bytes lie', () => {
  const bytes = copy()
  const shifted = Buffer.alloc(bytes.length + 1)
  shifted.set(bytes, 1)
  expect(verifyImage(bytes)).toBeNull()
  expect(verifyImage(shifted.subarray(1))).toBeNull()
  exercise(bytes)
})

test('an image of no host is accepted', () => {
  expect(verifyImage(imageBytes(imageOf(new Map())))).toBeNull()
})

test('what is no image, cut off, of another format or damaged is refused with the reason', () => {
  const bytes = copy()
  expect(verifyImage(new Uint8Array(0))).toMatch(/0 bytes/)
  expect(verifyImage(Buffer.from('{"table": {}}'.repeat(100)))).toMatch(/begins otherwise/)
  expect(verifyImage(bytes.subarray(0, bytes.length - 4))).toMatch(/image of \d+ bytes has \d+/)
  expect(verifyImage(Buffer.concat([bytes, Buffer.alloc(4)]))).toMatch(/image of/)
  const later = copy()
  words(later)[AT_FORMAT] = 99
  expect(verifyImage(later)).toMatch(/format 99/)
})

test('every flipped bit is noticed', () => {
  fc.assert(
    fc.property(fc.nat(), fc.nat(7), (at, bit) => {
      const bytes = copy()
      bytes[at % bytes.length]! ^= 1 << bit
      expect(verifyImage(bytes)).not.toBeNull()
    }),
    { numRuns: 500 },
  )
})

test('damage under a right checksum is refused or does no harm', () => {
  const damage = fc.array(fc.tuple(fc.nat(), fc.oneof(fc.constantFrom(0, 1, 4, 63, 64, 127, 128, 255), fc.nat(255))), {
    minLength: 1,
    maxLength: 4,
  })
  const original = copy()
  fc.assert(
    fc.property(damage, (changes) => {
      const bytes = Buffer.from(original)
      for (const [at, value] of changes) bytes[at % bytes.length] = value
      if (verifyImage(sealed(bytes)) === null) exercise(bytes)
    }),
    { numRuns: 5000 },
  )
})

test('each word of header and indexes set to an odd number is refused or does no harm', () => {
  const original = copy()
  for (let at = 4; at < original.length / 4; at++) {
    for (const value of [0, 1, -1, 2, 0x7fffffff, -0x80000000, words(original)[at]! + 4, words(original)[at]! - 1]) {
      const bytes = Buffer.from(original)
      words(bytes)[at] = value
      if (verifyImage(sealed(bytes)) === null) exercise(bytes)
    }
  }
})

test('an index without an empty slot is refused: a look-up would go round for ever', () => {
  for (const [at, slots, keyWord] of [
    [AT_NAME_INDEX, AT_NAME_SLOTS, 1],
    [AT_WILDCARD_INDEX, AT_WILDCARD_SLOTS, 1],
    [AT_ADDRESS_INDEX, AT_ADDRESS_SLOTS, 0],
  ] as const) {
    const bytes = copy()
    const all = words(bytes)
    const from = all[at]! >> 2
    const to = from + all[slots]! * 2
    const used = Array.from({ length: all[slots]! }, (_, k) => from + k * 2).find((slot) => all[slot + keyWord] !== 0)!
    for (let slot = from; slot < to; slot += 2) if (all[slot + keyWord] === 0) all.copyWithin(slot, used, used + 2)
    expect(verifyImage(sealed(bytes))).toBe('image damaged: an index has no empty slot')
  }
})

test('an address of what is no host is refused', () => {
  const bytes = copy()
  const all = words(bytes)
  const alias = [...aliasesOf(all)][0]!
  const from = all[AT_ADDRESS_INDEX]! >> 2
  let slot = from
  while (all[slot] === 0) slot += 2
  all[slot] = alias
  expect(verifyImage(sealed(bytes))).toBe(`image damaged: index entry at byte ${slot * 4}`)
})

test('every image that is compiled is accepted', () => {
  fc.assert(
    fc.property(nameTable, (table) => {
      table.set('one.example', info())
      expect(verifyImage(imageBytes(imageOf(table)))).toBeNull()
    }),
    { numRuns: 100 },
  )
})
