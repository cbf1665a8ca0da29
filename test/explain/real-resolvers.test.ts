/** The model of glibc's and musl's look-ups, beside the real ones: a program built with each asks a name server of this test. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { type Libc, type Outcome, playLookup, type StubConfiguration } from '../../src/explain/resolver-lookup.ts'
import { WAIT_MS } from '../wait.ts'

export interface LookupCase extends StubConfiguration {
  name: string
  /** Outcomes of A and AAAA by name; others do not exist. */
  zone: Record<string, [Outcome, Outcome]>
}

export interface Seen {
  libc: Libc
  /** Names in the order in which they were first asked. */
  asked: string[]
  result: string
}

const SEARCH = ['one.example', 'two.example']
const cases: LookupCase[] = [
  { name: 'web', search: SEARCH, ndots: 5, zone: { 'web.one.example.': ['addresses', 'nodata'] } },
  { name: 'web', search: SEARCH, ndots: 5, zone: { 'web.two.example.': ['nodata', 'addresses'] } },
  { name: 'web', search: SEARCH, ndots: 5, zone: { 'web.': ['addresses', 'addresses'] } },
  { name: 'web', search: SEARCH, ndots: 5, zone: {} },
  { name: 'a.b.c', search: SEARCH, ndots: 5, zone: { 'a.b.c.': ['addresses', 'nxdomain'] } },
  { name: 'a.b', search: SEARCH, ndots: 1, zone: { 'a.b.two.example.': ['addresses', 'addresses'] } },
  { name: 'a.b', search: SEARCH, ndots: 1, zone: { 'a.b.': ['nodata', 'nodata'] } },
  { name: 'web.one.example.', search: SEARCH, ndots: 5, zone: { 'web.one.example.': ['addresses', 'addresses'] } },
  {
    name: 'web',
    search: SEARCH,
    ndots: 2,
    zone: { 'web.one.example.': ['nodata', 'nodata'], 'web.two.example.': ['addresses', 'nodata'] },
  },
  { name: 'web', search: SEARCH, ndots: 2, zone: { 'web.one.example.': ['nodata', 'nodata'] } },
  {
    name: 'web',
    search: SEARCH,
    ndots: 2,
    zone: { 'web.one.example.': ['servfail', 'servfail'], 'web.two.example.': ['addresses', 'nodata'] },
  },
  { name: 'web', search: SEARCH, ndots: 2, zone: { 'web.one.example.': ['servfail', 'servfail'] } },
  {
    name: 'web',
    search: SEARCH,
    ndots: 2,
    zone: { 'web.one.example.': ['refused', 'refused'], 'web.two.example.': ['addresses', 'nodata'] },
  },
  { name: 'a.b', search: SEARCH, ndots: 1, zone: { 'a.b.': ['refused', 'refused'] } },
  { name: 'a.b', search: SEARCH, ndots: 1, zone: { 'a.b.': ['servfail', 'servfail'] } },
  { name: 'web', search: SEARCH, ndots: 2, zone: { 'web.one.example.': ['servfail', 'addresses'] } },
  { name: 'web', search: SEARCH, ndots: 2, zone: { 'web.one.example.': ['addresses', 'servfail'] } },
  { name: 'web', search: SEARCH, ndots: 2, zone: { 'web.one.example.': ['nodata', 'servfail'] } },
  { name: 'web', search: SEARCH, ndots: 2, zone: { 'web.one.example.': ['servfail', 'nodata'] } },
  { name: 'web', search: SEARCH, ndots: 2, zone: { 'web.one.example.': ['nodata', 'nxdomain'] } },
  { name: 'web', search: SEARCH, ndots: 2, zone: { 'web.one.example.': ['nxdomain', 'nodata'] } },
  { name: 'web', search: SEARCH, ndots: 2, zone: { 'web.one.example.': ['nxdomain', 'addresses'] } },
  {
    name: 'web',
    search: SEARCH,
    ndots: 2,
    zone: { 'web.two.example.': ['refused', 'refused'], 'web.': ['addresses', 'nodata'] },
  },
  {
    name: 'web',
    search: SEARCH,
    ndots: 2,
    zone: { 'web.one.example.': ['refused', 'refused'], 'web.': ['refused', 'refused'] },
  },
]

/** Needs root, unshare(1), a compiler for each library. */
function build(folder: string): string | null {
  const source = join(import.meta.dirname, 'look-up.c')
  for (const [libc, compiler] of [
    ['glibc', 'gcc'],
    ['musl', 'musl-gcc'],
  ] as const) {
    if (spawnSync(compiler, ['-o', join(folder, libc), source, ...(libc === 'musl' ? ['-static'] : [])]).status !== 0) {
      return `no ${compiler}`
    }
  }
  const isolated = spawnSync('unshare', ['-nm', 'sh', '-c', 'ip link set lo up && mount --bind /etc/hosts /etc/hosts'])
  return isolated.status === 0 ? null : 'no namespaces'
}

const folder = mkdtempSync(join(tmpdir(), 'byname-resolvers-'))
const missing = build(folder)

test.skipIf(missing !== null)(
  'glibc and musl ask what the model says, in its order, and make of it what it says',
  () => {
    try {
      writeFileSync(join(folder, 'cases.json'), JSON.stringify(cases))
      writeFileSync(join(folder, 'resolv.conf'), '')
      const inside = join(import.meta.dirname, 'real-resolvers-inside.ts')
      const script = `ip link set lo up && mount --bind ${folder}/resolv.conf /etc/resolv.conf && exec "$@"`
      const { stdout, stderr } = spawnSync(
        'unshare',
        ['-nm', 'sh', '-c', script, 'sh', process.execPath, inside, folder],
        { encoding: 'utf8', timeout: 4 * WAIT_MS },
      )
      expect(stderr).toBe('')
      const seen: Seen[] = JSON.parse(stdout)
      const modelled = cases.flatMap((each, k) =>
        (['glibc', 'musl'] as const).map((libc): Seen => {
          const lookup = playLookup(libc, each, each.name, (name) => {
            const [a, aaaa] = each.zone[name] ?? ['nxdomain', 'nxdomain']
            return { a, aaaa }
          })
          const last = lookup.steps.at(-1)!
          const count = [last.a, last.aaaa].filter((outcome) => outcome === 'addresses').length
          // musl 1.2.3 does not tell NODATA from NXDOMAIN.
          const names = lookup.result.match(/EAI_[A-Z]+/g) ?? []
          const got = seen[k * 2 + (libc === 'glibc' ? 0 : 1)]!.result
          const result =
            last.verdict === 'found' ? `addresses ${count}` : (names.find((name) => name === got) ?? names[0]!)
          return { libc, asked: lookup.steps.map(({ name }) => name), result }
        }),
      )
      expect(seen).toEqual(modelled)
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
)
