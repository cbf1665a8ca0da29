import {
  Cell,
  DROP_REASONS,
  DURATION_BOUNDS,
  FAMILIES,
  PROTOS,
  QUERY_TYPES,
  RCODES,
  SIZE_BOUNDS,
  SOURCES,
  Source,
  type WorkerCounters,
} from '../stats/counters.ts'
import { histogramSamples, type Sample } from './scraped-metric.ts'
import { bucketsOf, type MetricDefinition, sumOf } from './metric-definition.ts'
import type { ObserveSources } from './sources.ts'

const SERVFAIL = 2

/**
 * Label sets that are there before anything was counted under them, because a rate needs a first sample to rise from.
 * The others appear with their first count: with all of them a scrape would be 300 lines of zeros.
 */
const ESSENTIAL_TYPES: readonly string[] = ['A', 'AAAA']
const ESSENTIAL_SOURCES: readonly string[] = ['mesh', 'cache', 'upstream']

/** What clients asked, what they got and how long it took, the cache, and what got no answer: all from the workers' counters. */
export function dnsMetrics(sources: ObserveSources): MetricDefinition[] {
  const sum = (read: (counters: WorkerCounters) => number): number => sumOf(sources.counters(), read)
  const cell = (index: number): (() => Sample[]) => {
    return () => [{ labels: {}, value: sum((counters) => counters.get(index)) }]
  }
  return [
    {
      name: 'byname_dns_requests_total',
      help: 'Queries received from clients, by transport, address family of the client and query type (rare types count as other).',
      type: 'counter',
      read: () => requestSamples(sources.counters()),
    },
    {
      name: 'byname_dns_responses_total',
      help: 'Replies sent to clients, by response code and by who answered: mesh (the name table), cache, stale (an expired cache entry, upstream failing), upstream (a server, or SERVFAIL because all of them failed), or local (special names, the hosts file, refusals).',
      type: 'counter',
      read: () => responseSamples(sources.counters()),
    },
    {
      name: 'byname_dns_request_duration_seconds',
      help: 'Time from the arrival of a query to its reply, by where the answer came from.',
      type: 'histogram',
      read: () =>
        SOURCES.flatMap((source, slot) => {
          const counts = bucketsOf(sources.counters(), (counters) => counters.durationsOf(slot))
          if (!counts.some((count) => count > 0) && !ESSENTIAL_SOURCES.includes(source)) return []
          const seconds = sum((counters) => counters.durationSumOf(slot))
          return histogramSamples('byname_dns_request_duration_seconds', { source }, DURATION_BOUNDS, counts, seconds)
        }),
    },
    {
      name: 'byname_dns_response_size_bytes',
      help: 'Size of replies on the wire, by transport.',
      type: 'histogram',
      read: () =>
        PROTOS.flatMap((proto, slot) => {
          const counts = bucketsOf(sources.counters(), (counters) => counters.sizesOf(slot))
          if (!counts.some((count) => count > 0) && proto !== 'udp') return []
          const bytes = sum((counters) => counters.sizeSumOf(slot))
          return histogramSamples('byname_dns_response_size_bytes', { proto }, SIZE_BOUNDS, counts, bytes)
        }),
    },
    {
      name: 'byname_dns_truncated_total',
      help: 'Replies cut to what the client takes over UDP (TC=1); the client asks again over TCP.',
      type: 'counter',
      read: cell(Cell.truncated),
    },
    {
      name: 'byname_dns_refused_opcodes_total',
      help: 'Messages answered NOTIMP because they are no queries, by opcode: update (RFC 2136) or dso (RFC 8490).',
      type: 'counter',
      read: () => [
        { labels: { opcode: 'update' }, value: sum((counters) => counters.get(Cell.updateRequests)) },
        { labels: { opcode: 'dso' }, value: sum((counters) => counters.get(Cell.dsoRequests)) },
      ],
    },
    {
      name: 'byname_dropped_total',
      help: 'Packets that were not served, by reason. Where a table was full (in_flight_full, waiters_full) the client got SERVFAIL, else nothing.',
      type: 'counter',
      read: () =>
        DROP_REASONS.map((reason, slot) => ({
          labels: { reason },
          value: sum((counters) => counters.droppedOf(slot)),
        })),
    },
    {
      name: 'byname_cache_requests_total',
      help: 'Look-ups in the answer cache. Hits over these are the hit ratio.',
      type: 'counter',
      read: cell(Cell.cacheRequests),
    },
    {
      name: 'byname_cache_hits_total',
      help: 'Look-ups answered from the cache, by kind of entry: positive, negative (NXDOMAIN, no data, failures) or stale (expired, served because upstream failed).',
      type: 'counter',
      read: () => [
        { labels: { kind: 'positive' }, value: sum((counters) => counters.get(Cell.cacheHitsPositive)) },
        { labels: { kind: 'negative' }, value: sum((counters) => counters.get(Cell.cacheHitsNegative)) },
        { labels: { kind: 'stale' }, value: sum((counters) => counters.get(Cell.cacheHitsStale)) },
      ],
    },
    {
      name: 'byname_cache_entries',
      help: 'Answers now in the cache, all workers together.',
      type: 'gauge',
      read: cell(Cell.cacheEntries),
    },
    {
      name: 'byname_cache_bytes',
      help: 'Memory that cached answers take, keys and overhead included; bounded by cache.maxBytes.',
      type: 'gauge',
      read: cell(Cell.cacheBytes),
    },
    {
      name: 'byname_cache_evictions_total',
      help: 'Answers removed from the cache, before they expired, to make room. Steadily rising: raise cache.maxBytes.',
      type: 'counter',
      read: cell(Cell.cacheEvictions),
    },
    {
      name: 'byname_cache_prefetches_total',
      help: 'Answers refreshed in the background because they were asked for shortly before they expired.',
      type: 'counter',
      read: cell(Cell.cachePrefetches),
    },
    {
      name: 'byname_cache_doubted_denials_total',
      help: 'Denials by one server, of names or types that were there shortly before, that were not believed (cache.staleOnDenialSeconds).',
      type: 'counter',
      read: cell(Cell.doubtedDenials),
    },
    {
      name: 'byname_rule_matches_total',
      help: 'Queries that a rule matched, by rule (its id, or rules[N]; egress: no rule allows the name) and action (audit: what it would have done was only counted and logged).',
      type: 'counter',
      read: () => ruleSamples(sources),
    },
    {
      name: 'byname_search_denials_total',
      help: 'Queries below a search domain of the cluster that were denied without asking a server, because the name above does not exist.',
      type: 'counter',
      read: cell(Cell.stormDenials),
    },
    {
      name: 'byname_search_questions_total',
      help: "Questions of byname's own that find out what does not exist below search domains: parent (the name above those that clients ask for) or guard (a random name, which must not exist).",
      type: 'counter',
      read: () =>
        [
          { labels: { kind: 'parent' }, value: sum((counters) => counters.get(Cell.stormParents)) },
          { labels: { kind: 'guard' }, value: sum((counters) => counters.get(Cell.stormGuards)) },
        ].filter(({ value }) => value > 0),
    },
    {
      name: 'byname_worker_received_batches_total',
      help: 'Passes of the batch driver that received something. Datagrams over these are the batch size.',
      type: 'counter',
      read: cell(Cell.batches),
    },
    {
      name: 'byname_worker_received_datagrams_total',
      help: 'Datagrams received by the batch driver, from clients and upstream servers.',
      type: 'counter',
      read: cell(Cell.datagrams),
    },
    {
      name: 'byname_udp_receive_buffer_bytes',
      help: 'Receive buffer that the kernel granted to a listening UDP socket (the smallest, of several). Too small a one loses queries in bursts: see byname_udp_socket_drops_total and net.core.rmem_max.',
      type: 'gauge',
      read: () => [{ labels: {}, value: receiveBufferBytes(sources.counters()) }],
    },
  ]
}

