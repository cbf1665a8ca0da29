import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { TableCompiler } from '../../src/table/compile.ts'
import type { TableIdentity } from '../../src/table/identity.ts'
import { type Image, imageBytes } from '../../src/table/image.ts'
import { verifyImage } from '../../src/table/image-check.ts'
import { listHosts } from '../../src/table/image-listing.ts'
import { encodeNameTable, type NameInfo, type NameTable } from '../../src/table/nds.ts'
import { host, identity, ip, nameInfo, nameTable } from './arbitraries.ts'
import { compiled, find, findAddress, info, newCompiler, service, SHOP } from './compiled.ts'
import { questions } from './questions.ts'
import { parseReferenceAddress, ReferenceTable } from './reference-table.ts'

const SEED = 0x5eed
const NO_TABLE = Buffer.from('not found')

/** A table of as many services, each with two addresses of its own. */
function services(count: number): NameTable {
  return new Map(
    Array.from({ length: count }, (_, n) =>
      service(`s${n}`, n % 2 === 0 ? 'shop' : 'ops', [`10.0.${n >> 8}.${n & 255}`, `fd00::${n.toString(16)}`]),
    ),
  )
}

/** The table with other fields for one host. */
function edited(table: NameTable, name: string, fields: Partial<NameInfo>): NameTable {
  return new Map([...table, [name, { ...table.get(name)!, ...fields }]])
}

function shuffled(table: NameTable, random: () => number): NameTable {
  const order = [...table].map((entry) => ({ entry, at: random() }))
  return new Map(order.toSorted((a, b) => a.at - b.at).map(({ entry }) => entry))
}

/** What the image lists, in an order of its own. */
function listing(image: Image): object[] {
  return [...listHosts(image)].toSorted((a, b) => (a.host < b.host ? -1 : 1))
}

/** Expects of the compiler's image what one made of the table alone has, in every look-up. */
function expectCompiledAnew(image: Image, table: NameTable, who: TableIdentity, addresses: string[]): void {
  const anew = newCompiler({ identity: who, seed: SEED }).compile(encodeNameTable(table), '')
  if (anew.kind !== 'image') throw new Error(JSON.stringify(anew))
  expect(verifyImage(imageBytes(image))).toBeNull()
  const { hosts, skippedHosts, skippedAddresses, contentHash, byteLength, namespace, domain, search } = anew.image
  expect(image).toMatchObject({
    hosts,
    skippedHosts,
    skippedAddresses,
    contentHash,
    byteLength,
    namespace,
    domain,
    search,
  })
  expect(listing(image)).toEqual(listing(anew.image))
  for (const name of questions(table, who, new ReferenceTable(table, who), [])) {
    expect(find(image, name), name.join('.')).toEqual(find(anew.image, name))
  }
  for (const address of addresses) {
    expect(findAddress(image, address), address).toEqual(findAddress(anew.image, address))
  }
}

type Edit =
  | { kind: 'addresses'; hosts: number[]; ips: string[] }
  | { kind: 'fields'; at: number; info: NameInfo }
  | { kind: 'add'; name: string; info: NameInfo }
  | { kind: 'remove'; at: number }
  | { kind: 'shuffle'; seed: number }
  | { kind: 'refused' }
  | { kind: 'identity'; who: TableIdentity }

const manyIps = fc.array(ip, { minLength: 20, maxLength: 20 })
const edit: fc.Arbitrary<Edit> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('addresses' as const),
      hosts: fc.array(fc.nat(), { minLength: 1, maxLength: 4 }),
      ips: manyIps,
    }),
  },
  fc.record({ kind: fc.constant('fields' as const), at: fc.nat(), info: nameInfo }),
  fc.record({ kind: fc.constant('add' as const), name: host, info: nameInfo }),
  fc.record({ kind: fc.constant('remove' as const), at: fc.nat() }),
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('shuffle' as const), seed: fc.nat(1000) }) },
  fc.record({ kind: fc.constant('refused' as const) }),
  fc.record({ kind: fc.constant('identity' as const), who: identity }),
)

