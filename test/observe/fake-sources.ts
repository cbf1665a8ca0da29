import { BucketCounts, COMPILE_BOUNDS } from '../../src/observe/bucket-counts.ts'
import type { Log } from '../../src/observe/log.ts'
import type { MeshState, ObserveSources } from '../../src/observe/sources.ts'
import { WorkerCounters } from '../../src/stats/counters.ts'
import { StreamCounters } from '../../src/stats/stream-counters.ts'

/** Sources of a quiet daemon with two workers and two upstream servers; `changes` replace what a test is about. */
export function fakeSources(changes: Partial<ObserveSources> = {}): ObserveSources {
  const counters = [new WorkerCounters(), new WorkerCounters()]
  const streamCounters = new StreamCounters()
  const mesh = fakeMesh()
  return {
    version: '1.2.3',
    pid: 4711,
    startedAtMs: Date.UTC(2026, 10, 1),
    nowMs: () => Date.UTC(2026, 10, 1, 0, 1),
    driver: () => ({ name: 'dgram', why: 'koffi is not installed' }),
    listeners: () => [
      { proto: 'udp', address: '127.0.0.1', port: 15053 },
      { proto: 'tcp', address: '127.0.0.1', port: 15053 },
    ],
    counters: () => counters,
    workerRestarts: () => 0,
    streamCounters: () => streamCounters,
    plugins: () => [],
    serverLabels: () => ['10.96.0.10:53', 'tls://9.9.9.9:853#dns.quad9.net'],
    serverUses: () => [
      { routes: ['.', 'corp.example'], isLoop: false },
      { routes: ['.'], isLoop: false },
    ],
    mesh: () => mesh,
    xds: () => ({ connected: true, reconnects: 2, away: null }),
    xdsHistory: () => [],
    recentLog: () => ({ lines: [], failures: [], dropped: 0 }),
    credentials: () => [],
    searchHosts: () => ({ hosts: 0, found: 0, shown: [] }),
    tableJson: () => ['{"table":{', '}}'],
    config: () => ({ workers: 2 }),
    rules: () => ({ names: 0, bytes: 0, rules: [], egress: null, recent: [] }),
    ready: () => ({ ready: true, missing: [] }),
    ping: () => Promise.resolve([true, true]),
    flush: () => Promise.resolve(0),
    explain: () => Promise.resolve({ problem: 'nothing to explain' }),
    samples: { subscribe: () => () => {}, catchUp: () => {} },
    collectsTopNames: () => true,
    searchDomains: () => ['shop.svc.cluster.local', 'cluster.local'],
    queryLog: () => ({ entries: 0, ringFull: 0, output: 0 }),
    warnings: () => [],
    problems: () => [],
    reload: () => null,
    adminToken: () => null,
    socketTables: () => Promise.resolve([]),
    ...changes,
  }
}

export function fakeMesh(changes: Partial<MeshState> = {}): MeshState {
  return {
    hosts: 12,
    bytes: 4096,
    version: '2026-11-01/7',
    source: 'xds 127.0.0.1:15010',
    fromLastKnownGood: false,
    updatedAtMs: Date.UTC(2026, 10, 1, 0, 0, 30),
    skippedHosts: 0,
    updates: { changed: 3, unchanged: 4, refused: 1 },
    compileDurations: new BucketCounts(COMPILE_BOUNDS),
    ...changes,
  }
}

export interface LogLine {
  level: string
  fields: Record<string, unknown>
  message: string
}

/** A log that keeps what it is told. */
export function fakeLog(): Pick<Log, 'debug' | 'info' | 'warn' | 'error'> & { lines: LogLine[] } {
  const lines: LogLine[] = []
  const at = (level: string) => (fields: object, message: string) =>
    void lines.push({ level, fields: { ...fields }, message })
  return { lines, debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
}
