import * as fc from 'fast-check'
import protobuf from 'protobufjs/minimal.js'
import { describe, expect, test } from 'vitest'
import { listHosts } from '../../src/table/image-listing.ts'
import { imageBytes } from '../../src/table/image.ts'
import { verifyImage } from '../../src/table/image-check.ts'
import { encodeNameTable, type NameInfo, type NameTable } from '../../src/table/nds.ts'
import { compiled, find, imageOf, info, newCompiler, service, SHOP } from './compiled.ts'

const TABLE: NameTable = new Map([
  service('reviews', 'shop', ['192.0.2.1']),
  service('api', 'ops', ['192.0.2.2', 'fd00::2']),
  ['*.apps.example', info()],
])
const BYTES = encodeNameTable(TABLE)

function services(count: number): NameTable {
  return new Map(Array.from({ length: count }, (_, i) => service(`s${i}`, 'shop', ['192.0.2.1'])))
}

function field(tag: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([protobuf.Writer.create().uint32(tag).uint32(content.length).finish(), content])
}

function text(tag: number, content: string): Uint8Array {
  return field(tag, Buffer.from(content))
}

describe('an equal table', () => {
  test('is noticed, in whatever order it comes', () => {
    const compiler = newCompiler()
    const { generation } = compiled(compiler, TABLE)
    expect(compiler.compile(BYTES, '2')).toEqual({ kind: 'unchanged' })
    expect(compiler.compile(encodeNameTable(new Map([...TABLE].toReversed())), '3')).toEqual({ kind: 'unchanged' })
    expect(compiler.held?.generation).toBe(generation)
  })

  test.each([
    ['an address', new Map([...TABLE, service('reviews', 'shop', ['192.0.2.9'])])],
    ['a host more', new Map([...TABLE, ['x.example', info()]])],
    ['a host less', new Map([...TABLE].slice(1))],
    [
      'two hosts that swapped addresses',
      new Map([...TABLE, service('reviews', 'shop', ['192.0.2.2', 'fd00::2']), service('api', 'ops', ['192.0.2.1'])]),
    ],
  ])('differs by %s', (_, table) => {
    const compiler = newCompiler()
    compiled(compiler, TABLE)
    expect(compiler.compile(encodeNameTable(table), '2').kind).toBe('image')
    expect(compiler.compile(BYTES, '3').kind).toBe('image')
  })

  test('is compiled again after a change of identity', () => {
    const compiler = newCompiler()
    compiled(compiler, TABLE)
    compiler.setIdentity({ ...SHOP, namespace: 'ops' })
    expect(find(compiled(compiler, TABLE).image, 'api')?.owner[0]).toBe('api')
    expect(compiler.compile(BYTES, '').kind).toBe('unchanged')
  })
})

describe('a table that is refused leaves the one held', () => {
  test.each([
    ['cut off', BYTES.subarray(0, BYTES.length - 1), /malformed protobuf at byte \d+ of \d+/],
    ['text', Buffer.from('not found'), /malformed/],
    ['cut off within a host', Buffer.from([0x0a, 4, 0x0a, 9, 0x61, 0x62]), /malformed/],
    ['cut off within an address', Buffer.from([0x0a, 7, 0x0a, 1, 0x61, 0x12, 2, 0x0a, 9]), /malformed/],
    [
      'without a usable host',
      encodeNameTable(new Map([['a.example', info({ ips: ['nonsense'] })]])),
      /none of 1 hosts is usable: "nonsense" is not an address/,
    ],
  ])('because it is %s', (_, bytes, reason) => {
    const compiler = newCompiler()
    const { image } = compiled(compiler, TABLE)
    const result = compiler.compile(bytes, '2')
    expect(result.kind === 'refused' && result.reason).toMatch(reason)
    expect(compiler.held).toBe(image)
    expect(compiler.compile(BYTES, '3').kind).toBe('unchanged')
    // The slot that was being written is free again.
    for (let i = 0; i < 5; i++) expect(compiler.compile(bytes, '').kind).toBe('refused')
  })

  test('because it is too large, as bytes or as an image', () => {
    const compiler = newCompiler({ maxBytes: 4096 })
    expect(compiler.compile(encodeNameTable(services(10)), '1').kind).toBe('image')
    expect(compiler.compile(encodeNameTable(services(50)), '2')).toMatchObject({
      kind: 'refused',
      reason: expect.stringMatching(/too large: \d+ bytes, the limit is 4096/),
    })
    expect(compiler.compile(encodeNameTable(services(500)), '3').kind).toBe('refused')
  })
})

