/** Serialized name tables as nobody writes them: what protobuf allows, what it forbids, and lies about lengths. */
import type { Random } from '../simulation/random.ts'

const LABELS = ['a', 'b', 'A', 'shop', 'ops', 'svc', 'cluster', 'local', 'x', 'web', 'é', 'B'.repeat(63)]
const ENDS = [
  '',
  '.',
  '.shop.svc.cluster.local',
  '.ops.svc.cluster.local',
  '.SVC.cluster.local',
  '.svc.cluster.local.',
  '.x',
  '.example.org',
]
const ODD_HOSTS = [
  '',
  '.',
  '*',
  '*.',
  'a..b',
  '.a',
  'a\\.b',
  'a\\',
  '\\999',
  '\\000.x',
  '\uFEFFa\\.b',
  'a b',
  'a\nb..c',
  '\0',
  '__proto__',
  'constructor',
  'toString',
  'c'.repeat(64),
  `${'d'.repeat(50)}.`.repeat(5),
  `${'e'.repeat(61)}.`.repeat(4).slice(0, 253),
]
const IPS = [
  '192.0.2.1',
  '192.0.2.2',
  '10.0.0.3',
  '10.0.0.400',
  '10.0.0.0/8',
  'fd00::1',
  'FD00:0::1',
  '::',
  '::ffff:192.0.2.1',
  '::1.2.3.4',
  '1.2.3',
  '01.2.3.4',
  'fe80::1%eth0',
  '',
  ' 1.2.3.4',
  '1:2:3:4:5:6:7:8:9',
]
const REGISTRIES = ['Kubernetes', 'Kubernetes', 'External', '', 'kubernetes']
const NAMESPACES = ['shop', 'Shop', 'ops', '', 'x', 'shop.svc', 'a..']

/** What `table` may do besides what istiod does. */
interface Oddity {
  /** Chance of each odd thing where it could be. */
  chance: number
}

/** Bytes of a table of a few hosts: a quarter of all as istiod writes them, the others with something odd. */
export function oddTable(random: Random): Uint8Array {
  const oddity: Oddity = {
    chance: random.weighted([
      [1, 0],
      [4, 0.015],
      [1, 0.1],
    ] as const),
  }
  const parts: Uint8Array[] = []
  const hosts: string[] = []
  const count = random.chance(0.02) ? random.below(60) : 1 + random.below(5)
  for (let k = 0; k < count; k++) {
    const host = hosts.length > 0 && random.chance(0.1) ? random.pick(hosts) : hostName(random, oddity)
    hosts.push(random.chance(0.1) ? host.toUpperCase() : host)
    parts.push(...unknownFields(random, oddity), lengthDelimited(random, oddity, 1, entry(random, oddity, host)))
  }
  parts.push(...unknownFields(random, oddity))
  return Buffer.concat(parts)
}

/** A table of one thing, very often: hosts, addresses, names, unknown fields. */
export function largeTable(random: Random): Uint8Array {
  const none: Oddity = { chance: 0 }
  const times = 500 + random.below(8000)
  const piece = random.weighted<() => Uint8Array>([
    [3, () => lengthDelimited(random, none, 1, entry(random, { chance: 0.1 }, hostName(random, none)))],
    [2, () => Uint8Array.of(0x0a, 0)],
    [1, () => varintField(9, [1])],
    [1, () => Uint8Array.of(0x0a, 4, 0x0a, 0, 0x12, 0)],
  ])()
  const body = Buffer.concat(Array.from({ length: times }, () => piece))
  if (random.chance(0.5)) return body
  // The same inside one host.
  const field = random.pick([1, 2, 3, 4, 5])
  const text = Buffer.from(random.pick([...IPS, ...LABELS]))
  const many = Array.from({ length: times }, (_, k) =>
    lengthDelimited(
      random,
      none,
      field,
      random.chance(0.5) ? text : Buffer.from(`10.${k >> 16}.${(k >> 8) & 255}.${k & 255}`),
    ),
  )
  const info = Buffer.concat([lengthDelimited(random, none, 1, Buffer.from('192.0.2.1')), ...many])
  const host = lengthDelimited(random, none, 1, Buffer.from(hostName(random, none)))
  return Buffer.concat([
    lengthDelimited(random, none, 1, Buffer.concat([host, lengthDelimited(random, none, 2, info)])),
    random.chance(0.5) ? body : new Uint8Array(0),
  ])
}

function hostName(random: Random, oddity: Oddity): string {
  if (random.chance(0.02 + oddity.chance)) return random.pick(ODD_HOSTS)
  const labels = Array.from({ length: 1 + random.below(3) }, () => random.pick(LABELS))
  return `${random.chance(0.15) ? '*.' : ''}${labels.join('.')}${random.pick(ENDS)}`
}

