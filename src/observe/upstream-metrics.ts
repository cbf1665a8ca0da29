import { Cell, DURATION_BOUNDS, MAX_SERVERS, UpstreamField, type WorkerCounters } from '../stats/counters.ts'
import { type MetricDefinition, sumOf } from './metric-definition.ts'
import { histogramSamples, type Sample } from './scraped-metric.ts'
import type { ObserveSources } from './sources.ts'

/** How many attempts went over each transport: `proto` label and field of a server's block. */
const REQUEST_FIELDS: readonly (readonly [proto: string, field: number])[] = [
  ['udp', UpstreamField.requestsUdp],
  ['tcp', UpstreamField.requestsTcp],
  ['tls', UpstreamField.requestsTls],
  ['https', UpstreamField.requestsHttps],
]

const FAILURE_FIELDS: readonly (readonly [reason: string, field: number])[] = [
  ['timeout', UpstreamField.failuresTimeout],
  ['refused', UpstreamField.failuresRefused],
  ['servfail', UpstreamField.failuresServfail],
  ['malformed', UpstreamField.failuresMalformed],
  ['network', UpstreamField.failuresNetwork],
  ['truncated', UpstreamField.failuresTruncated],
  ['formerr', UpstreamField.failuresFormerr],
  ['tls', UpstreamField.failuresTls],
]

/** One upstream server, all workers together. */
export interface UpstreamStatus {
  label: string
  /** Domains whose names are asked of it, `.` for all that no other route takes. */
  routes: string[]
  /** It was found to forward to byname, and is asked no more. */
  isLoop: boolean
  /** False when no worker gets answers from it. */
  healthy: boolean
  /** Smoothed round-trip time, the mean of the workers that have one; null before the first answer. */
  rttMs: number | null
  /** Attempts by transport; those never used are left out. */
  requests: Record<string, number>
  /** Failed attempts by reason; those that never happened are left out. */
  failures: Record<string, number>
}

/** Upstream servers in the order of the settings. A label used twice is one server: an exposition must not repeat a series. */
export function upstreamStatus(
  sources: Pick<ObserveSources, 'counters' | 'serverLabels' | 'serverUses'>,
): UpstreamStatus[] {
  const counters = sources.counters()
  const uses = sources.serverUses()
  return serverIndices(sources.serverLabels()).map(({ label, indices }) => {
    const rtts = values(counters, indices, UpstreamField.rttSeconds).filter((seconds) => seconds > 0)
    return {
      label,
      routes: [...new Set(indices.flatMap((index) => uses[index]?.routes ?? []))],
      isLoop: indices.some((index) => uses[index]?.isLoop === true),
      healthy: values(counters, indices, UpstreamField.healthy).some((healthy) => healthy > 0),
      rttMs: rtts.length > 0 ? (sum(rtts) / rtts.length) * 1000 : null,
      requests: counted(counters, indices, REQUEST_FIELDS),
      failures: counted(counters, indices, FAILURE_FIELDS),
    }
  })
}

