/**
 * Images: the last-known-good file, damaged in every way. Without a right checksum none is accepted; under a right one a
 * forged image may answer what it likes, but must not make anybody read outside it, probe for ever, or throw.
 */
import { TableCompiler } from '../../src/table/compile.ts'
import type { TableIdentity } from '../../src/table/identity.ts'
import { type Image, imageBytes } from '../../src/table/image.ts'
import { verifyImage } from '../../src/table/image-check.ts'
import { AT_BYTES, AT_CHECKSUM, HEADER_BYTES, HEADER_WORDS } from '../../src/table/image-layout.ts'
import { listHosts } from '../../src/table/image-listing.ts'
import { encodeNameTable, type NameInfo, type NameTable } from '../../src/table/nds.ts'
import { Random } from '../simulation/random.ts'
import { find, findAddress } from '../table/compiled.ts'
import { labelsOf, wireOf } from '../table/reference-table.ts'
import { Asker } from './inputs-ask.ts'
import { mutated, type Stock } from './inputs-mutator.ts'
import { decodeByReflection } from './inputs-nds-oracle.ts'
import { oddTable } from './inputs-nds-bytes.ts'
import { type FuzzTarget, must, mustBeOneLine, mustEqual, templateOf } from './inputs-target.ts'

const WHO: TableIdentity = {
  namespace: 'shop',
  domain: 'shop.svc.cluster.local',
  searchDomain: 'shop.svc.cluster.local',
}

const TABLE: NameTable = new Map([
  ['reviews.shop.svc.cluster.local', info('reviews', ['192.0.2.1', 'fd00::1'])],
  ['redis-0.redis.shop.svc.cluster.local', info('redis-0.redis', ['192.0.2.2'])],
  ['aliased.shop.svc.cluster.local', { ...info('other', ['192.0.2.4']), altHosts: ['aliased.global'] }],
  ['*.apps.example', { ...info('', ['192.0.2.3']), registry: 'External', namespace: '' }],
])
/** What is asked of an image that was accepted, whatever is in it. */
const QUESTIONS = [
  ...TABLE.keys(),
  'reviews',
  'reviews.shop',
  'reviews.shop.svc',
  'other',
  'aliased.global',
  'a.b.apps.example',
  'x',
]
  .flatMap((name) => [name, `${name}.shop.svc.cluster.local`, `zz.${name}`])
  .map((name) => labelsOf(name)!)
const ADDRESSES = ['c0000201', 'c0000202', 'c0000209', 'fd000000000000000000000000000001']
const ODD_WORDS = [0, 1, 2, 3, 4, 7, -1, -4, 255, 256, 0x7fffffff, -0x80000000, 0x40000000]

function info(shortname: string, ips: string[]): NameInfo {
  return { ips, registry: 'Kubernetes', shortname, namespace: 'shop', altHosts: [] }
}

/** Images of a few tables: one that everybody knows, and random ones. */
export function originalImages(seed: number, count: number): Uint8Array[] {
  const random = new Random(seed)
  const images = [imageOf(encodeNameTable(TABLE))!]
  while (images.length < count) {
    const image = imageOf(oddTable(random))
    if (image !== null && image.length < 8192) images.push(image)
  }
  return images
}

function imageOf(table: Uint8Array): Uint8Array | null {
  if (decodeByReflection(table) === null) return null
  const result = new TableCompiler({ identity: WHO, seed: 7, now: () => 1000 }).compile(table, 'v')
  return result.kind === 'image' ? Uint8Array.from(imageBytes(result.image)) : null
}

/** The target `image`. */
export class ImageTarget implements FuzzTarget {
  readonly name = 'image'
  readonly #stock: Stock
  readonly #asker: Asker = new Asker()
  readonly #next: Uint8Array = encodeNameTable(TABLE)

  constructor(seeds: readonly Uint8Array[], seed: number) {
    this.#stock = { seeds: [...originalImages(seed, 24), ...seeds], tokens: [Buffer.from('BYNT')], maxBytes: 16_384 }
  }