function entry(random: Random, oddity: Oddity, host: string): Uint8Array {
  const key = (): Uint8Array => lengthDelimited(random, oddity, 1, textBytes(random, oddity, host))
  const value = (): Uint8Array => lengthDelimited(random, oddity, 2, nameInfo(random, oddity, host))
  const fields = [key(), value(), ...unknownFields(random, oddity)]
  if (random.chance(oddity.chance)) fields.push(key())
  if (random.chance(oddity.chance)) fields.push(value())
  if (random.chance(oddity.chance)) fields.splice(random.below(fields.length), 1)
  return Buffer.concat(random.chance(oddity.chance) ? fields.toReversed() : fields)
}

function nameInfo(random: Random, oddity: Oddity, host: string): Uint8Array {
  const fields: Uint8Array[] = []
  const add = (field: number, text: string): void => {
    fields.push(lengthDelimited(random, oddity, field, textBytes(random, oddity, text)))
    fields.push(...unknownFields(random, oddity))
  }
  const ips = random.chance(0.05) ? random.below(40) : 1 + random.below(3)
  for (let k = 0; k < ips; k++)
    add(1, random.chance(0.3) ? `10.1.${random.below(256)}.${random.below(256)}` : random.pick(IPS))
  add(2, random.pick(REGISTRIES))
  if (random.chance(0.7)) add(3, random.chance(0.7) ? host.split('.')[0]! : random.pick(LABELS))
  if (random.chance(0.7)) add(4, random.chance(0.6) ? (host.split('.')[1] ?? '') : random.pick(NAMESPACES))
  if (random.chance(0.1)) add(5, hostName(random, oddity))
  if (random.chance(oddity.chance)) add(1 + random.below(5), random.pick(IPS))
  if (random.chance(oddity.chance)) fields.sort(() => random.below(3) - 1)
  return Buffer.concat(fields)
}

function textBytes(random: Random, oddity: Oddity, text: string): Uint8Array {
  const bytes = Buffer.from(text)
  if (!random.chance(oddity.chance)) return bytes
  return Buffer.concat([
    bytes,
    random.pick([Buffer.of(0xff), Buffer.of(0xed, 0xa0, 0x80), Buffer.of(0), Buffer.of(0xc3)]),
  ])
}

function lengthDelimited(random: Random, oddity: Oddity, field: number, content: Uint8Array): Uint8Array {
  const isOdd = random.chance(oddity.chance)
  const extra = isOdd ? random.below(11) : 0
  const lie = isOdd && random.chance(0.2) ? random.pick([-1, 1, 2, 100, 2 ** 31, 2 ** 32]) : 0
  const type = isOdd && random.chance(0.1) ? random.below(8) : 2
  return Buffer.concat([
    varint(field * 8 + type, isOdd && random.chance(0.3) ? extra : 0),
    varint(Math.max(0, content.length + lie), isOdd && random.chance(0.5) ? extra : 0),
    content,
  ])
}

/** None as a rule; else a field that nds.proto does not have, of any wire type. */
function unknownFields(random: Random, oddity: Oddity): Uint8Array[] {
  if (!random.chance(oddity.chance)) return []
  const field = random.pick([0, 1, 2, 6, 15, 16, 2047, 536_870_911, 536_870_912])
  switch (random.below(9)) {
    case 0:
      return [varintField(field, [random.below(128)])]
    case 1:
      return [varintField(field, Array.from({ length: random.below(12) }, () => 0x80 | random.below(128)).concat(1))]
    case 2:
      return [Buffer.concat([varint(field * 8 + 1), Buffer.alloc(random.chance(0.9) ? 8 : 5)])]
    case 3:
      return [Buffer.concat([varint(field * 8 + 5), Buffer.alloc(random.chance(0.9) ? 4 : 3)])]
    case 4:
      return [Buffer.concat([varint(field * 8 + 2), varint(3), Buffer.from('abc')])]
    case 5:
      return [group(random, field, random.below(4))]
    case 6:
      return [group(random, field, random.below(200))]
    case 7:
      return [varint(field * 8 + 4)]
    default:
      return [varint(field * 8 + 6 + random.below(2))]
  }
}

function group(random: Random, field: number, depth: number): Uint8Array {
  const end = random.chance(0.9) ? field : field + 1
  const inner = depth > 0 ? group(random, field, depth - 1) : varintField(1, [1])
  return Buffer.concat([varint(field * 8 + 3), inner, varint(end * 8 + 4)])
}

function varintField(field: number, content: number[]): Uint8Array {
  return Buffer.concat([varint(field * 8), Uint8Array.from(content)])
}

/** A varint with so many bytes more than it needs. */
function varint(value: number, extra: number = 0): Uint8Array {
  const bytes: number[] = []
  let left = value
  do {
    bytes.push((left % 128) | 0x80)
    left = Math.floor(left / 128)
  } while (left > 0)
  for (let k = 0; k < extra; k++) bytes.push(0x80)
  bytes[bytes.length - 1]! &= 0x7f
  return Uint8Array.from(bytes)
}
