import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { TableSurvey } from '../../src/table/content-hash.ts'
import { encodeNameTable, type NameInfo } from '../../src/table/nds.ts'
import { compiled, info, newCompiler } from './compiled.ts'

function surveyOf(hosts: [host: string, info: NameInfo][]): TableSurvey {
  const survey = new TableSurvey()
  expect(survey.take(encodeNameTable(new Map(hosts)), 7)).toBe(-1)
  return survey
}

function isSame(a: [string, NameInfo][], b: [string, NameInfo][]): boolean {
  return surveyOf(a).isSameContent(surveyOf(b))
}

const [one, two, three] = ['192.0.2.1', '192.0.2.20', '2001:db8::1'] as const

function named(altHosts: string[]): [string, NameInfo][] {
  return [['a.example', info({ ips: [two, one], altHosts })]]
}

function listed(hosts: Record<string, string[]>): [string, NameInfo][] {
  return Object.entries(hosts).map(([name, ips]) => [name, info({ ips })])
}

/** Hosts and the sets of their addresses, as text. */
function setsOf(hosts: Record<string, string[]>): string {
  const sets = Object.entries(hosts).map(([name, ips]): [string, string[]] => [name, [...new Set(ips)].toSorted()])
  return JSON.stringify(sets.toSorted(([a], [b]) => (a < b ? -1 : 1)))
}

/** Texts of 128 bytes and more, of which istiod has none, keep their order. */
function isUsual(hosts: Record<string, string[]>): boolean {
  return Object.entries(hosts).every(([name, ips]) => name.length < 128 && ips.every((ip) => ip.length < 128))
}

describe('of a host, addresses are a set', () => {
  test.each<[string, string[], string[]]>([
    ['in another order', [one, two], [two, one]],
    ['of two families', [one, three, two], [three, two, one]],
    ['one of them twice', [one, two], [one, two, one]],
    ['all of them twice', [two, one, two, one], [one, two]],
    ['the only one twice', [one, one], [one]],
    ['the only one many times', Array.from({ length: 100 }, () => one), [one]],
  ])('%s', (_, a, b) => {
    for (const fields of [{}, { registry: 'Kubernetes', shortname: 'web', namespace: 'shop', altHosts: ['x'] }]) {
      expect(isSame([['a.example', info({ ips: a, ...fields })]], [['a.example', info({ ips: b, ...fields })]])).toBe(
        true,
      )
    }
  })
  test.each<[string, string[], string[]]>([
    ['another address', [one, two], [one, three]],
    ['one more', [one, two], [one, two, three]],
    ['one fewer', [one, two], [one]],
    ['none', [one, one], []],
    ['the first of many', [one, two, three], [two, three]],
  ])('but not %s', (_, a, b) => {
    expect(isSame([['a.example', info({ ips: a })]], [['a.example', info({ ips: b })]])).toBe(false)
  })
  test('an address that moves from one host to another is a change', () => {
    const before: [string, NameInfo][] = [
      ['a.example', info({ ips: [one, two] })],
      ['b.example', info({ ips: [three] })],
    ]
    const after: [string, NameInfo][] = [
      ['a.example', info({ ips: [two] })],
      ['b.example', info({ ips: [three, one] })],
    ]
    expect(isSame(before, after)).toBe(false)
  })
  test('other fields keep their order', () => {
    expect(isSame(named(['x', 'y']), named(['x', 'y']))).toBe(true)
    expect(isSame(named(['x', 'y']), named(['y', 'x']))).toBe(false)
  })
})

test('two tables have one fingerprint exactly if their hosts have equal sets', () => {
  const address = fc.constantFrom('1.1.1.1', '1.1.1.2', '10.0.0.100', '::1', '2001:db8::2', 'x'.repeat(130), '')
  const host = fc.constantFrom('a', 'b.example', `${'long.'.repeat(30)}example`)
  const table = fc.dictionary(host, fc.array(address, { maxLength: 6 }), { noNullPrototype: true })
  fc.assert(
    fc.property(table, table, (a, b) => {
      const shuffled = Object.fromEntries(
        Object.entries(a)
          .toReversed()
          .map(([name, ips]) => [name, [...ips.toReversed(), ...ips]]),
      )
      if (isUsual(a)) expect(isSame(listed(a), listed(shuffled))).toBe(true)
      if (setsOf(a) !== setsOf(b)) expect(isSame(listed(a), listed(b))).toBe(false)
    }),
    { numRuns: 2000 },
  )
})

test('a push that only shuffles and repeats addresses makes no image; one that does so beside a change makes one', () => {
  const compiler = newCompiler()
  compiled(
    compiler,
    new Map([
      ['a.example', info({ ips: [one, two, three] })],
      ['b.example', info()],
    ]),
  )
  const shuffled = new Map([
    ['a.example', info({ ips: [three, one, two, one] })],
    ['b.example', info()],
  ])
  expect(compiler.compile(encodeNameTable(shuffled), '2')).toEqual({ kind: 'unchanged' })
  const changed = new Map([...shuffled, ['b.example', info({ ips: [two] })]])
  expect(compiler.compile(encodeNameTable(changed), '3')).toMatchObject({ kind: 'image', patchedHosts: 1 })
  expect(compiler.compile(encodeNameTable(changed), '3')).toEqual({ kind: 'unchanged' })
})