/** Other addresses for the host, as a rule as many of each family as it has. */
function readdress(before: NameInfo, ips: string[]): NameInfo {
  const wanted = before.ips.map((old) => parseReferenceAddress(old)?.length)
  const fitting = ips.filter((candidate) => parseReferenceAddress(candidate) !== null)
  return {
    ...before,
    ips: before.ips.map((old, k) => {
      const at = fitting.findIndex((candidate) => parseReferenceAddress(candidate)?.length === wanted[k])
      return at === -1 ? old : fitting.splice(at, 1)[0]!
    }),
  }
}

function apply(table: NameTable, change: Edit): NameTable {
  const names = [...table.keys()]
  const nameAt = (at: number): string => names[at % names.length]!
  const next = new Map(table)
  if (change.kind === 'add') next.set(change.name, change.info)
  else if (change.kind === 'shuffle') {
    let state = change.seed
    return shuffled(table, () => (state = (state * 48_271 + 11) % 0x7fffffff))
  } else if (names.length === 0) return table
  else if (change.kind === 'addresses') {
    for (const at of change.hosts) next.set(nameAt(at), readdress(next.get(nameAt(at))!, change.ips))
  } else if (change.kind === 'fields') next.set(nameAt(change.at), change.info)
  else if (change.kind === 'remove') next.delete(nameAt(change.at))
  return next
}

test('whatever changes, push by push, the image answers like one made of the last table alone', () => {
  let patches = 0
  fc.assert(
    fc.property(nameTable, identity, fc.array(edit, { minLength: 5, maxLength: 50 }), (first, firstWho, edits) => {
      let table: NameTable = new Map([...first, ...services(3)])
      let who = firstWho
      const compiler = newCompiler({ identity: who, seed: SEED })
      compiled(compiler, table)
      const addresses = new Set<string>(['c0000201'])
      const note = (): void => {
        for (const { ips } of table.values())
          for (const text of ips) addresses.add(parseReferenceAddress(text) ?? 'c0000201')
      }
      note()
      for (const change of edits) {
        if (change.kind === 'refused') {
          expect(compiler.compile(NO_TABLE, '').kind).toBe('refused')
          continue
        }
        if (change.kind === 'identity') {
          who = change.who
          compiler.setIdentity(who)
          compiler.refresh()
        }
        table = apply(table, change)
        note()
        const result = compiler.compile(encodeNameTable(table), '')
        if (result.kind === 'refused') {
          expect(new ReferenceTable(table, who).hosts).toBe(0)
          return
        }
        if (result.kind !== 'image') continue
        expect(verifyImage(imageBytes(result.image))).toBeNull()
        patches += Math.min(1, result.patchedHosts)
      }
      expectCompiledAnew(compiler.held!, table, who, [...addresses])
    }),
    { numRuns: 250 },
  )
  // Otherwise this would test nothing but the compiler.
  expect(patches).toBeGreaterThan(500)
})