/** The four counters of Istio's agent, under its names and with its meaning, for dashboards that exist. */
export function istioAgentMetrics(sources: ObserveSources): MetricDefinition[] {
  const sum = (read: (counters: WorkerCounters) => number): number => sumOf(sources.counters(), read)
  return [
    {
      name: 'istio_agent_dns_requests_total',
      help: "As Istio's agent counts: DNS queries received. See byname_dns_requests_total.",
      type: 'counter',
      read: () => [{ labels: {}, value: sum((counters) => counters.requests) }],
    },
    {
      // Istio counts the client queries that it forwards, not the attempts for them; so does byname. It serves nothing
      // stale: a query that was forwarded is one whatever its client got in the end.
      name: 'istio_agent_dns_upstream_requests_total',
      help: "As Istio's agent counts: queries forwarded upstream, answered or failed. See byname_dns_responses_total.",
      type: 'counter',
      read: () => [
        {
          labels: {},
          value: sum((counters) => total(counters.durationsOf(Source.upstream)) + counters.get(Cell.staleForwarded)),
        },
      ],
    },
    {
      name: 'istio_agent_dns_upstream_failures_total',
      help: "As Istio's agent counts: forwarded queries that no server had an answer to. See byname_upstream_failures_total.",
      type: 'counter',
      read: () => [
        {
          labels: {},
          value: sum(
            (counters) => counters.responsesOf(Source.upstream, SERVFAIL) + counters.get(Cell.staleAfterFailure),
          ),
        },
      ],
    },
    {
      name: 'istio_agent_dns_upstream_request_duration_seconds',
      help: "As Istio's agent counts: time until a forwarded query was answered. See byname_dns_request_duration_seconds.",
      type: 'histogram',
      read: () =>
        histogramSamples(
          'istio_agent_dns_upstream_request_duration_seconds',
          {},
          DURATION_BOUNDS,
          bucketsOf(sources.counters(), (counters) => counters.durationsOf(Source.upstream)),
          sum((counters) => counters.durationSumOf(Source.upstream)),
        ),
    },
  ]
}

