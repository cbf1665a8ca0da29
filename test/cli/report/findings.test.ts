import { describe, expect, test } from 'vitest'
import { Evidence } from '../../../src/cli/report/evidence.ts'
import { findingsOf } from '../../../src/cli/report/findings.ts'

const GIBIBYTE = 2 ** 30

/** A daemon of which there is nothing to say. */
const QUIET = {
  version: '1.0.0',
  ready: true,
  missing: [],
  table: { hosts: 3, ageSeconds: 12, source: 'xds istiod:15012', fromLastKnownGood: false, skippedHosts: 0 },
  xds: { connected: true, reconnects: 0, away: null },
  workers: { count: 1, restarts: 0 },
  credentials: [],
  upstreams: [],
  drops: {},
  socketDrops: 0,
  warnings: [],
  problems: [],
}

function findings(files: Record<string, unknown>, missing: Record<string, string> = {}): string[] {
  const all = { 'versions.json': { byname: '1.0.0' }, 'daemon/status.json': QUIET, ...files }
  const texts = Object.entries(all).flatMap(([file, value]): [string, string][] =>
    value === undefined ? [] : [[file, typeof value === 'string' ? value : JSON.stringify(value)]],
  )
  const reasons = Object.entries(missing).map(([file, reason]) => ({ file, about: '', reason }))
  return findingsOf(new Evidence(new Map(texts), reasons)).map(({ severity, text }) => `${severity}: ${text}`)
}

test('of a daemon that is well there is nothing to say', () => {
  expect(findings({})).toEqual([])
})

