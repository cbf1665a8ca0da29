import { readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import type { NameTable } from '../../src/table/nds.ts'
import { find, imageOf, SHOP } from './compiled.ts'
import { parseReferenceAddress } from './reference-table.ts'

/** What Istio's agent answered: test/parity. A look-up is compared here, whole replies in the parity test of the daemon. */
interface Recorded {
  q: string
  t: string
  aa: boolean
  tc: boolean
  rcode: string
  answer: [owner: string, ttl: number, type: string, data: string][]
}

interface GoNameInfo {
  Ips: string[]
  Registry: string
  Shortname?: string
  Namespace?: string
  AltHosts?: string[]
}

const FOLDER = new URL('../parity/', import.meta.url)

function readTable(): NameTable {
  const json: Record<string, GoNameInfo> = JSON.parse(readFileSync(new URL('table.json', FOLDER), 'utf8'))
  return new Map(
    Object.entries(json).map(([host, { Ips, Registry, Shortname = '', Namespace = '', AltHosts = [] }]) => [
      host,
      { ips: Ips, registry: Registry, shortname: Shortname, namespace: Namespace, altHosts: AltHosts },
    ]),
  )
}

const lines = readFileSync(new URL('recorded-answers.jsonl', FOLDER), 'utf8').trim().split('\n')
const recorded = lines.map((line): Recorded => JSON.parse(line)).filter(({ t }) => t === 'A' || t === 'AAAA')
const image = imageOf(readTable(), SHOP)

test('every recorded mesh answer has the same addresses here, every other name is not found', () => {
  const counts = { mesh: 0, other: 0 }
  for (const { q, t, aa, tc, answer } of recorded) {
    const found = find(image, q)
    if (!aa) {
      expect(found, `${q} ${t}`).toBeNull()
      counts.other++
      continue
    }
    counts.mesh++
    const wanted = answer
      .filter(([, ttl, type]) => ttl === 30 && type === t)
      .map(([, , , data]) => parseReferenceAddress(data))
    const got = t === 'A' ? found?.v4 : found?.v6
    if (tc) expect(got, q).toEqual(expect.arrayContaining(wanted))
    else expect(new Set(got), `${q} ${t}`).toEqual(new Set(wanted))
    // ★ The target is the host's full name, or the concrete name below a wildcard; Istio's is the short form or `*.x.`.
    const hasCname = answer.some(([, , type]) => type === 'CNAME')
    if (hasCname) expect(found?.cname, q).not.toBeNull()
  }
  expect(counts).toEqual({ mesh: 423, other: 327 })
})
