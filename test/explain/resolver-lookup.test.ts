import { expect, test } from 'vitest'
import { type Libc, namesAsked, type Outcome, playLookup } from '../../src/explain/resolver-lookup.ts'

const POD = { search: ['shop.svc.cluster.local', 'svc.cluster.local'], ndots: 5 }
const PLAIN = { search: ['corp.example'], ndots: 1 }

test.each<[string, Libc, typeof POD, string, string[]]>([
  ['few dots: search first', 'glibc', POD, 'web', ['web.shop.svc.cluster.local.', 'web.svc.cluster.local.', 'web.']],
  ['few dots: search first', 'musl', POD, 'web', ['web.shop.svc.cluster.local.', 'web.svc.cluster.local.', 'web.']],
  ['many dots: as given first, then search', 'glibc', PLAIN, 'a.b', ['a.b.', 'a.b.corp.example.']],
  ['many dots: as given only', 'musl', PLAIN, 'a.b', ['a.b.']],
  ['a trailing dot: as given only', 'glibc', POD, 'web.', ['web.']],
  ['a trailing dot: as given only', 'musl', POD, 'web.', ['web.']],
  ['no search list', 'glibc', { search: [], ndots: 1 }, 'web', ['web.']],
  ['the root in the list is the name as given, once', 'glibc', { search: ['.', 'x'], ndots: 1 }, 'w', ['w.', 'w.x.']],
])('%s (%s)', (_, libc, configuration, name, names) => {
  expect(namesAsked(libc, configuration, name)).toEqual(names)
})

const play = (libc: Libc, outcomes: Record<string, [Outcome, Outcome]>): string => {
  const { steps, result } = playLookup(libc, { search: ['one', 'two'], ndots: 1 }, 'w', (name) => {
    const [a, aaaa] = outcomes[name] ?? ['nxdomain', 'nxdomain']
    return { a, aaaa }
  })
  return `${steps.length}: ${result}`
}

const NOT_THERE: [Outcome, Outcome] = ['nxdomain', 'nxdomain']

test.each<[string, Record<string, [Outcome, Outcome]>, string, string]>([
  [
    'addresses of either family end it',
    { 'w.one.': ['nodata', 'addresses'] },
    '1: the addresses of w.one',
    '1: the addresses of w.one',
  ],
  [
    'what an upstream server would be asked is open',
    { 'w.one.': ['upstream', 'upstream'], 'w.two.': ['addresses', 'nodata'] },
    '2: the addresses of w.two, unless an upstream server has addresses for an earlier name',
    '2: the addresses of w.two, unless an upstream server has addresses for an earlier name',
  ],
  [
    'to the end, with one open name; NXDOMAIN for A is enough for musl',
    { 'w.one.': NOT_THERE, 'w.two.': ['nxdomain', 'upstream'] },
    '3: no such name (EAI_NONAME), unless an upstream server has addresses for an earlier name',
    '3: no such name (EAI_NONAME)',
  ],
])('%s', (_, outcomes, glibc, musl) => {
  expect([play('glibc', outcomes), play('musl', outcomes)]).toEqual([glibc, musl])
})
