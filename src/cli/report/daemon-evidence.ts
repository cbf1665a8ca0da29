/** What a daemon says of itself, at its admin and metrics endpoints. */
import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Collector, jsonText } from './collecting.ts'
import { at, entriesOf, listOf, textOf } from './evidence.ts'
import { redactDocument } from './secrets.ts'

/** Body of a GET from an endpoint. Rejects with one line: nothing listens, silence, another version. */
export type AskDaemon = (path: string, signal: AbortSignal) => Promise<string>

/** Files of a report that others read. */
export const DaemonFile = {
  status: 'daemon/status.json',
  config: 'daemon/configuration.json',
  upstreams: 'daemon/upstreams.json',
  upstreamsLater: 'daemon/upstreams-later.json',
  cache: 'daemon/cache.json',
  xds: 'daemon/xds.json',
  xdsHistory: 'daemon/xds-history.json',
  log: 'daemon/log.json',
  lastHour: 'daemon/last-hour.json',
  table: 'daemon/table.json',
  tableSummary: 'daemon/table-summary.json',
  health: 'daemon/health.txt',
  metrics: 'daemon/metrics.txt',
  metricsLater: 'daemon/metrics-later.txt',
  metricsDifference: 'daemon/metrics-difference.txt',
} as const

const DOCUMENTS: readonly (readonly [file: string, path: string, about: string])[] = [
  [DaemonFile.status, '/debug/status', 'how the daemon is doing'],
  [DaemonFile.config, '/debug/config', 'configuration in use, secrets redacted; identity of the workload'],
  [DaemonFile.upstreams, '/debug/upstreams', 'upstream servers: state, round-trip time, failures'],
  [DaemonFile.cache, '/debug/cache', 'figures of the cache'],
  [DaemonFile.xds, '/debug/xds', 'connection to the control plane'],
  [DaemonFile.xdsHistory, '/debug/xds/history', 'connections, tables and refusals of the last time'],
  [
    DaemonFile.lastHour,
    '/debug/overview?history=3600',
    'figures of the last hour, names asked for most, failing, and searched; failures one by one',
  ],
  [DaemonFile.log, '/debug/log', 'the last lines of the log, and the last failures'],
]

/** Characters of the listing of a table, some 30,000 hosts. */
const MOST_LISTED_CHARS: number = 4 * 1024 * 1024

/** Collectors of all that the admin endpoint says. `onTable` gets the table read, for those who compare with it. */
export function daemonCollectors(ask: AskDaemon, onTable: (table: unknown) => void): Collector[] {
  const table = new Deferred(async (signal) => {
    const read: unknown = JSON.parse(await ask('/debug/table', signal))
    onTable(read)
    return tableEvidence(read)
  })
  return [
    ...DOCUMENTS.map(([file, path, about]) => ({
      file,
      about,
      collect: async (signal: AbortSignal): Promise<string> => {
        const body = await ask(path, signal)
        const document: unknown = parse(body)
        return document === undefined ? body : jsonText(redactDocument(document))
      },
    })),
    {
      file: DaemonFile.tableSummary,
      about: 'the name table in figures: hosts by registry and namespace, hash',
      collect: async (signal) => jsonText((await table.get(signal)).summary),
    },
    {
      file: DaemonFile.table,
      about: 'the name table, the first hosts of a large one',
      collect: async (signal) => (await table.get(signal)).listing,
    },
  ]
}

/** The upstream servers once more, after the self-tests: of a daemon that nobody asks only these show what fails. */
export function upstreamsLater(ask: AskDaemon): Collector {
  return {
    file: DaemonFile.upstreamsLater,
    about: 'upstream servers, after the self-tests',
    collect: async (signal) => {
      const body = await ask('/debug/upstreams', signal)
      const document: unknown = parse(body)
      return document === undefined ? body : jsonText(redactDocument(document))
    },
  }
}

