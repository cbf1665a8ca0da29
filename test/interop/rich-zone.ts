/** A zone with all that answers are made of, and questions about it. */

export const ZONE = 'rich.example'
/** Names of each kind. */
const HOSTS = 150
const CHAINS = 40
const TEXTS = 30
const SERVICES = 20

/** The zone as a master file. TTLs are long, so that nothing expires while a test runs. */
export function zoneFile(): string {
  const lines = [
    '$TTL 3600',
    `@ SOA ns1.${ZONE}. admin.${ZONE}. 1 3600 600 86400 1800`,
    '@ NS ns1',
    '@ NS ns2',
    'ns1 A 192.0.2.1',
    'ns2 AAAA 2001:db8::2',
    '@ MX 10 mail',
    '@ MX 20 mail.elsewhere.test.',
    'mail A 192.0.2.25',
    'mail AAAA 2001:db8::25',
    '@ TXT "v=spf1 -all"',
    '@ CAA 0 issue "ca.example"',
    '*.wild A 192.0.2.99',
    '*.wild TXT "any name"',
    'known.wild A 192.0.2.98',
    '*.alias CNAME host0',
    // Only names below these exist: empty non-terminals.
    'a.b.c.ent A 192.0.2.77',
    'loc LOC 52 22 23.000 N 4 53 32.000 E -2.00m 0.00m 10000m 10m',
    'hinfo HINFO "PC" "Linux"',
    'naptr NAPTR 100 10 "U" "E2U+sip" "!^.*$!sip:info@example.com!" .',
    'unknown TYPE65280 \\# 4 0A000001',
    'svc HTTPS 1 . alpn=h2,h3 ipv4hint=192.0.2.1',
    'odd\\032name\\046dot A 192.0.2.55',
    'UPPER.Case A 192.0.2.56',
    `out CNAME www.elsewhere.test.`,
    'dn DNAME target',
    'x.target A 192.0.2.60',
    'sub NS ns.sub',
    'ns.sub A 192.0.2.70',
  ]
  for (let k = 0; k < HOSTS; k++) {
    for (let n = 0; n <= k % 12; n++) lines.push(`host${k} A 198.51.${k}.${n + 1}`)
    for (let n = 0; n < k % 5; n++) lines.push(`host${k} AAAA 2001:db8:${k}::${n + 1}`)
  }
  for (let k = 0; k < CHAINS; k++) {
    const depth = 1 + (k % 8)
    for (let n = 0; n < depth; n++) {
      lines.push(`chain${k}${n === 0 ? '' : `-${n}`} CNAME ${n + 1 === depth ? `host${k}` : `chain${k}-${n + 1}`}`)
    }
  }
  for (let k = 0; k < TEXTS; k++) {
    // From a few bytes to more than any datagram takes.
    for (let n = 0; n < 1 + k * 2; n++)
      lines.push(`text${k} TXT "${`text ${k} ${n} `.padEnd(40 + ((k * 37) % 200), 'x')}"`)
  }
  for (let k = 0; k < SERVICES; k++) {
    for (let n = 0; n <= k % 6; n++) lines.push(`_sip._tcp.s${k} SRV ${n} 5 ${5060 + n} host${k + n}`)
  }
  return `$ORIGIN ${ZONE}.\n${lines.join('\n')}\n`
}

const TYPES = [
  'A',
  'AAAA',
  'TXT',
  'SRV',
  'MX',
  'NS',
  'SOA',
  'CNAME',
  'CAA',
  'PTR',
  'HINFO',
  'NAPTR',
  'DS',
  'DNSKEY',
  'HTTPS',
] as const

export interface RichQuestion {
  name: string
  type: string
  dnssecOk: boolean
}

/** A question about the zone; `random` gives numbers from 0 up to 1. Most have an answer. */
export function richQuestion(random: () => number): RichQuestion {
  const pick = <T>(list: readonly T[]): T => list[Math.floor(random() * list.length)]!
  const number = (below: number): number => Math.floor(random() * below)
  const names: (() => [name: string, type: string])[] = [
    () => [`host${number(HOSTS)}`, pick(['A', 'AAAA'])],
    () => [`chain${number(CHAINS)}`, pick(['A', 'AAAA', 'CNAME', 'TXT'])],
    () => [`text${number(TEXTS)}`, 'TXT'],
    () => [`_sip._tcp.s${number(SERVICES)}`, 'SRV'],
    () => [`n${number(1e6)}.${pick(['wild', 'a.wild', 'alias'])}`, pick(['A', 'TXT', 'AAAA'])],
    () => [pick(['ent', 'c.ent', 'b.c.ent', 'a.b.c.ent', '_tcp.s1', 'wild', 'Case']), pick(TYPES)],
    () => [`none${number(1e6)}${pick(['', '.ent', '.host1', '.sub.ent'])}`, pick(TYPES)],
    () => [
      pick(['', 'mail', 'ns1', 'loc', 'hinfo', 'naptr', 'svc', 'known.wild', 'UPPER.case', 'odd\\032name\\046dot']),
      pick(TYPES),
    ],
    () => [pick(['out', 'x.dn', 'y.dn', 'dn']), pick(['A', 'AAAA', 'TXT', 'CNAME'])],
  ]
  const [label, type] = pick(names)()
  const name = label === '' ? ZONE : `${label}.${ZONE}`
  return { name, type, dnssecOk: random() < 0.3 }
}