describe('a table that grows in the making', () => {
  test('is refused once what is written is too large: addresses', () => {
    const ips = Array.from({ length: 5000 }, (_, k) => `::${(k + 1).toString(16)}`)
    const bytes = encodeNameTable(new Map(Array.from({ length: 60 }, (_, k) => [`h${k}.example`, info({ ips })])))
    const compiler = newCompiler({ maxBytes: bytes.length })
    expect(compiler.compile(bytes, '')).toMatchObject({ kind: 'refused', reason: expect.stringMatching(/too large/) })
    expect([compiler.held, compiled(compiler, TABLE).hosts]).toEqual([null, 3])
  })

  test('is refused once what is written is too large: alternate names', () => {
    const altHosts = Array.from({ length: 300_000 }, () => 'a')
    const [host, fields] = service('a', 'shop', ['192.0.2.1'])
    const bytes = encodeNameTable(new Map([[host, { ...fields, altHosts }]]))
    const compiler = newCompiler({ maxBytes: bytes.length })
    expect(compiler.compile(bytes, '')).toMatchObject({ kind: 'refused', reason: expect.stringMatching(/too large/) })
    expect([compiler.held, compiled(compiler, TABLE).hosts]).toEqual([null, 3])
  })

  test('gets more room for its indexes where its records filled the slot', () => {
    const hosts = Array.from({ length: 20_000 }, (_, k): [string, NameInfo] => [
      `h${k}`,
      info({ ips: [`1.0.${k >> 8}.${k & 255}`], registry: '' }),
    ])
    const bytes = encodeNameTable(new Map(hosts))
    const { image } = compiled(newCompiler(), new Map(hosts))
    expect(image.byteLength).toBeGreaterThan(bytes.length * 1.5 + 65_536)
    for (const k of [0, 7, 19_999]) {
      expect(find(image, `h${k}`)?.v4).toEqual([Buffer.of(1, 0, k >> 8, k & 255).toString('hex')])
    }
    expect(verifyImage(imageBytes(image))).toBeNull()
  })
})

test('a table may be empty', () => {
  const compiler = newCompiler()
  compiled(compiler, TABLE)
  expect(compiled(compiler, new Map()).hosts).toBe(0)
  expect(find(compiler.held!, 'reviews')).toBeNull()
})

test('what is left out is counted, and one of it named', () => {
  const table: NameTable = new Map([
    ...TABLE,
    ['a..b', info()],
    ['half.example', info({ ips: ['10.0.0.400', '192.0.2.7'] })],
  ])
  expect(compiled(newCompiler(), table)).toMatchObject({
    hosts: 4,
    skippedHosts: 1,
    skippedAddresses: 1,
    firstSkipped: 'host "a..b" is not a domain name',
  })
})

test('the header tells version, time and identity', () => {
  const { image, bytes } = compiled(newCompiler({ now: () => 1234.5 }), TABLE, 'v7 ünïcode')
  expect(image).toMatchObject({
    version: 'v7 ünïcode',
    timeMs: 1234.5,
    namespace: 'shop',
    domain: 'shop.svc.cluster.local',
    hosts: 3,
    hasWildcards: true,
    byteLength: bytes,
  })
  expect(compiled(newCompiler(), new Map([['a.example', info()]]), 'x'.repeat(10_000)).image.version).toBe(
    'x'.repeat(255),
  )
})

test('a table larger than its slot grows it: many addresses in few bytes', () => {
  const ips = Array.from({ length: 40_000 }, (_, i) => `${(i + 1).toString(16)}::`)
  const table: NameTable = new Map([['a.example', info({ ips })], ...TABLE])
  const { image } = compiled(newCompiler(), table)
  expect(find(image, 'a.example')?.v6.length).toBe(40_000)
  expect(find(image, 'reviews')).not.toBeNull()
})