/** Least receive buffer that any worker's listener was granted; 0 if none has said. */
export function receiveBufferBytes(counters: readonly WorkerCounters[]): number {
  const granted = counters.map((worker) => worker.get(Cell.receiveBufferBytes)).filter((bytes) => bytes > 0)
  return granted.length > 0 ? Math.min(...granted) : 0
}

function ruleSamples(sources: ObserveSources): Sample[] {
  const { egress, rules } = sources.rules()
  const ofRules = rules.map(({ action, queries, rule }) => ({ labels: { rule, action }, value: queries }))
  if (egress === null) return ofRules
  const action = egress.isAudit ? 'audit' : egress.deny
  return [...ofRules, { labels: { rule: 'egress', action }, value: egress.queries }]
}

function total(counts: Float64Array): number {
  return counts.reduce((sum, count) => sum + count, 0)
}

function requestSamples(counters: readonly WorkerCounters[]): Sample[] {
  const samples: Sample[] = []
  PROTOS.forEach((proto, protoSlot) => {
    FAMILIES.forEach((family, familySlot) => {
      QUERY_TYPES.forEach((type, slot) => {
        const value = sumOf(counters, (worker) => worker.requestsOf(protoSlot, familySlot, slot))
        const essential = proto === 'udp' && family === '4' && ESSENTIAL_TYPES.includes(type)
        if (value > 0 || essential) samples.push({ labels: { proto, family, type }, value })
      })
    })
  })
  return samples
}

function responseSamples(counters: readonly WorkerCounters[]): Sample[] {
  const samples: Sample[] = []
  SOURCES.forEach((source, sourceSlot) => {
    RCODES.forEach((rcode, slot) => {
      const value = sumOf(counters, (worker) => worker.responsesOf(sourceSlot, slot))
      const essential = rcode === 'NOERROR' && ESSENTIAL_SOURCES.includes(source)
      if (value > 0 || essential) samples.push({ labels: { rcode, source }, value })
    })
  })
  return samples
}