test.each<[string, Record<string, unknown>, string]>([
  [
    'a resolver that times out',
    {
      'daemon/upstreams.json': [
        { label: '10.0.0.2:53', healthy: false, requests: { udp: 320, tcp: 2 }, failures: { timeout: 312 } },
      ],
    },
    'error: the resolver 10.0.0.2:53 timed out 312 times (of 322 queries), and does not answer now',
  ],
  [
    'a resolver that fails now and then, in several ways',
    {
      'daemon/upstreams.json': [
        {
          label: '10.0.0.2:53',
          healthy: true,
          requests: { udp: 1000 },
          failures: { servfail: 20, timeout: 30, network: 1 },
        },
      ],
    },
    'warning: the resolver 10.0.0.2:53 timed out 30 times, answered SERVFAIL 20 times, could not be reached once (of 1,000 queries)',
  ],
  [
    'a resolver that leads back',
    { 'daemon/upstreams.json': [{ label: '127.0.0.53:53', isLoop: true, healthy: true, requests: {}, failures: {} }] },
    'error: the resolver 127.0.0.53:53 forwards to byname, a loop; byname asks it no more',
  ],
  [
    'a table that is old because the control plane is away',
    {
      'daemon/status.json': {
        ...QUIET,
        table: { ...QUIET.table, ageSeconds: 3 * 3600 },
        xds: { connected: false, away: { sinceMs: 0, address: 'istiod:15012', reason: 'connect refused' } },
      },
    },
    'error: the table is 3 h 0 min old, and the control plane istiod:15012 is away: connect refused',
  ],
  [
    'a control plane that has just gone away',
    {
      'daemon/status.json': {
        ...QUIET,
        xds: { connected: false, away: { sinceMs: 0, address: 'istiod:15012', reason: 'refused' } },
      },
    },
    'warning: the control plane is away since 1970-01-01T00:00:00.000Z: istiod:15012: refused',
  ],
  [
    'tables that are refused',
    { 'daemon/xds.json': { refused: { reason: 'no name' } } },
    'error: the control plane sends tables that cannot be used (NACK): no name',
  ],
  [
    'no table',
    { 'daemon/status.json': { ...QUIET, ready: false, missing: ['no name table has arrived yet'] } },
    'error: byname is not ready: no name table has arrived yet',
  ],
  [
    'no table, because the control plane is away',
    {
      'daemon/status.json': {
        ...QUIET,
        ready: false,
        missing: ['no name table has arrived yet'],
        table: { ...QUIET.table, hosts: 0, ageSeconds: null },
        xds: { connected: false, away: { sinceMs: 0, address: 'istiod:15012', reason: 'refused' } },
      },
    },
    'error: byname is not ready: no name table has arrived yet: the control plane istiod:15012 is away: refused',
  ],
  [
    'a resolver that fails in the self-tests alone',
    {
      'daemon/upstreams.json': [{ label: '10.0.0.2:53', healthy: true, requests: {}, failures: {} }],
      'daemon/upstreams-later.json': [
        { label: '10.0.0.2:53', healthy: false, requests: { udp: 4 }, failures: { timeout: 4 } },
      ],
    },
    'error: the resolver 10.0.0.2:53 timed out 4 times (of 4 queries), and does not answer now',
  ],
  [
    'missing rules',
    {
      'network/capture.json': {
        isThere: true,
        isExpected: true,
        istio: null,
        differences: ['IPv4, table nat, chain BYNAME_OUTPUT: missing: UDP to port 53 is redirected'],
      },
    },
    'error: capture rules missing or wrong: IPv4, table nat, chain BYNAME_OUTPUT: missing: UDP to port 53 is redirected',
  ],
  [
    'a memory limit that is near',
    { 'machine/cgroup.json': { memory: { limitBytes: GIBIBYTE, bytes: 0.95 * GIBIBYTE }, cpu: {}, processes: {} } },
    'warning: memory limit nearly reached: 972.8 MiB of 1024.0 MiB',
  ],
  [
    'processes killed for want of memory',
    { 'machine/cgroup.json': { memory: { kills: 2 } } },
    'error: the kernel killed processes here for want of memory 2 times',
  ],
  [
    'a CPU limit that is felt',
    { 'machine/cgroup.json': { cpu: { periods: 1000, throttledPeriods: 400, throttledSeconds: 31.4 } } },
    'error: CPU throttled 40 % of periods, for 31 s in all: raise the CPU limit',
  ],
  [
    'a certificate near its end',
    {
      'daemon/status.json': {
        ...QUIET,
        credentials: [
          { kind: 'certificate', from: '/etc/certs/cert-chain.pem', secondsLeft: 1250, isNeeded: true, problem: null },
        ],
      },
    },
    'warning: the certificate /etc/certs/cert-chain.pem expires in 20 minutes',
  ],
  [
    'a certificate that a day is left of, of a life of weeks',
    {
      'daemon/status.json': {
        ...QUIET,
        credentials: [
          { kind: 'certificate', from: '/c', secondsLeft: 20_000, isNeeded: true, isEndingSoon: true, problem: null },
        ],
      },
    },
    'warning: the certificate /c expires in 5 h 33 min',
  ],
  [
    'names of outside the cluster in the table',
    {
      'daemon/table.json': {
        table: {
          'api.example.com': { ips: ['10.66.6.6'], registry: 'External', namespace: 'shop' },
          'web.shop.svc.cluster.local': { ips: ['10.0.0.1'], registry: 'Kubernetes', namespace: 'shop' },
        },
      },
    },
    'note: the name table, and no resolver, has 1 name of outside the cluster: api.example.com (10.66.6.6, namespace shop)',
  ],
  [
    'a token that has expired, of a daemon that does not say',
    { 'machine/certificates.json': [{ kind: 'claims', file: '/t', secondsLeft: -120 }] },
    'error: the token /t expired 2 min ago',
  ],
  [
    'a search storm',
    {
      'daemon/metrics.txt':
        'byname_dns_responses_total{rcode="NXDOMAIN",source="cache"} 800\nbyname_dns_responses_total{rcode="NXDOMAIN",source="upstream"} 70\nbyname_dns_responses_total{rcode="NOERROR",source="mesh"} 130\n',
      'network/resolv.conf':
        'nameserver 127.0.0.1\nsearch shop.svc.cluster.local svc.cluster.local cluster.local\noptions ndots:5\n',
    },
    'warning: search storm: 87 % of 1,000 answers are NXDOMAIN, most of them below search domains: with ndots:5 and 3 search domains each outside name is asked up to 4 times; names written with a dot at the end, or a smaller ndots, avoid it',
  ],
  [
    'failures',
    {
      'daemon/metrics.txt':
        'byname_dns_responses_total{rcode="SERVFAIL",source="upstream"} 20\nbyname_dns_responses_total{rcode="NOERROR",source="mesh"} 80\n',
    },
    'error: 20 % of 100 answers are SERVFAIL',
  ],
  [
    'a poisoned entry of the hosts file',
    {
      'network/hosts': '127.0.0.1 localhost\n203.0.113.66 reviews.shop.svc.cluster.local # who did this\n',
      'daemon/table.json': { table: { 'reviews.shop.svc.cluster.local': { ips: ['10.0.0.7'] } } },
    },
    'error: /etc/hosts contradicts the name table for 1 name: reviews.shop.svc.cluster.local is 203.0.113.66 there and 10.0.0.7 in the table; applications that read it first never ask byname',
  ],
  [
    'a poisoned entry under a short name',
    {
      'network/hosts': '203.0.113.66 Reviews.shop\n',
      'daemon/table.json': {
        table: { 'reviews.shop.svc.cluster.local': { ips: ['10.0.0.7'], shortname: 'reviews', namespace: 'shop' } },
      },
    },
    'error: /etc/hosts contradicts the name table for 1 name: reviews.shop is 203.0.113.66 there and 10.0.0.7 in the table; applications that read it first never ask byname',
  ],
  [
    'entries of outside names',
    {
      'network/hosts':
        '127.0.0.1 localhost localhost.localdomain\nff02::1 ip6-allnodes\n10.0.0.1 pod-1 pod-1.sub\n203.0.113.66 api.pay.example\n',
      'machine/system.json': { host: 'pod-1' },
    },
    'note: /etc/hosts has addresses for 1 outside name, for which applications never ask byname: api.pay.example (203.0.113.66)',
  ],
  [
    'questions that fail',
    {
      'self-tests.json': [
        { test: 'mesh name', question: 'reviews A', result: 'failed', detail: 'no answer' },
        { test: 'localhost', question: 'localhost A', result: 'ok', detail: '' },
      ],
    },
    'error: self-tests fail: mesh name (reviews A): no answer',
  ],
  [
    'workers that died',
    { 'daemon/status.json': { ...QUIET, workers: { count: 1, restarts: 2 } } },
    'warning: workers died and were started again 2 times',
  ],
  [
    'datagrams that the kernel dropped',
    { 'daemon/status.json': { ...QUIET, socketDrops: 5 } },
    'warning: the kernel dropped 5 datagrams before byname could read them: raise net.core.rmem_max, or give it more CPU',
  ],
  [
    'a problem that it says itself',
    {
      'daemon/status.json': {
        ...QUIET,
        problems: [{ about: 'mesh_files', text: 'mesh files in /m: a.yaml: line 3', forSeconds: 125 }],
      },
    },
    'error: mesh files in /m: a.yaml: line 3 (for 2 min)',
  ],
  [
    'a full table of connections',
    {
      'machine/system.json': {
        settings: { 'net.netfilter.nf_conntrack_max': '1000', 'net.netfilter.nf_conntrack_count': '990' },
      },
    },
    'error: the table of tracked connections is nearly full: 990 of 1000; when it is, the kernel drops packets',
  ],
  [
    'a thread that is busy',
    { 'machine/processes.json': { processes: [], busy: [{ pid: 7, name: 'data-0', share: 0.99 }] } },
    'warning: thread data-0 of process 7 takes 99 % of a processor',
  ],
  [
    'another version',
    { 'versions.json': { byname: '2.0.0' } },
    'note: byname 1.0.0 runs, and this report was made by 2.0.0',
  ],
  [
    'errors in the log',
    {
      'daemon/log.json': {
        lines: [],
        failures: [
          { level: 'warn', message: 'x' },
          { level: 'error', time: '2026-11-30T12:00:00.000Z', message: 'data worker ended' },
        ],
      },
    },
    'warning: 1 error in the log, the last at 2026-11-30T12:00:00.000Z: data worker ended',
  ],
])('%s is the finding', (_what, files, expected) => {
  expect(findings(files)).toEqual([expected])
})

