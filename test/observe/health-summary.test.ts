import { describe, expect, test } from 'vitest'
import {
  amountText,
  failuresText,
  type HealthFacts,
  healthSummary,
  type RecentTraffic,
  spanText,
} from '../../src/observe/health-summary.ts'

const TABLE: HealthFacts['table'] = {
  hosts: 1204,
  bytes: 1,
  version: 'v',
  source: 'xds istiod.istio-system.svc:15012',
  fromLastKnownGood: false,
  ageSeconds: 12,
  skippedHosts: 0,
  updates: { changed: 1, unchanged: 0, refused: 0 },
}

type Server = HealthFacts['upstreams'][number]
type Credential = HealthFacts['credentials'][number]

function server(label: string, changes: Partial<Server> = {}): Server {
  return {
    label,
    routes: ['.'],
    isLoop: false,
    healthy: true,
    rttMs: 3,
    requests: { udp: 9 },
    failures: {},
    ...changes,
  }
}

const DEAD: Partial<Server> = { healthy: false, failures: { network: 1, timeout: 312 } }

function facts(changes: Partial<HealthFacts> = {}): HealthFacts {
  return {
    ready: true,
    missing: [],
    table: TABLE,
    credentials: [],
    upstreams: [server('10.0.0.2:53'), server('10.0.0.3:53')],
    problems: [],
    ...changes,
  }
}

function credential(changes: Partial<Credential> = {}): Credential {
  const isSaid = { expires: 'x', secondsLeft: 2400, problem: null, isNeeded: true, isEndingSoon: true }
  return { kind: 'certificate', from: '/etc/certs/cert-chain.pem', ...isSaid, ...changes }
}

const CALM: RecentTraffic = { repliesPerSecond: 100, servfailRatio: 0, nxdomainRatio: 0.7, searchedName: null }
const problem = (text: string): HealthFacts['problems'][number] => ({
  about: 'control_plane',
  text,
  since: 'x',
  forSeconds: 1,
})

const ANSWERING = 'answering; table of 1,204 hosts from istiod 12 s ago'

