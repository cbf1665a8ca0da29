/** Response policy zones: what is read of them, and what is refused. */
import { domainToASCII } from 'node:url'
import { describe, expect, test } from 'vitest'
import { nameToText } from '../../src/dns/name.ts'
import { Covers, entryBytes, getU32, type NameList, Verdict } from '../../src/rules/entries.ts'
import { readNameList } from '../../src/rules/name-list.ts'

const WORDS = Object.fromEntries(Object.entries(Verdict).map(([word, verdict]) => [verdict, word]))

/** The policies of a zone: `name WORD`, or `name type/ttl type/ttl` for local data. */
function policiesOf({ data, entries }: NameList): string[] {
  const texts: string[] = []
  for (let at = 0; at < entries.length; at += entryBytes(entries, at)) {
    const isData = entries[at + 1] === Verdict.DATA
    const nameAt = at + 6 + (isData ? 4 : 0) + 1
    const name = nameToText(Uint8Array.from([...entries.subarray(nameAt, nameAt + entries[nameAt - 1]!), 0])).replace(
      /\.$/,
      '',
    )
    const covers = entries[at]!
    const shown = covers === Covers.BELOW ? `*.${name}` : (covers & Covers.BELOW) === 0 ? name : `.${name}`
    texts.push(`${shown} ${isData ? recordsAt(data, getU32(entries, at + 6)) : WORDS[entries[at + 1]!]}`)
  }
  return texts
}

function recordsAt(data: Uint8Array, setAt: number): string {
  const view = new DataView(data.buffer, data.byteOffset)
  const texts: string[] = []
  let at = setAt + 1
  for (let k = 0; k < data[setAt]!; k++) {
    texts.push(`${view.getUint16(at)}/${view.getUint32(at + 2)}`)
    at += 8 + view.getUint16(at + 6)
  }
  return texts.join(' ')
}

function read(text: string, withSubdomains = false): { policies: string[]; problem: string | null; skipped: number } {
  const { list, problem } = readNameList(text, {
    withSubdomains,
    hasAction: false,
    ttlSeconds: 60,
    toAscii: domainToASCII,
  })
  return { policies: policiesOf(list), problem, skipped: list.skipped }
}

describe('good zones', () => {
  test.each<[string, string, string[]]>([
    ['without a head', 'a.example CNAME .\n*.a.example IN CNAME *.\n', ['a.example NXDOMAIN', '*.a.example NODATA']],
    [
      'with origin, whose names are relative',
      '$ORIGIN rpz.local.\n@ 1h IN SOA ns. root. 1 2 3 4 5\n@ NS ns.\na.example CNAME .\nb.example.rpz.local. CNAME .\n',
      ['a.example NXDOMAIN', 'b.example NXDOMAIN'],
    ],
    [
      'with the zone in the owner of its SOA',
      'rpz.local. SOA a. b. (1\n2 3 ; x\n4 5)\na.example.rpz.local. 60 CNAME rpz-passthru.\n',
      ['a.example ALLOW'],
    ],
    ['the name itself as the target, in the old way', 'a.example CNAME a.example.\n', ['a.example ALLOW']],
    [
      'drop and tcp-only, in capitals',
      'A.Example 5m in cname RPZ-DROP.\nb.example CNAME rpz-tcp-only.\n',
      ['a.example DROP', 'b.example TCP_ONLY'],
    ],
    [
      'white space for the name of before, TTL before or after the class',
      '$TTL 1h\na.example A 192.0.2.1\n\t30 IN A 192.0.2.2\n  IN 40 AAAA 2001:db8::1 ; last\n',
      ['a.example 1/3600 1/30 28/40'],
    ],
    [
      'texts with semicolons and parentheses',
      'a.example TXT "a;b (c" d\\;e\nb.example CNAME .',
      ['b.example NXDOMAIN', 'a.example 16/60'],
    ],
    ['all names', '* CNAME .', ['*. NXDOMAIN']],
    [
      'records of DNSSEC, which a signed zone has',
      '@ SOA a. b. 1 2 3 4 5\na.example CNAME .\na.example RRSIG CNAME 8 2 60 1 1 1 a. x\n@ NSEC3PARAM 1 0 0 -',
      ['a.example NXDOMAIN'],
    ],
  ])('%s', (_, text, policies) => {
    expect(read(text)).toEqual({ policies, problem: null, skipped: 0 })
  })

  test('triggers by something else are skipped, as are records that cannot be an answer', () => {
    const text =
      'a.example CNAME .\n32.1.2.0.192.rpz-ip CNAME .\nns.x.rpz-nsdname CNAME .\n24.0.2.0.192.rpz-client-ip CNAME rpz-drop.\nb.example CAA 0 issue x\n'
    expect(read(text)).toEqual({ policies: ['a.example NXDOMAIN'], problem: null, skipped: 4 })
  })
})