test('a redirect that leads to nobody comes first', () => {
  const found = findings(
    {
      'daemon/status.json': undefined,
      'network/capture.json': { isThere: true, isExpected: false, differences: [] },
      'self-tests.json': [
        { test: 'localhost', question: 'localhost A', result: 'failed', detail: 'nothing listens on 127.0.0.1:15053' },
      ],
    },
    { 'daemon/status.json': 'nothing listens on 127.0.0.1:15054' },
  )
  expect(found[0]).toBe(
    'error: DNS is redirected to byname, and nothing answers there (nothing listens on 127.0.0.1:15053): applications here have no DNS; "byname capture remove" takes the redirect away',
  )
})

describe('a daemon that does not answer', () => {
  const reason = { 'daemon/status.json': 'nothing listens on 127.0.0.1:15054' }

  test('and is not there', () => {
    expect(findings({ 'daemon/status.json': undefined }, reason)).toEqual([
      'error: byname does not run here, as far as can be seen: nothing listens on 127.0.0.1:15054',
    ])
  })

  test('and is there', () => {
    expect(
      findings(
        {
          'daemon/status.json': undefined,
          'machine/processes.json': { processes: [{ pid: 7, state: 'S (sleeping)' }] },
        },
        reason,
      ),
    ).toEqual(['error: byname runs, and its admin endpoint does not answer: nothing listens on 127.0.0.1:15054'])
  })

  test('and has a configuration that is refused', () => {
    expect(
      findings(
        { 'daemon/status.json': undefined, 'configuration.json': { problems: ['a.yaml:1:1: x: unknown key'] } },
        reason,
      )[1],
    ).toBe('error: the configuration is refused: a.yaml:1:1: x: unknown key')
  })
})

test.each([
  [null],
  [7],
  [[]],
  [{}],
  [{ table: [], upstreams: 'x', xds: [], credentials: { a: 1 }, problems: [null], warnings: [{}] }],
  ['no JSON'],
])('a status that means nothing (%j) leads to no wrong finding', (status) => {
  for (const finding of findings({ 'daemon/status.json': status }))
    expect(finding).toMatch(/another version|^warning: \[object Object\]$/)
})

test('errors come first', () => {
  const order = findings({
    'daemon/status.json': { ...QUIET, socketDrops: 5, problems: [{ about: 'table_file', text: 'bad', forSeconds: 1 }] },
    'versions.json': { byname: '2.0.0' },
  }).map((line) => line.split(':')[0])
  expect(order).toEqual(['error', 'warning', 'note'])
})