test('fields in another order, unknown ones and hosts sent twice are read as protobuf says', () => {
  const unknown = Buffer.of(0x38, 0x96, 0x01, 0x3d, 1, 2, 3, 4, 0x39, 1, 2, 3, 4, 5, 6, 7, 8)
  const entry = (ip: string): Uint8Array => {
    const value = Buffer.concat([
      unknown,
      text(0x22, 'shop'),
      text(0x12, 'Kubernetes'),
      text(0x0a, ip),
      text(0x1a, 'a'),
      text(0x3a, 'new'),
    ])
    return field(0x0a, Buffer.concat([field(0x12, value), unknown, text(0x0a, 'a.shop.svc.cluster.local')]))
  }
  const compiler = newCompiler()
  for (const [first, last, address] of [
    ['192.0.2.1', '192.0.2.2', 'c0000202'],
    ['192.0.2.2', '192.0.2.1', 'c0000201'],
  ] as const) {
    const result = compiler.compile(
      Buffer.concat([unknown, entry(first), text(0x12, 'other'), entry(last), unknown]),
      '',
    )
    if (result.kind !== 'image') throw new Error(result.kind)
    expect(find(result.image, 'a')?.v4).toEqual([address])
    expect([result.hosts, result.skippedHosts]).toEqual([1, 1])
  }
})

test('of equal hosts the last counts whatever it is, as in any protobuf map', () => {
  const first = encodeNameTable(new Map([service('a', 'shop', ['192.0.2.1'])]))
  const last = encodeNameTable(new Map([['a.shop.svc.cluster.local', info({ ips: ['192.0.2.2'] })]]))
  const compiler = newCompiler()
  for (const [table, address] of [
    [Buffer.concat([first, last]), 'c0000202'],
    [Buffer.concat([last, first]), 'c0000201'],
  ] as const) {
    const result = compiler.compile(table, '')
    if (result.kind !== 'image') throw new Error(result.kind)
    expect(find(result.image, 'a.shop.svc.cluster.local')?.v4).toEqual([address])
    expect([result.hosts, result.skippedHosts]).toEqual([1, 1])
  }
})

test('hosts that come many times are compared in their own time, whatever else their entries have', () => {
  const unknown = Buffer.alloc(400_000, Buffer.of(0x38, 1))
  const large = field(0x0a, Buffer.concat([unknown, text(0x0a, 'A.example'), field(0x12, text(0x0a, '192.0.2.1'))]))
  const small = encodeNameTable(new Map([['a.example', info()]]))
  const before = process.cpuUsage()
  const result = newCompiler().compile(Buffer.concat([large, ...Array.from({ length: 10_000 }, () => small)]), '')
  expect(result).toMatchObject({ kind: 'image', hosts: 1, skippedHosts: 10_000 })
  // Walking through the large entry each time took thirty seconds.
  expect(process.cpuUsage(before).user / 1000).toBeLessThan(3000)
})

test('bytes that are no NameInfo make the table malformed, also those of a host that is left out', () => {
  const entry = field(0x0a, Buffer.concat([text(0x0a, 'a..b'), field(0x12, Buffer.of(0x0a, 9))]))
  const result = newCompiler().compile(Buffer.concat([encodeNameTable(new Map([['b.example', info()]])), entry]), '')
  expect(result).toMatchObject({ kind: 'refused', reason: expect.stringMatching(/^not a NameTable: malformed/) })
})

test('what is left out is named on one line, whatever it is', () => {
  for (const table of [new Map([['a\nb..c', info()]]), new Map([['a.example', info({ ips: ['192.0.2.1\n2'] })]])]) {
    const result = newCompiler().compile(encodeNameTable(table), '')
    expect(result).toMatchObject({ kind: 'refused', reason: expect.stringMatching(/^none of 1 hosts is usable: .+$/) })
  }
})