describe('other addresses are laid over the image held', () => {
  const table = services(40)

  test('of one host, whatever the length of their text', () => {
    const compiler = newCompiler()
    compiled(compiler, table)
    const next = edited(table, 's7.ops.svc.cluster.local', { ips: ['192.168.100.200', '::1'] })
    const result = compiled(compiler, next, 'second')
    expect(result).toMatchObject({ patchedHosts: 1, hosts: 40 })
    expect(result.image.version).toBe('second')
    expect(find(result.image, 's7.ops')).toMatchObject({ v4: ['c0a864c8'], v6: [`${'0'.repeat(31)}1`] })
    expectCompiledAnew(result.image, next, SHOP, ['0a000007', 'c0a864c8', `${'0'.repeat(31)}1`])
    expect(compiler.compile(encodeNameTable(next), '').kind).toBe('unchanged')
  })

  test('of hosts in another order than before', () => {
    const compiler = newCompiler()
    const large = services(1000)
    compiled(compiler, large)
    let state = 7
    for (let i = 0; i < 5; i++) {
      const changed = edited(large, `s${i * 10}.shop.svc.cluster.local`, { ips: ['192.0.2.77', 'fd00::77'] })
      const next = shuffled(changed, () => (state = (state * 48_271) % 0x7fffffff))
      expect(compiled(compiler, next).patchedHosts).toBe(i === 0 ? 1 : 2)
      expect(find(compiler.held!, `s${i * 10}`)?.v4).toEqual(['c000024d'])
      expect(findAddress(compiler.held!, 'c000024d')?.[0]).toBe(`s${i * 10}`)
    }
  })

  test('fifty pushes in a row, each as if it were the first', () => {
    const compiler = newCompiler()
    compiler.pool.workerStarted(1)
    compiled(compiler, table)
    let next = table
    for (let i = 0; i < 50; i++) {
      next = edited(next, [...table.keys()][(i * 7) % 40]!, { ips: [`192.0.2.${i % 5}`, `fd00::${i % 3}`] })
      const version = 'v'.repeat((i * 37) % 300)
      const result = compiler.compile(encodeNameTable(next), version)
      if (result.kind !== 'image') throw new Error(result.kind)
      expect(result.patchedHosts).toBe(1)
      expect(result.image.version).toBe(version.slice(0, 255))
      compiler.pool.acknowledged(1, result.generation)
    }
    const addresses = [0, 1, 2, 3, 4].flatMap((n) => [`c000020${n}`, `fd00${'0'.repeat(27)}${n}`])
    expectCompiledAnew(compiler.held!, next, SHOP, addresses)
  })

  test('that two hosts have swapped, and each is named by its own', () => {
    const compiler = newCompiler()
    compiled(compiler, new Map([service('a', 'shop', ['192.0.2.1']), service('b', 'shop', ['192.0.2.2'])]))
    const swapped = new Map([service('a', 'shop', ['192.0.2.2']), service('b', 'shop', ['192.0.2.1'])])
    expect(compiled(compiler, swapped).patchedHosts).toBe(2)
    expect([findAddress(compiler.held!, 'c0000201')?.[0], findAddress(compiler.held!, 'c0000202')?.[0]]).toEqual([
      'b',
      'a',
    ])
  })

  test('and an address that a host gave up names the next host that has it', () => {
    const compiler = newCompiler()
    const both = new Map([service('a', 'shop', ['192.0.2.1']), service('b', 'shop', ['192.0.2.1'])])
    compiled(compiler, both)
    expect(findAddress(compiler.held!, 'c0000201')?.[0]).toBe('a')
    expect(compiled(compiler, edited(both, 'a.shop.svc.cluster.local', { ips: ['192.0.2.9'] })).patchedHosts).toBe(1)
    expect(findAddress(compiler.held!, 'c0000201')?.[0]).toBe('b')
    expect(compiled(compiler, both).patchedHosts).toBe(1)
    expect(findAddress(compiler.held!, 'c0000201')?.[0]).toBe('a')
  })

  test('beside hosts that are left out, which are counted as before', () => {
    const compiler = newCompiler()
    const odd = new Map([
      ...table,
      ['a..b', info()] as const,
      ['half.example', info({ ips: ['x', '192.0.2.7'] })] as const,
    ])
    const first = compiled(compiler, odd)
    const second = compiled(compiler, edited(odd, 's3.ops.svc.cluster.local', { ips: ['192.0.2.3', 'fd00::33'] }))
    const { skippedHosts, skippedAddresses, firstSkipped } = first
    expect(second).toMatchObject({ patchedHosts: 1, skippedHosts, skippedAddresses, firstSkipped })
  })

  test('while a slot is free: otherwise the compiler is busy, and nothing is lost', () => {
    const compiler = newCompiler()
    compiler.pool.workerStarted(1)
    const push = (n: number): string =>
      compiler.compile(
        encodeNameTable(edited(table, 's0.shop.svc.cluster.local', { ips: [`192.0.2.${n}`, '::1'] })),
        '',
      ).kind
    expect([push(1), push(2), push(3), push(4), push(5)]).toEqual(['image', 'image', 'image', 'busy', 'busy'])
    expect(find(compiler.held!, 's0')?.v4).toEqual(['c0000203'])
    expect(push(3)).toBe('unchanged')
    compiler.pool.acknowledged(1, 3)
    expect(push(5)).toBe('image')
    expect(find(compiler.held!, 's0')?.v4).toEqual(['c0000205'])
  })

  test('after a table that was refused, too', () => {
    const compiler = newCompiler()
    compiled(compiler, table)
    expect(compiler.compile(NO_TABLE, '').kind).toBe('refused')
    expect(compiler.compile(encodeNameTable(new Map([['a..b', info()]])), '').kind).toBe('refused')
    const next = edited(table, 's1.ops.svc.cluster.local', { ips: ['192.0.2.1', '::1'] })
    expect(compiled(compiler, next).patchedHosts).toBe(1)
    expectCompiledAnew(compiler.held!, next, SHOP, ['c0000201', '0a000001'])
  })
})