  next(random: Random, pool: readonly Uint8Array[]): Uint8Array {
    if (random.chance(0.3)) return mutated(random, this.#stock, pool)
    const bytes = Uint8Array.from(random.pick(pool.length > 0 && random.chance(0.3) ? pool : this.#stock.seeds))
    const changes = random.chance(0.6) ? 1 : 1 + random.below(4)
    for (let k = 0; k < changes; k++) damage(random, bytes)
    if (random.chance(0.7)) seal(bytes)
    return bytes
  }

  check(input: Uint8Array): string {
    const reason = verifyImage(input)
    if (reason !== null) mustBeOneLine(reason, 'what is wrong with an image')
    const isSealed = isWholeImage(input)
    if (reason === null) must(isSealed, 'an image with a wrong checksum is accepted')
    const compiler = new TableCompiler({ identity: WHO, seed: 8, now: () => 2000 })
    const result = compiler.load(input)
    if (result.kind !== 'image') {
      must(compiler.held === null, 'a refused image is held')
      must(result.kind === 'refused', 'neither accepted nor refused', result.kind)
      mustBeOneLine(result.reason, 'reason of a refusal')
      return `${isSealed ? 'sealed, ' : ''}${templateOf(result.reason)}`
    }
    must(reason === null, 'an image that is no good is loaded', reason)
    const image = compiler.held!
    this.#exercise(image)
    // Whatever it was, the first table takes its place.
    const next = compiler.compile(this.#next, 'next')
    must(next.kind === 'image', 'no table is accepted after an image from disk', next)
    mustEqual(
      find(compiler.held!, ['reviews'])?.v4,
      ['c0000201'],
      'a table after an image from disk has other addresses',
    )
    return image.hosts === TABLE.size ? 'accepted' : 'accepted, of other hosts'
  }

  /** Looks up everything that could be in the image and some that could not. */
  #exercise(image: Image): void {
    const inside = (at: number, length: number): void =>
      must(at >= HEADER_BYTES && length >= 0 && at + length <= image.byteLength, 'a look-up leads out of the image')
    const names = [...QUESTIONS]
    for (const { host, altHosts } of listHosts(image)) {
      for (const name of [host, ...altHosts]) {
        const labels = labelsOf(name)
        must(labels !== null, 'the listing has what is no name', name)
        if (names.length < 60) names.push(labels)
      }
    }
    this.#asker.adopt(image)
    for (const labels of names) {
      const wire = wireOf(labels)
      if (find(image, labels) === null) continue
      inside(image.ownerAt, image.ownerLength)
      inside(image.v4At, image.v4Count * 4)
      inside(image.v6At, image.v6Count * 16)
      must(this.#asker.addressesOf(wire) !== null, 'a name that was found is not answered', labels)
    }
    for (const address of ADDRESSES) if (findAddress(image, address) !== null) inside(image.ownerAt, image.ownerLength)
    must(image.version.length + image.namespace.length + image.domain.length < image.byteLength, 'strings are too long')
  }
}

function damage(random: Random, bytes: Uint8Array): void {
  if (bytes.length < HEADER_BYTES) return
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const inHeader = random.chance(0.3)
  const at = inHeader ? random.below(HEADER_WORDS) * 4 : random.below(bytes.length >> 2) * 4
  switch (random.below(6)) {
    case 0:
      bytes[at + random.below(4)]! ^= 1 << random.below(8)
      break
    case 1:
      bytes[random.below(bytes.length)] = random.below(256)
      break
    case 2:
      view.setInt32(at, random.pick(ODD_WORDS), true)
      break
    case 3:
      view.setInt32(at, view.getInt32(at, true) + random.pick([-8, -4, -1, 1, 4, 8]), true)
      break
    case 4:
      view.setInt32(at, view.getInt32(random.below(bytes.length >> 2) * 4, true), true)
      break
    default:
      bytes.copyWithin(at, random.below(bytes.length), random.below(bytes.length))
  }
}

function wordsOf(bytes: Uint8Array): Int32Array {
  return new Int32Array(Uint8Array.from(bytes).buffer, 0, bytes.length >> 2)
}

/** Makes length and checksum right. */
function seal(bytes: Uint8Array): void {
  if (bytes.length < HEADER_BYTES || bytes.length % 4 !== 0) return
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  view.setInt32(AT_BYTES * 4, bytes.length, true)
  view.setInt32(AT_CHECKSUM * 4, plainChecksum(wordsOf(bytes)), true)
}

function isWholeImage(bytes: Uint8Array): boolean {
  if (bytes.length < HEADER_BYTES || bytes.length % 4 !== 0) return false
  const words = wordsOf(bytes)
  return words[AT_BYTES] === bytes.length && words[AT_CHECKSUM] === plainChecksum(words)
}

/** The checksum of image-layout.ts written down once more, a word at a time. */
function plainChecksum(words: Int32Array): number {
  const lanes = [1, 2, 3, 4]
  const factors = [0x9e3779b1, 0x85ebca6b, 0xc2b2ae35, 0x27d4eb2f]
  const first = AT_CHECKSUM + 1
  const whole = (words.length - first) & ~3
  for (let k = 0; first + k < words.length; k++) {
    const lane = k < whole ? k & 3 : 0
    lanes[lane] = Math.imul(lanes[lane]! ^ words[first + k]!, factors[lane]!)
  }
  const [a = 0, b = 0, c = 0, d = 0] = lanes
  let sum = a ^ (a >>> 15)
  sum = Math.imul(sum, 0x2c1b3c6d) ^ b ^ (b >>> 13)
  sum = Math.imul(sum, 0x297a2d39) ^ c ^ (c >>> 16)
  sum = Math.imul(sum, 0x165667b1) ^ d ^ (d >>> 14)
  return sum ^ (sum >>> 16)
}