describe('the sentence', () => {
  const cases: [what: string, changes: Partial<HealthFacts>, state: string, sentence: string][] = [
    ['all is well', {}, 'well', ANSWERING],
    [
      'one of two resolvers is slow',
      { upstreams: [server('a'), server('b', { rttMs: 350 })] },
      'degraded',
      `${ANSWERING}; 1 of 2 resolvers slow`,
    ],
    ['a resolver takes as long as is not slow yet', { upstreams: [server('a', { rttMs: 200 })] }, 'well', ANSWERING],
    [
      'a resolver that is down was slow',
      { upstreams: [server('a', { ...DEAD, rttMs: 350 }), server('b')] },
      'degraded',
      `resolver a fails: 312 timeouts, 1 network error; ${ANSWERING}`,
    ],
    [
      'the only one is slow',
      { upstreams: [server('a', { rttMs: 350 })] },
      'degraded',
      `${ANSWERING}; the resolver is slow`,
    ],
    [
      'one resolver fails and another answers',
      { upstreams: [server('10.0.0.2:53', DEAD), server('10.0.0.3:53')] },
      'degraded',
      `resolver 10.0.0.2:53 fails: 312 timeouts, 1 network error; ${ANSWERING}`,
    ],
    [
      'the only resolver of a route fails',
      { upstreams: [server('10.0.0.2:53', { ...DEAD, routes: ['corp.example'] }), server('10.0.0.3:53')] },
      'failing',
      `resolver 10.0.0.2:53 fails: 312 timeouts, 1 network error; ${ANSWERING}`,
    ],
    [
      'all resolvers fail',
      { upstreams: [server('a', DEAD), server('b', { healthy: false, failures: { servfail: 1 } })] },
      'failing',
      `resolver a fails: 312 timeouts, 1 network error; resolver b fails: 1 SERVFAIL; ${ANSWERING}`,
    ],
    ['a resolver was never asked', { upstreams: [server('a', { healthy: false, requests: {} })] }, 'well', ANSWERING],
    [
      'a resolver fails that has a stand-in for all names, and none for those of one domain',
      { upstreams: [server('a', { ...DEAD, routes: ['corp.example', '.'] }), server('b')] },
      'failing',
      `resolver a fails: 312 timeouts, 1 network error; ${ANSWERING}`,
    ],
    [
      'a resolver fails that has a stand-in for each of its domains',
      {
        upstreams: [
          server('a', { ...DEAD, routes: ['corp.example', '.'] }),
          server('b'),
          server('c', { routes: ['corp.example'] }),
        ],
      },
      'degraded',
      `resolver a fails: 312 timeouts, 1 network error; ${ANSWERING}`,
    ],
    [
      'a resolver is a loop, and so in no route any more',
      { upstreams: [server('127.0.0.53:53', { isLoop: true, routes: [] }), server('b')] },
      'degraded',
      `resolver 127.0.0.53:53 forwards to byname; ${ANSWERING}`,
    ],
    [
      'the only resolver for all names is a loop',
      {
        upstreams: [server('127.0.0.53:53', { isLoop: true, routes: [] }), server('b', { routes: ['corp.example'] })],
      },
      'failing',
      `resolver 127.0.0.53:53 forwards to byname; ${ANSWERING}`,
    ],
    [
      'a resolver is a loop, and the other one fails',
      { upstreams: [server('a', { isLoop: true, routes: [], requests: {} }), server('b', DEAD)] },
      'failing',
      `resolver a forwards to byname; resolver b fails: 312 timeouts, 1 network error; ${ANSWERING}`,
    ],
    [
      'the table is stale because the control plane is away',
      {
        problems: [problem('the control plane is away: istiod:15012: refused')],
        table: { ...TABLE, ageSeconds: 7300 },
      },
      'degraded',
      'the control plane is away: istiod:15012: refused; answering; table of 1,204 hosts from istiod 2 h ago',
    ],
    [
      'there is no table yet',
      { ready: false, missing: ['no name table has arrived yet'], table: { ...TABLE, hosts: 0, ageSeconds: null } },
      'failing',
      'no name table has arrived yet; not ready; no table from istiod yet',
    ],
    [
      'the table is the one of the last run',
      { table: { ...TABLE, fromLastKnownGood: true } },
      'well',
      'answering; table of 1,204 hosts kept from the last run',
    ],
    [
      'a certificate is near its end',
      { credentials: [credential(), credential({ isEndingSoon: false }), credential({ isNeeded: false })] },
      'degraded',
      `the certificate /etc/certs/cert-chain.pem expires in 40 min; ${ANSWERING}`,
    ],
    [
      'a root certificate has expired',
      { credentials: [credential({ kind: 'root', secondsLeft: -5 })] },
      'degraded',
      `the root certificate /etc/certs/cert-chain.pem has expired; ${ANSWERING}`,
    ],
    [
      'credentials end now, say nothing of their end, or have a problem that is told already',
      {
        problems: [problem('token /t: cannot be read')],
        credentials: [
          credential({ secondsLeft: 0 }),
          credential({ secondsLeft: null }),
          credential({ kind: 'token', from: '/t', problem: 'cannot be read' }),
        ],
      },
      'degraded',
      `token /t: cannot be read; the certificate /etc/certs/cert-chain.pem has expired; ${ANSWERING}`,
    ],
    [
      'hosts of the table are of no use',
      { table: { ...TABLE, skippedHosts: 1200 } },
      'degraded',
      `1,200 hosts of the name table left out: no valid name or address; ${ANSWERING}`,
    ],
    [
      'the table is of no known age',
      { table: { ...TABLE, ageSeconds: null } },
      'well',
      'answering; table of 1,204 hosts from istiod',
    ],
    [
      'the table is empty',
      { table: { ...TABLE, hosts: 0 } },
      'well',
      'answering; table of 0 hosts from istiod 12 s ago',
    ],
    [
      'the control plane has an address in its name',
      { table: { ...TABLE, source: 'xds 10-1-2-3.example.com:15010' } },
      'well',
      'answering; table of 1,204 hosts from 10-1-2-3 12 s ago',
    ],
    [
      'as much is wrong as is told one by one',
      { problems: ['a', 'b', 'c'].map(problem) },
      'degraded',
      `a; b; c; ${ANSWERING}`,
    ],
    [
      'a host of the table is of no use',
      { table: { ...TABLE, skippedHosts: 1 } },
      'degraded',
      `1 host of the name table left out: no valid name or address; ${ANSWERING}`,
    ],
    ['no table is configured', { table: { ...TABLE, source: 'none' } }, 'well', 'answering'],
    [
      'the control plane is an address',
      { table: { ...TABLE, source: 'xds 10.1.2.3:15010', hosts: 1 } },
      'well',
      'answering; table of 1 host from 10.1.2.3:15010 12 s ago',
    ],
    [
      'the table is a file',
      { table: { ...TABLE, source: 'file /t.json' } },
      'well',
      'answering; table of 1,204 hosts from file /t.json 12 s ago',
    ],
    [
      'more is wrong than anybody reads',
      { problems: ['a', 'b', 'c', 'd', 'e'].map(problem) },
      'degraded',
      `a; b; c; 2 more problems; ${ANSWERING}`,
    ],
  ]
  test.each(cases)('%s', (_, changes, state, sentence) => {
    const summary = healthSummary(facts(changes), CALM)
    expect([summary.state, summary.sentence]).toEqual([state, sentence])
  })

  test('is one for all, and the causes are told one by one', () => {
    const { causes } = healthSummary(facts({ problems: ['a', 'b', 'c', 'd', 'e'].map(problem) }), CALM)
    expect(causes).toEqual(['a', 'b', 'c', 'd', 'e'])
  })

  const traffic: [what: string, recent: RecentTraffic | null, state: string, sentence: string][] = [
    ['nothing is known', null, 'well', ANSWERING],
    ['errors', { ...CALM, servfailRatio: 0.2 }, 'failing', `20 % of the replies are SERVFAIL; ${ANSWERING}`],
    [
      'as many errors as count',
      { ...CALM, servfailRatio: 0.05 },
      'failing',
      `5 % of the replies are SERVFAIL; ${ANSWERING}`,
    ],
    ['fewer', { ...CALM, servfailRatio: 0.049 }, 'well', ANSWERING],
    [
      'as much traffic as counts',
      { ...CALM, repliesPerSecond: 0.5, servfailRatio: 1 },
      'failing',
      `100 % of the replies are SERVFAIL; ${ANSWERING}`,
    ],
    [
      'a storm that is just one',
      { ...CALM, repliesPerSecond: 20, nxdomainRatio: 0.8 },
      'degraded',
      `80 % of the replies are NXDOMAIN; ${ANSWERING}`,
    ],
    ['a storm of few', { ...CALM, repliesPerSecond: 19.9, nxdomainRatio: 1 }, 'well', ANSWERING],
    ['nearly a storm', { ...CALM, nxdomainRatio: 0.79 }, 'well', ANSWERING],
    ['one error in the night', { ...CALM, repliesPerSecond: 0.1, servfailRatio: 1 }, 'well', ANSWERING],
    ['a storm', { ...CALM, nxdomainRatio: 0.93 }, 'degraded', `93 % of the replies are NXDOMAIN; ${ANSWERING}`],
    [
      'a storm of one name',
      { ...CALM, nxdomainRatio: 0.93, searchedName: 'api.example.com' },
      'degraded',
      `93 % of the replies are NXDOMAIN, most for api.example.com below search domains; ${ANSWERING}`,
    ],
  ]
  test.each(traffic)('of the last minute: %s', (_, recent, state, sentence) => {
    const summary = healthSummary(facts(), recent)
    expect([summary.state, summary.sentence]).toEqual([state, sentence])
  })
})

test('numbers and times are as people read them', () => {
  expect([0, 999, 1000, 1_234_567].map(amountText)).toEqual(['0', '999', '1,000', '1,234,567'])
  expect([0, 59.4, 60, 3599, 3600, 172_799, 172_800].map(spanText)).toEqual([
    '0 s',
    '59 s',
    '1 min',
    '59 min',
    '1 h',
    '47 h',
    '2 days',
  ])
  expect(failuresText({ tls: 1, malformed: 2, formerr: 3 })).toBe('3 FORMERR, 2 malformed replies, 1 TLS error')
  expect(failuresText({})).toBe('no answer')
})
