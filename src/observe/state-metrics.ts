import type { MetricDefinition } from './metric-definition.ts'
import { histogramSamples, type Sample } from './scraped-metric.ts'
import type { SocketDrops } from './socket-drops.ts'
import { type ObserveSources, PROBLEM_SUBJECTS, type XdsStateLike } from './sources.ts'

/** The name table and the control plane it comes from. */
export function meshMetrics(sources: ObserveSources): MetricDefinition[] {
  return [
    {
      name: 'byname_mesh_hosts',
      help: 'Hosts in the name table in use; 0 before the first table.',
      type: 'gauge',
      read: () => one(sources.mesh().hosts),
    },
    {
      name: 'byname_mesh_table_bytes',
      help: 'Size of the compiled name table in use.',
      type: 'gauge',
      read: () => one(sources.mesh().bytes),
    },
    {
      name: 'byname_mesh_skipped_hosts',
      help: 'Hosts of the name table in use that were left out: no valid name, or no valid address.',
      type: 'gauge',
      read: () => one(sources.mesh().skippedHosts),
    },
    {
      name: 'byname_mesh_updates_total',
      help: 'Name tables received, by result: changed (now in use), unchanged (equal to the one in use) or refused (could not be read; the one in use stays).',
      type: 'counter',
      read: () => Object.entries(sources.mesh().updates).map(([result, value]) => ({ labels: { result }, value })),
    },
    {
      name: 'byname_mesh_last_update_timestamp_seconds',
      help: 'Unix time when a name table was last accepted, equal ones included; 0 before the first.',
      type: 'gauge',
      read: () => one((sources.mesh().updatedAtMs ?? 0) / 1000),
    },
    {
      name: 'byname_mesh_from_last_known_good',
      help: '1 while answers come from the table kept on disk because none has come from mesh.source since the start, else 0.',
      type: 'gauge',
      read: () => one(sources.mesh().fromLastKnownGood ? 1 : 0),
    },
    {
      name: 'byname_mesh_compile_duration_seconds',
      help: 'Time that compiling a received name table took. It delays no answer.',
      type: 'histogram',
      read: () => {
        const { bounds, counts, sum } = sources.mesh().compileDurations
        return histogramSamples('byname_mesh_compile_duration_seconds', {}, bounds, counts, sum)
      },
    },
    {
      name: 'byname_xds_connected',
      help: '1 while a stream to the control plane is open, else 0; absent where the table does not come over xDS.',
      type: 'gauge',
      read: () => ofXds(sources, (xds) => (xds.connected ? 1 : 0)),
    },
    {
      name: 'byname_xds_reconnects_total',
      help: 'Streams to the control plane opened after the first. One every 30 minutes or so is normal.',
      type: 'counter',
      read: () => ofXds(sources, (xds) => xds.reconnects),
    },
    {
      name: 'byname_credential_expiry_timestamp_seconds',
      help: 'Unix time when a credential towards the control plane expires, by kind: root, certificate or token. Those that do not say are absent.',
      type: 'gauge',
      read: () =>
        sources
          .credentials()
          .flatMap(({ kind, expiresAtMs }) =>
            expiresAtMs === null ? [] : [{ labels: { kind }, value: expiresAtMs / 1000 }],
          ),
    },
  ]
}

/** The process and its sockets. */
export function processMetrics(sources: ObserveSources, drops: SocketDrops): MetricDefinition[] {
  return [
    {
      name: 'byname_build_info',
      help: 'Always 1; its label says which version runs.',
      type: 'gauge',
      read: () => [{ labels: { version: sources.version }, value: 1 }],
    },
    {
      name: 'byname_problems',
      help: 'What is wrong now, by what it is about: a file that cannot be used, a control plane that is away. byname goes on with what it has; /readyz says more.',
      type: 'gauge',
      read: () => {
        const problems = sources.problems()
        return PROBLEM_SUBJECTS.map((about) => ({
          labels: { about },
          value: problems.filter((problem) => problem.about === about).length,
        }))
      },
    },
    {
      name: 'byname_worker_restarts_total',
      help: 'Data and stream workers that died and were started again.',
      type: 'counter',
      read: () => one(sources.workerRestarts()),
    },
    {
      name: 'byname_query_log_dropped_total',
      help: 'Answers that the query log and the samples of the status page lack, by reason: ring_full (byname answered faster than they were read) or output (the disk is full, or the reader is gone or slow). The clients have got theirs.',
      type: 'counter',
      read: () => {
        const { ringFull, output } = sources.queryLog()
        return [
          { labels: { reason: 'ring_full' }, value: ringFull },
          { labels: { reason: 'output' }, value: output },
        ]
      },
    },
    {
      name: 'byname_query_log_entries_total',
      help: 'Answers that the query log has taken; those that its output lost are among them.',
      type: 'counter',
      read: () => one(sources.queryLog().entries),
    },
    {
      name: 'byname_udp_socket_drops_total',
      help: 'Datagrams that the kernel threw away before byname could read them, mostly because a receive buffer was full. Most lost queries are lost here.',
      type: 'counter',
      read: async () => one(drops.update(await sources.socketTables(), sources.listeners())),
    },
  ]
}

function one(value: number): Sample[] {
  return [{ labels: {}, value }]
}

function ofXds(sources: ObserveSources, read: (xds: XdsStateLike) => number): Sample[] {
  const xds = sources.xds()
  return xds ? one(read(xds)) : []
}