describe('bad zones', () => {
  test.each([
    ['a.example CNAME .\nb.example CNAME\n', 'line 2: CNAME takes a name, not ""'],
    ['a.example CNAME .\nb.example A 192.0.2\n', 'line 2: "192.0.2" is no address of type A'],
    ['a.example CNAME .\nb.example NONSENSE x\n', 'line 2: "NONSENSE" is no record type'],
    ['a.example CNAME .\n$INCLUDE other\n', 'line 2: "$INCLUDE" is not read here; there are $ORIGIN and $TTL'],
    ['a.example CNAME .\n.. CNAME .\n', 'line 2: "." is no domain name'],
    ['$TTL soon\n', 'line 1: $TTL takes seconds, not "soon"'],
    ['$ORIGIN a..b.\n', 'line 1: $ORIGIN takes a name, not "a..b."'],
    ['a.example SOA a. b. (1 2\n3 4 5\nb.example CNAME .\n', 'line 1: has a parenthesis without its other one'],
    ['a.example TXT "x\nb.example CNAME .', 'line 1: has a quotation mark without its other one'],
    ['a.example CNAME .\nb.example CNAME .. \n', 'line 2: ".." is no domain name'],
    [`a.example CNAME .\n${'x'.repeat(64)}.example CNAME .\n`, 'line 2: "xxxxxxxxxxxx'],
    ['a.example A 192.0.2.1\na.example CNAME b.example.\n', 'line 2: "a.example" has a CNAME beside other records'],
    ['$ORIGIN rpz.\n@ SOA a. b. 1 2 3 4 5\nx.example. CNAME .\n', 'line 3: "x.example" is not in the zone "rpz"'],
    [`$TTL 60\n${'y'.repeat(70_000)}\n`, 'line 2: is too long for a record'],
    ['a.example SRV 1 2 x b.example.', 'line 1: "x" is no number from 0 to 65535'],
    [`a.example TXT "${'t'.repeat(256)}"`, 'is over 255 bytes; write it as several texts'],
    ['$TTL 99999999999999999999\n', 'line 1: $TTL takes seconds'],
  ])('%j', (text, problem) => {
    expect(read(text).problem).toContain(problem)
  })
})

test('names of a rule with subdomains stand for all below them as well', () => {
  const zone = 'a.example CNAME .\n*.b.example CNAME .\nc.example CNAME rpz-passthru.\nd.example A 192.0.2.1\n'
  expect(read(zone, true).policies).toEqual([
    '.a.example NXDOMAIN',
    '*.b.example NXDOMAIN',
    '.c.example ALLOW',
    '.d.example 1/60',
  ])
})

test('a TTL of many digits that is none costs no more than any other word', () => {
  const digits = '1'.repeat(60_000)
  for (const zone of [`$TTL ${digits}x\n`, `a.example ${digits}x CNAME .\n`, `a.example ${digits} CNAME .\n`])
    expect(read(`a.example CNAME .\n${zone}`)).toMatchObject({
      policies: ['a.example NXDOMAIN'],
      problem: expect.stringMatching(/^line 2: /),
    })
})

test.each([
  ['1h30m', 5400],
  ['1w2d', 777_600],
  ['90', 90],
  ['1m30', 90],
])('a TTL of %s', (text, seconds) => {
  expect(read(`$TTL ${text}\na.example A 192.0.2.1\n`).policies).toEqual([`a.example 1/${seconds}`])
})