describe('the table is compiled anew', () => {
  const table = services(40)
  const NAME = 's7.ops.svc.cluster.local'
  const { ips } = table.get(NAME)!

  test.each([
    ['an address more', { ips: [...ips, '192.0.2.1'] }],
    ['an address less', { ips: ips.slice(1) }],
    ['an address of the other family', { ips: ['fd00::1', 'fd00::2'] }],
    ['an address that is none', { ips: ['x', ips[0]!, ips[1]!] }],
    ['another registry', { registry: 'External' }],
    ['another short name', { shortname: 's8' }],
    ['another namespace', { namespace: 'shop' }],
    ['an alternate host', { altHosts: ['seven.shop'] }],
  ])('when a host has %s', (_, fields) => {
    const compiler = newCompiler()
    compiled(compiler, table)
    const next = edited(table, NAME, fields)
    expect(compiled(compiler, next).patchedHosts).toBe(0)
    expectCompiledAnew(compiler.held!, next, SHOP, ['c0000201', '0a000007'])
  })

  test('when a host is spelt in another way, which may decide between two', () => {
    const compiler = newCompiler()
    compiled(compiler, table)
    const next = new Map([...table].map(([name, fields]) => [name === NAME ? name.toUpperCase() : name, fields]))
    expect(compiled(compiler, next).patchedHosts).toBe(0)
  })

  test('when most hosts have changed', () => {
    const compiler = newCompiler()
    compiled(compiler, services(1000))
    const next: NameTable = new Map([...services(1000)].map(([name, fields]) => [name, { ...fields, ips: ['::1'] }]))
    expect(compiled(compiler, next).patchedHosts).toBe(0)
  })

  test('after a change of identity, and after a start from the last known good', () => {
    const next = edited(table, NAME, { ips: ['192.0.2.1', '::1'] })
    const compiler: TableCompiler = newCompiler()
    const file = Buffer.from(imageBytes(compiled(compiler, table).image))
    compiler.setIdentity({ ...SHOP, namespace: 'ops' })
    expect(compiled(compiler, next).patchedHosts).toBe(0)
    expect(find(compiler.held!, 's7')?.v4).toEqual(['c0000201'])
    const restarted = newCompiler()
    restarted.load(file)
    expect(compiled(restarted, next).patchedHosts).toBe(0)
  })
})

test('an image of which only the search domain was made anew can still be patched', () => {
  const table = services(10)
  const compiler = newCompiler()
  compiled(compiler, table)
  expect(compiler.refresh().kind).toBe('image')
  const next = edited(table, 's7.ops.svc.cluster.local', { ips: ['192.0.2.1', '::1'] })
  expect(compiled(compiler, next).patchedHosts).toBe(1)
  expectCompiledAnew(compiler.held!, next, SHOP, ['c0000201'])
})

test('a table of one entry many times over is compared in its own time', () => {
  const many = (name: string): Uint8Array => {
    const entry = encodeNameTable(new Map([[name, info({ ips: [] })]]))
    return Buffer.concat([encodeNameTable(services(1)), ...Array.from({ length: 300_000 }, () => entry)])
  }
  const compiler = newCompiler()
  const before = process.cpuUsage()
  expect(compiler.compile(many('one.example'), '').kind).toBe('image')
  expect(compiler.compile(many('two.example'), '').kind).toBe('image')
  // A few of them in the table held, and nothing else in the next one.
  const few = services(100_000)
  for (const fields of few.values()) fields.ips = []
  const others: NameTable = new Map(Array.from({ length: 1300 }, (_, k) => [`o${k}.example`, info({ ips: [] })]))
  const entry = encodeNameTable(new Map([['one.example', info({ ips: [] })]]))
  const times = (count: number): Uint8Array => Buffer.concat(Array.from({ length: count }, () => entry))
  const held = Buffer.concat([encodeNameTable(services(1)), times(1300), encodeNameTable(few)])
  expect(compiler.compile(held, '').kind).toBe('image')
  // In other places than there.
  const next = Buffer.concat([encodeNameTable(services(1)), encodeNameTable(others), times(100_000)])
  expect(compiler.compile(next, '').kind).toBe('image')
  // The square of it took minutes.
  expect(process.cpuUsage(before).user / 1000).toBeLessThan(10_000)
})