test('a mark of byte order is a character of the name, with escapes and without', () => {
  const image = imageOf(
    new Map([
      ['\uFEFFa\\.b', info({ ips: ['192.0.2.1'] })],
      ['\uFEFFc', info({ ips: ['192.0.2.2'] })],
    ]),
  )
  const mark = Buffer.from('\uFEFF').toString('latin1')
  expect(find(image, [`${mark}a.b`])?.v4).toEqual(['c0000201'])
  expect(find(image, [`${mark}c`])?.v4).toEqual(['c0000202'])
})

test('no bytes make it throw, and none but a table are taken', () => {
  const flips = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 5 })
  fc.assert(
    fc.property(flips, fc.nat(), (changes, cut) => {
      const bytes = BYTES.slice(0, BYTES.length - (cut % 4 === 0 ? cut % BYTES.length : 0))
      for (const [at, value] of changes) bytes[at % bytes.length] = value
      expect(['image', 'refused']).toContain(newCompiler().compile(bytes, '').kind)
    }),
    { numRuns: 2000 },
  )
  fc.assert(
    fc.property(fc.uint8Array(), (bytes) => void newCompiler().compile(bytes, '')),
    { numRuns: 1000 },
  )
})

describe('while workers lag', () => {
  test('it says busy, and goes on after an acknowledgement', () => {
    const compiler = newCompiler()
    compiler.pool.workerStarted(1)
    const push = (i: number): string =>
      compiler.compile(encodeNameTable(new Map([['a.example', info({ ips: [`192.0.2.${i}`] })]])), '').kind
    expect([push(1), push(2), push(3), push(4)]).toEqual(['image', 'image', 'image', 'busy'])
    compiler.pool.acknowledged(1, 2)
    expect(push(4)).toBe('image')
  })
})

describe('the last known good image', () => {
  const file = Buffer.from(imageBytes(compiled(newCompiler(), TABLE, 'v1').image))

  test('answers after a restart, whatever the new seed, until the first table', () => {
    const compiler = newCompiler({ seed: 99 })
    const result = compiler.load(file)
    if (result.kind !== 'image') throw new Error(JSON.stringify(result))
    expect(find(result.image, 'reviews.shop')?.v4).toEqual(['c0000201'])
    expect(result.image.version).toBe('v1')
    expect(compiler.compile(BYTES, 'v1').kind).toBe('image')
  })

  test('takes the search domain of today', () => {
    const compiler = newCompiler({ identity: { ...SHOP, searchDomain: 'corp.example' } })
    expect(compiler.load(file).kind).toBe('image')
    expect(find(compiler.held!, 'api.ops.corp.example')?.cname).toEqual(['api', 'ops', 'svc', 'cluster', 'local'])
    expect(find(compiler.held!, 'api.ops.shop.svc.cluster.local')).toBeNull()
  })

  test('is refused when damaged or of another identity', () => {
    const damaged = Buffer.from(file)
    damaged[700]! ^= 1
    expect(newCompiler().load(damaged)).toMatchObject({ kind: 'refused', reason: expect.stringContaining('checksum') })
    const other = newCompiler({ identity: { ...SHOP, namespace: 'ops' } })
    expect(other.load(file)).toMatchObject({ kind: 'refused', reason: expect.stringContaining('"shop"') })
    expect(other.held).toBeNull()
  })
})

test('another search domain needs no table', () => {
  const compiler = newCompiler()
  expect(compiler.refresh().kind).toBe('unchanged')
  compiled(compiler, TABLE)
  compiler.setIdentity({ ...SHOP, searchDomain: 'corp.example' })
  expect(compiler.refresh().kind).toBe('image')
  expect(find(compiler.held!, 'reviews.corp.example')?.expanded).toBe(true)
  expect(find(compiler.held!, 'api.ops.shop.svc.cluster.local')).toBeNull()
})

test('a domain that is no name is a mistake at the start', () => {
  expect(() => newCompiler({ identity: { ...SHOP, domain: 'a..b' } })).toThrow(
    'identity.domain: "a..b" is not a domain name',
  )
})

test('what is listed is the table in lower case', () => {
  const listed = [...listHosts(compiled(newCompiler(), TABLE).image)]
  expect(new Map(listed.map(({ host, ...rest }) => [host, rest]))).toEqual(TABLE)
})
