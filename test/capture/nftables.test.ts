import { expect, test } from 'vitest'
import { explainDifferences } from '../../src/capture/differences.ts'
import {
  expectedRulesetLists,
  readRuleset,
  writeRuleset,
  writeRulesetRemoval,
  type SavedRuleset,
} from '../../src/capture/nftables.ts'
import { type CaptureOptions, planCapture } from '../../src/capture/plan.ts'

const OPTIONS: CaptureOptions = {
  port: 15_053,
  uids: [1337],
  gids: [],
  nameservers: ['10.96.0.10', 'fd00::10'],
  exemptPrefixes: ['10.0.0.0/8'],
  exemptInterfaces: ['tun0'],
  hasIpv6: true,
}
const NOTHING: SavedRuleset = { own: [], lists: [], istioTable: null }

test('one transaction, which may be pasted twice', () => {
  expect(writeRuleset(planCapture(OPTIONS), NOTHING)).toBe(`add table inet BYNAME_RAW
delete table inet BYNAME_RAW
add table inet BYNAME_NAT
delete table inet BYNAME_NAT
table inet BYNAME_RAW {
  chain output {
    type filter hook output priority -300; policy accept;
    oifname "tun0" udp dport 53 counter return
    ip daddr 10.0.0.0/8 udp dport 53 counter return
    udp dport 53 meta skuid 1337 counter return
    oifname "lo" udp sport 15053 meta skuid 1337 counter ct zone set 2
    oifname "lo" udp dport 15053 counter ct zone set 2
    ip daddr 10.96.0.10/32 udp dport 53 counter ct zone set 2
    ip6 daddr fd00::10/128 udp dport 53 counter ct zone set 2
  }
}
table inet BYNAME_NAT {
  chain output {
    type nat hook output priority -105; policy accept;
    meta skuid 1337 counter return
    oifname "tun0" udp dport 53 counter return
    ip daddr 10.0.0.0/8 udp dport 53 counter return
    oifname "tun0" tcp dport 53 counter return
    ip daddr 10.0.0.0/8 tcp dport 53 counter return
    ip daddr 10.96.0.10/32 udp dport 53 counter redirect to :15053
    ip daddr 10.96.0.10/32 tcp dport 53 counter redirect to :15053
    ip6 daddr fd00::10/128 udp dport 53 counter redirect to :15053
    ip6 daddr fd00::10/128 tcp dport 53 counter redirect to :15053
  }
}
`)
})

test('without IPv6 the tables are of IPv4, and those for both families go', () => {
  const own = [{ family: 'inet', name: 'BYNAME_NAT' }]
  const text = writeRuleset(planCapture({ ...OPTIONS, hasIpv6: false }), { ...NOTHING, own })
  expect(text).toMatch(/^delete table inet BYNAME_NAT\nadd table ip BYNAME_RAW\n/)
  expect(text).not.toMatch(/ip6|fd00/)
})

test('the removal names what is there, whatever it is', () => {
  const own = [
    { family: 'inet', name: 'BYNAME_NAT' },
    { family: 'ip', name: 'BYNAME_OLD' },
  ]
  expect(writeRulesetRemoval({ ...NOTHING, own })).toBe('delete table inet BYNAME_NAT\ndelete table ip BYNAME_OLD\n')
  expect(writeRulesetRemoval(NOTHING)).toBeNull()
})

// ── reading ────────────────────────────────────────────────────────────────────────────────────────────────────────

const TABLE = { family: 'inet', table: 'BYNAME_NAT' }
const PLAN = planCapture({ ...OPTIONS, nameservers: null, exemptPrefixes: ['10.0.0.0/8', 'fd00::1/128'] })

function match(left: object, right: unknown): object {
  return { match: { op: '==', left, right } }
}

/** As nft 1.0.6 prints it. */
function natRules(): object[][] {
  const port = (protocol: string): object => match({ payload: { protocol, field: 'dport' } }, 53)
  const prefix = match({ payload: { protocol: 'ip', field: 'daddr' } }, { prefix: { addr: '10.0.0.0', len: 8 } })
  const address = match({ payload: { protocol: 'ip6', field: 'daddr' } }, 'fd00::1')
  const tun = match({ meta: { key: 'oifname' } }, 'tun0')
  const counter = { counter: { packets: 7, bytes: 420 } }
  const pass = [counter, { return: null }]
  const redirect = [counter, { redirect: { port: 15_053 } }]
  return [
    [match({ meta: { key: 'skuid' } }, 1337), ...pass],
    ...['udp', 'tcp'].flatMap((protocol) => [tun, prefix, address].map((each) => [each, port(protocol), ...pass])),
    ...['udp', 'tcp'].map((protocol) => [port(protocol), ...redirect]),
  ]
}

function listed(rules: object[][], hook: object = { type: 'nat', hook: 'output', prio: -105 }): string {
  return JSON.stringify({
    nftables: [
      { metainfo: { version: '1.0.6', json_schema_version: 1 } },
      { table: { family: 'inet', name: 'BYNAME_NAT', handle: 2 } },
      { chain: { ...TABLE, name: 'output', handle: 1, policy: 'accept', ...hook } },
      ...rules.map((expr, at) => ({ rule: { ...TABLE, chain: 'output', handle: at + 2, expr } })),
    ],
  })
}

function natDifferences(text: string): string[] {
  const expected = expectedRulesetLists(PLAN).filter(({ chain }) => chain.includes('BYNAME_NAT'))
  return explainDifferences(expected, readRuleset([text])!.lists)
}

test('what nft lists is read as what was meant, counters apart', () => {
  expect(natDifferences(listed(natRules()))).toEqual([])
})

test('each difference is said in words', () => {
  const chain = 'table inet BYNAME_NAT, chain output'
  expect(natDifferences(listed(natRules().slice(1)))).toEqual([`${chain}: missing: traffic by uid 1337 is left alone`])
  expect(natDifferences(listed([...natRules(), [{ drop: null }]]))).toEqual([
    `${chain}: not expected: the rule [{"drop":null}]`,
  ])
  expect(natDifferences(listed(natRules(), { type: 'nat', hook: 'output', prio: -100 }))).toEqual([
    `${chain}: missing: is called at hook output as type nat with priority -105`,
    `${chain}: not expected: is called at hook output as type nat with priority -100`,
  ])
  const negated = natRules()
  negated[0] = [{ match: { op: '!=', left: { meta: { key: 'skuid' } }, right: 1337 } }, { return: null }]
  expect(natDifferences(listed(negated))).toHaveLength(2)
})

test.each([
  ['inet', 'istio-proxy-nat', true],
  ['ip', 'istio-proxy-raw', true],
  ['inet', 'istio-ambient-nat', true],
  ['inet', 'istio-proxy-mangle', true],
  ['inet', 'istio', false],
  ['ip', 'nat', false],
])('table %s %s: is it a capture of DNS by Istio? %s', (family, name, isIstio) => {
  const read = readRuleset([JSON.stringify({ nftables: [{ table: { family, name } }] })])
  expect(read!.istioTable).toBe(isIstio ? `nftables table ${family} ${name}` : null)
})

test.each(['', 'nft: no JSON', '[]', '{"nftables": 1}'])('%j is no listing', (text) => {
  expect(readRuleset([text])).toBeNull()
})