/** What was asked of each upstream server and how it did. */
export function upstreamMetrics(sources: ObserveSources): MetricDefinition[] {
  const perServer = (read: (server: UpstreamStatus) => Sample[]) => (): Sample[] =>
    upstreamStatus(sources).flatMap(read)
  const cell = (index: number) => (): Sample[] => [
    { labels: {}, value: sumOf(sources.counters(), (worker) => worker.get(index)) },
  ]
  return [
    {
      name: 'byname_upstream_requests_total',
      help: 'Queries sent to an upstream server, repeats included, by transport.',
      type: 'counter',
      read: perServer(({ label: server, requests }) => {
        // One line at least, so that a server that was never asked is seen to be there.
        const shown = Object.keys(requests).length > 0 ? requests : { [usualProto(server)]: 0 }
        return Object.entries(shown).map(([proto, value]) => ({ labels: { server, proto }, value }))
      }),
    },
    {
      name: 'byname_upstream_failures_total',
      help: 'Queries to an upstream server that brought no usable answer, by reason; tls: its certificate was refused, or the handshake failed.',
      type: 'counter',
      read: perServer(({ label: server, failures }) =>
        Object.entries({ timeout: 0, ...failures }).map(([reason, value]) => ({ labels: { server, reason }, value })),
      ),
    },
    {
      name: 'byname_upstream_request_duration_seconds',
      help: 'Time until an upstream server answered; queries without an answer are not in it.',
      type: 'histogram',
      read: () => durationSamples(sources),
    },
    {
      name: 'byname_upstream_healthy',
      help: '1 if the server is asked in its turn, 0 if it keeps failing, or forwards to byname, and is only asked last or to see whether it recovered.',
      type: 'gauge',
      read: perServer(({ label: server, healthy, isLoop }) => [
        { labels: { server }, value: healthy && !isLoop ? 1 : 0 },
      ]),
    },
    {
      name: 'byname_upstream_route',
      help: '1 for each domain whose names are asked of the server; "." are all names that no other route takes.',
      type: 'gauge',
      read: perServer(({ label: server, routes }) => routes.map((route) => ({ labels: { server, route }, value: 1 }))),
    },
    {
      name: 'byname_upstream_rtt_seconds',
      help: 'Smoothed round-trip time of the server, once it has answered.',
      type: 'gauge',
      read: perServer(({ label: server, rttMs }) =>
        rttMs === null ? [] : [{ labels: { server }, value: rttMs / 1000 }],
      ),
    },
    {
      name: 'byname_upstream_coalesced_total',
      help: 'Queries that joined an equal one already on its way to an upstream server.',
      type: 'counter',
      read: cell(Cell.coalesced),
    },
    {
      name: 'byname_upstream_hedges_total',
      help: 'Questions that a second server was asked as well because the first took long; at most about one in ten.',
      type: 'counter',
      read: cell(Cell.hedges),
    },
    {
      name: 'byname_upstream_in_flight',
      help: 'Pending queries: questions that upstream servers are now being asked, without those that nobody waits for; bounded by upstream.maxInFlight.',
      type: 'gauge',
      read: cell(Cell.inFlight),
    },
    {
      name: 'byname_upstream_loops_total',
      help: 'Own queries that came back: an upstream server forwards to byname. Look for captured queries of a local stub resolver.',
      type: 'counter',
      read: cell(Cell.loopsDetected),
    },
  ]
}

function durationSamples(sources: ObserveSources): Sample[] {
  const counters = sources.counters()
  return serverIndices(sources.serverLabels()).flatMap(({ label, indices }) => {
    const counts = Array.from({ length: DURATION_BOUNDS.length + 1 }, (_, bucket) =>
      sum(values(counters, indices, UpstreamField.durations + bucket)),
    )
    if (!counts.some((count) => count > 0)) return []
    const seconds = sum(values(counters, indices, UpstreamField.durationSum))
    const name = 'byname_upstream_request_duration_seconds'
    return histogramSamples(name, { server: label }, DURATION_BOUNDS, counts, seconds)
  })
}

function serverIndices(labels: readonly string[]): { label: string; indices: number[] }[] {
  const servers = new Map<string, number[]>()
  labels.slice(0, MAX_SERVERS).forEach((label, index) => {
    const indices = servers.get(label)
    if (indices) indices.push(index)
    else servers.set(label, [index])
  })
  return [...servers].map(([label, indices]) => ({ label, indices }))
}

function values(counters: readonly WorkerCounters[], servers: readonly number[], field: number): number[] {
  return counters.flatMap((worker) => servers.map((server) => worker.upstreamGet(server, field)))
}

function counted(
  counters: readonly WorkerCounters[],
  servers: readonly number[],
  fields: readonly (readonly [string, number])[],
): Record<string, number> {
  const all = fields.map(([label, field]) => [label, sum(values(counters, servers, field))] as const)
  return Object.fromEntries(all.filter(([, count]) => count > 0))
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, number) => total + number, 0)
}

/** Transport that a server's label stands for. */
function usualProto(label: string): string {
  return /^(tcp|tls|https):\/\//.exec(label)?.[1] ?? 'udp'
}