/** Collectors of what the metrics endpoint says; two scrapes `apartMs` apart, and what changed between them. */
export function metricsCollectors(ask: AskDaemon, apartMs: number): Collector[] {
  const scrape = (signal: AbortSignal): Promise<string> => ask('/metrics', signal)
  const startedAt = performance.now()
  const first = new Deferred(scrape)
  const second = new Deferred(async (signal) => {
    await first.get(signal)
    await sleep(apartMs, undefined, { signal })
    return { text: await scrape(signal), seconds: (performance.now() - startedAt) / 1000 }
  })
  return [
    {
      file: DaemonFile.health,
      about: 'what probes are told',
      collect: async (signal) => {
        const [health, ready] = await Promise.all([ask('/healthz', signal), ask('/readyz', signal)])
        return `/healthz: ${health.trim()}\n\n/readyz: ${ready.trim()}\n`
      },
    },
    { file: DaemonFile.metrics, about: 'all metrics', collect: (signal) => first.get(signal) },
    {
      file: DaemonFile.metricsLater,
      about: `all metrics, ${apartMs / 1000} s later`,
      collect: async (signal) => (await second.get(signal)).text,
    },
    {
      file: DaemonFile.metricsDifference,
      about: 'which metrics changed meanwhile',
      collect: async (signal) => {
        const { text, seconds } = await second.get(signal)
        return metricsDifference(await first.get(signal), text, seconds)
      },
    },
  ]
}

/** Something that several collectors need and one of them has made. */
class Deferred<T> {
  readonly #make: (signal: AbortSignal) => Promise<T>
  #made: Promise<T> | null = null

  constructor(make: (signal: AbortSignal) => Promise<T>) {
    this.#make = make
  }

  get(signal: AbortSignal): Promise<T> {
    this.#made ??= this.#make(signal)
    return this.#made
  }
}

/** What is no JSON stays a text: another version's. */
function parse(body: string): unknown {
  try {
    return JSON.parse(body)
  } catch {
    return undefined
  }
}

/** A table as a listing of bounded size and a summary. Two tables with the same hosts have the same hash, in any order. */
function tableEvidence(read: unknown): { listing: string; summary: unknown } {
  const hosts = entriesOf(at(read, 'table')).toSorted(([a], [b]) => (a < b ? -1 : 1))
  const hash = createHash('sha256')
  const registries: Record<string, number> = {}
  const namespaces: Record<string, number> = {}
  const lines: string[] = []
  let chars = 0
  for (const [host, info] of hosts) {
    const registry = textOf(at(info, 'registry')) ?? ''
    const namespace = textOf(at(info, 'namespace')) ?? ''
    const ips = listOf(at(info, 'ips')).map(String).toSorted()
    hash.update(JSON.stringify([host, registry, namespace, textOf(at(info, 'shortname')) ?? '', ips]))
    registries[registry] = (registries[registry] ?? 0) + 1
    namespaces[namespace] = (namespaces[namespace] ?? 0) + 1
    const line = `${JSON.stringify(host)}: ${JSON.stringify(info)}`
    chars += line.length
    if (chars <= MOST_LISTED_CHARS) lines.push(line)
  }
  const most = Object.entries(namespaces).toSorted(([, a], [, b]) => b - a)
  const summary = {
    hosts: hosts.length,
    listed: lines.length,
    sha256: hash.digest('hex'),
    registries,
    namespaces: Object.fromEntries(most.slice(0, 200)),
    furtherNamespaces: Math.max(0, most.length - 200),
  }
  return { listing: `{"table":{\n${lines.join(',\n')}\n}}\n`, summary }
}

/** What rose or fell between two scrapes, a line a sample: `name{labels} before → after (+difference, per second)`. */
function metricsDifference(before: string, after: string, seconds: number): string {
  const first = samplesOf(before)
  const lines: string[] = []
  for (const [sample, value] of samplesOf(after)) {
    const earlier = first.get(sample) ?? 0
    if (value === earlier || sample.includes('_bucket{')) continue
    const difference = value - earlier
    const rate = `${sign(difference / seconds)} a second`
    lines.push(`${sample} ${rounded(earlier)} → ${rounded(value)} (${sign(difference)}, ${rate})`)
  }
  return `# Between two scrapes, ${seconds.toFixed(1)} s apart.\n${lines.join('\n') || '# Nothing has changed.'}\n`
}

/** Values of an exposition by name and labels. */
export function samplesOf(exposition: string): Map<string, number> {
  const samples = new Map<string, number>()
  for (const line of exposition.split('\n')) {
    const [, sample, value] = /^([a-z_:][\w:]*(?:\{.*\})?) (\S+)$/i.exec(line) ?? []
    if (sample !== undefined) samples.set(sample, Number(value))
  }
  return samples
}

function sign(value: number): string {
  return `${value < 0 ? '' : '+'}${rounded(value)}`
}

function rounded(value: number): string {
  return String(Math.round(value * 1000) / 1000)
}
