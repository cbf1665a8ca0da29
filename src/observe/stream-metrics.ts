import { StreamCell } from '../stats/stream-counters.ts'
import type { MetricDefinition } from './metric-definition.ts'
import type { Sample } from './scraped-metric.ts'
import type { ObserveSources } from './sources.ts'

/** Why a client's connection was closed by other than the client's own wish: `reason` label and counter. */
const CLOSE_REASONS: readonly (readonly [reason: string, cell: StreamCell])[] = [
  ['limit', StreamCell.connectionsRefusedTotal],
  ['client_limit', StreamCell.connectionsRefusedClient],
  ['idle', StreamCell.connectionsIdleClosed],
  ['evicted', StreamCell.connectionsEvicted],
  ['slow_reader', StreamCell.connectionsSlowClosed],
  ['malformed', StreamCell.framesMalformed],
  ['worker_lost', StreamCell.connectionsLost],
  ['failed', StreamCell.connectionsFailed],
]

/** Connections of clients and to upstream servers. No lines without a stream worker. */
export function streamMetrics(sources: ObserveSources): MetricDefinition[] {
  const cell = (index: StreamCell) => (): Sample[] => {
    const counters = sources.streamCounters()
    return counters ? [{ labels: {}, value: counters.get(index) }] : []
  }
  return [
    {
      name: 'byname_client_connections',
      help: "Clients' stream connections (TCP) now open.",
      type: 'gauge',
      read: cell(StreamCell.connectionsOpen),
    },
    {
      name: 'byname_client_connections_accepted_total',
      help: "Clients' stream connections accepted.",
      type: 'counter',
      read: cell(StreamCell.connectionsAccepted),
    },
    {
      name: 'byname_client_connections_closed_total',
      help: "Clients' stream connections that byname closed or lost, by reason: limit and client_limit (too many, in all or from one client), idle, evicted (idle, to make room), slow_reader, malformed (a frame shorter than a header), worker_lost, failed (reset).",
      type: 'counter',
      read: () => {
        const counters = sources.streamCounters()
        if (!counters) return []
        return CLOSE_REASONS.map(([reason, index]) => ({ labels: { reason }, value: counters.get(index) }))
      },
    },
    {
      name: 'byname_upstream_connections',
      help: 'Connections to upstream servers (TCP, TLS, HTTPS) now open or opening.',
      type: 'gauge',
      read: cell(StreamCell.upstreamConnectionsOpen),
    },
    {
      name: 'byname_upstream_connections_opened_total',
      help: 'Connections opened to upstream servers. Close to the number of queries sent over them: they are not reused.',
      type: 'counter',
      read: cell(StreamCell.upstreamConnectionsOpened),
    },
  ]
}
