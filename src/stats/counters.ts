/**
 * What a data worker counts, in one shared array with one writer (the worker) and many readers (the control thread at
 * scrape time). No atomics: each cell is an aligned 64-bit float, which the supported machines store in one piece, and
 * a reader may see a value that is a moment old.
 *
 * ```
 *  cells (Float64)
 *  ├─ requests        [proto 2][family 2][query type 20]
 *  ├─ responses       [source 5][rcode 24]
 *  ├─ durations       [source 5][bucket 16] then [source 5] sums in seconds
 *  ├─ response sizes  [proto 2][bucket 8]   then [proto 2] sums in bytes
 *  ├─ dropped         [reason 16]
 *  ├─ single counters and gauges (Cell)
 *  ├─ upstream        [server 32][field 32]
 *  ├─ rules           [counter 512]
 *  └─ plug-ins        [plug-in 16][field 40]
 * ```
 */

/** Transports a client may use, in the order of the `proto` label. */
export const PROTOS: readonly string[] = ['udp', 'tcp']

/** Address families of clients, in the order of the `family` label. */
export const FAMILIES: readonly string[] = ['4', '6']

/** Query types with a label of their own; everything else counts as `other`, so that labels stay bounded. */
export const QUERY_TYPES: readonly string[] = [
  'other',
  'A',
  'AAAA',
  'ANY',
  'CAA',
  'CNAME',
  'DNSKEY',
  'DS',
  'HTTPS',
  'MX',
  'NAPTR',
  'NS',
  'PTR',
  'SOA',
  'SRV',
  'SVCB',
  'TXT',
  'TLSA',
]
const TYPE_CODES: readonly number[] = [-1, 1, 28, 255, 257, 5, 48, 43, 65, 15, 35, 2, 12, 6, 33, 64, 16, 52]
const TYPE_SLOTS = 20

/** Slot of a query type in the `requests` block. */
function typeSlot(type: number): number {
  return type < 258 ? TYPE_SLOT_BY_CODE[type]! : 0
}
/** Read only after this line, so sharing it is safe. */
const TYPE_SLOT_BY_CODE: Uint8Array = new Uint8Array(258)
TYPE_CODES.forEach((code, slot) => {
  if (code > 0) TYPE_SLOT_BY_CODE[code] = slot
})

/** Who answered a query, in the order of the `source` label. */
export const SOURCES: readonly string[] = ['mesh', 'cache', 'stale', 'upstream', 'local']
/** Index into SOURCES. */
export type Source = 0 | 1 | 2 | 3 | 4
export const Source = { mesh: 0, cache: 1, stale: 2, upstream: 3, local: 4 } as const
const SOURCE_COUNT = 5

/** Names of response codes 0…23 as the `rcode` label shows them; those without a name show their number. */
export const RCODES: readonly string[] = [
  'NOERROR',
  'FORMERR',
  'SERVFAIL',
  'NXDOMAIN',
  'NOTIMP',
  'REFUSED',
  'YXDOMAIN',
  'YXRRSET',
  'NXRRSET',
  'NOTAUTH',
  'NOTZONE',
  '11',
  '12',
  '13',
  '14',
  '15',
  'BADVERS',
  '17',
  '18',
  '19',
  '20',
  '21',
  '22',
  'BADCOOKIE',
]
const RCODE_SLOTS = 24

/** Upper bounds, in seconds, of the duration histogram's buckets; the last bucket is +Inf. */
export const DURATION_BOUNDS: readonly number[] = [
  0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
]
const DURATION_BUCKETS = 16

/** Upper bounds, in bytes, of the response size histogram's buckets; the last bucket is +Inf. */
export const SIZE_BOUNDS: readonly number[] = [64, 128, 256, 512, 1232, 4096, 16_384]
const SIZE_BUCKETS = 8

/**
 * Why a packet was not served, in the order of the `reason` label of `byname_dropped_total`. If the in-flight or waiter
 * table is full, or a query has to make room in it, the client gets SERVFAIL. Over the rate limit a TCP client gets REFUSED. All of these
 * count here as well. The others get no reply.
 */
export const DROP_REASONS: readonly string[] = [
  'runt',
  'response',
  'source_port_zero',
  'spoofed_reply',
  'late_reply',
  'malformed_reply',
  'in_flight_full',
  'waiters_full',
  'stream_gone',
  'send_failed',
  'rate_limited',
  'rule',
  'plugin',
]
/** Index into DROP_REASONS. */
export const Drop = {
  runt: 0,
  response: 1,
  sourcePortZero: 2,
  spoofedReply: 3,
  lateReply: 4,
  malformedReply: 5,
  inFlightFull: 6,
  waitersFull: 7,
  streamGone: 8,
  sendFailed: 9,
  rateLimited: 10,
  rule: 11,
  plugin: 12,
} as const
const DROP_SLOTS = 16

/** Counters and gauges without labels. Gauges say so. */
export const Cell = {
  cacheRequests: 0,
  cacheHitsPositive: 1,
  cacheHitsNegative: 2,
  cacheHitsStale: 3,
  /** Gauge. */
  cacheEntries: 4,
  /** Gauge, bytes. */
  cacheBytes: 5,
  cacheEvictions: 6,
  cachePrefetches: 7,
  coalesced: 8,
  updateRequests: 9,
  dsoRequests: 10,
  /** Gauge: pending queries, those that nobody waits for left out. */
  inFlight: 11,
  /** Gauge: image generation in use. */
  imageGeneration: 12,
  /** Passes of the batch driver's loop, and datagrams they received: their ratio is the batch size. */
  batches: 13,
  datagrams: 14,
  /** Gauge, bytes: receive buffer that the kernel granted to a listener. */
  receiveBufferBytes: 15,
  /** Replies that were cut to the client's limit (TC=1). */
  truncated: 16,
  loopsDetected: 17,
  /** Questions that a second server was asked because the first took long. */
  hedges: 18,
  /** Stale answers to queries that were forwarded, and those of them that no server had an answer to. */
  staleForwarded: 19,
  staleAfterFailure: 20,
  /** Queries denied because the name above does not exist, and questions of our own that find that out (search-storms.ts). */
  stormDenials: 21,
  stormParents: 22,
  stormGuards: 23,
  /** Denials of what was there shortly before, which a second server was asked about. */
  doubtedDenials: 24,
} as const
const CELL_SLOTS = 32

/** Fields of an upstream server's block. */
export const UpstreamField = {
  requestsUdp: 0,
  requestsTcp: 1,
  requestsTls: 2,
  requestsHttps: 3,
  failuresTimeout: 4,
  failuresRefused: 5,
  failuresServfail: 6,
  failuresMalformed: 7,
  failuresNetwork: 8,
  failuresTruncated: 9,
  failuresFormerr: 10,
  /** Gauge, 0 or 1. */
  healthy: 11,
  /** Gauge, seconds: smoothed round-trip time. */
  rttSeconds: 12,
  durationSum: 13,
  /** First of DURATION_BOUNDS.length + 1 buckets. */
  durations: 14,
  failuresTls: 30,
} as const
/** Servers with counters of their own (labels stay bounded); configuration refuses more. */
export const MAX_SERVERS = 32
const UPSTREAM_FIELDS = 32
/** Rules with counters of their own, those of an earlier configuration included. */
export const MAX_RULE_COUNTERS = 512

/** Fields of a plug-in's block. */
export const PluginCell = {
  /** Whose block it is: a hash of the plug-in's name. */
  name: 0,
  /** Instances that were made. */
  instances: 1,
  /** First of five: what it did about queries, by action; and about replies. */
  actions: 2,
  replyActions: 7,
  /** First of eight: calls that failed, by reason. */
  errors: 12,
  /** First of 16: its own counters. */
  own: 24,
} as const
const PLUGIN_SLOTS = 16
const PLUGIN_FIELDS = 40

const REQUESTS = 0
const RESPONSES: number = REQUESTS + 2 * 2 * TYPE_SLOTS
const DURATIONS: number = RESPONSES + SOURCE_COUNT * RCODE_SLOTS
const DURATION_SUMS: number = DURATIONS + SOURCE_COUNT * DURATION_BUCKETS
const SIZES: number = DURATION_SUMS + SOURCE_COUNT
const SIZE_SUMS: number = SIZES + 2 * SIZE_BUCKETS
const DROPPED: number = SIZE_SUMS + 2
const CELLS: number = DROPPED + DROP_SLOTS
const UPSTREAM: number = CELLS + CELL_SLOTS
const RULES: number = UPSTREAM + MAX_SERVERS * UPSTREAM_FIELDS
const PLUGINS: number = RULES + MAX_RULE_COUNTERS
const LENGTH: number = PLUGINS + PLUGIN_SLOTS * PLUGIN_FIELDS

/** One worker's counters over a shared buffer. The worker writes; whoever else holds the buffer only reads. */
export class WorkerCounters {
  readonly buffer: SharedArrayBuffer
  readonly cells: Float64Array

  constructor(buffer: SharedArrayBuffer = new SharedArrayBuffer(LENGTH * 8)) {
    if (buffer.byteLength !== LENGTH * 8) throw new RangeError(`counters need ${LENGTH * 8} bytes`)
    this.buffer = buffer
    this.cells = new Float64Array(buffer)
  }

  /** Counts a query that arrived. `proto`, `family`: index into PROTOS, FAMILIES; `type`: the query type's code. */
  request(proto: number, family: number, type: number): void {
    this.cells[REQUESTS + (proto * 2 + family) * TYPE_SLOTS + typeSlot(type)]!++
  }

  /** Counts a reply that goes out. `rcode` is the extended one (RFC 6891), `bytes` its size on the wire. */
  response(source: Source, rcode: number, proto: number, bytes: number): void {
    const cells = this.cells
    cells[RESPONSES + source * RCODE_SLOTS + (rcode < RCODE_SLOTS ? rcode : 11)]!++
    let bucket = 0
    while (bucket < SIZE_BOUNDS.length && bytes > SIZE_BOUNDS[bucket]!) bucket++
    cells[SIZES + proto * SIZE_BUCKETS + bucket]!++
    cells[SIZE_SUMS + proto]! += bytes
  }

  /** Counts `count` answers of one source that took `seconds` each. */
  duration(source: Source, seconds: number, count: number): void {
    let bucket = 0
    while (bucket < DURATION_BOUNDS.length && seconds > DURATION_BOUNDS[bucket]!) bucket++
    this.cells[DURATIONS + source * DURATION_BUCKETS + bucket]! += count
    this.cells[DURATION_SUMS + source]! += seconds * count
  }

  drop(reason: number): void {
    this.cells[DROPPED + reason]!++
  }

  /** Adds to a counter of `Cell`. */
  add(cell: number, count: number): void {
    this.cells[CELLS + cell]! += count
  }

  /** Sets a gauge of `Cell`. */
  set(cell: number, value: number): void {
    this.cells[CELLS + cell] = value
  }

  get(cell: number): number {
    return this.cells[CELLS + cell]!
  }

  /** Adds to a field of an upstream server's block. `server`: its index in the settings, below MAX_SERVERS. */
  upstreamAdd(server: number, field: number, count: number): void {
    this.cells[UPSTREAM + server * UPSTREAM_FIELDS + field]! += count
  }

  upstreamSet(server: number, field: number, value: number): void {
    this.cells[UPSTREAM + server * UPSTREAM_FIELDS + field] = value
  }

  upstreamGet(server: number, field: number): number {
    return this.cells[UPSTREAM + server * UPSTREAM_FIELDS + field]!
  }

  /** Clears a server's block: its index now stands for another server. */
  upstreamClear(server: number): void {
    const at = UPSTREAM + server * UPSTREAM_FIELDS
    this.cells.fill(0, at, at + UPSTREAM_FIELDS)
  }

  /** Counts one reply of an upstream server and how long it took. */
  upstreamDuration(server: number, seconds: number): void {
    let bucket = 0
    while (bucket < DURATION_BOUNDS.length && seconds > DURATION_BOUNDS[bucket]!) bucket++
    this.upstreamAdd(server, UpstreamField.durations + bucket, 1)
    this.upstreamAdd(server, UpstreamField.durationSum, seconds)
  }

  /** Counts a query that a rule is about. `counter`: below MAX_RULE_COUNTERS. */
  ruleMatch(counter: number): void {
    this.cells[RULES + counter]!++
  }

  ruleMatchesOf(counter: number): number {
    return this.cells[RULES + counter]!
  }

  /** Adds to a field (PluginCell) of a plug-in's block. `plugin`: its place in the settings. */
  pluginAdd(plugin: number, field: number, count: number): void {
    this.cells[PLUGINS + plugin * PLUGIN_FIELDS + field]! += count
  }

  pluginGet(plugin: number, field: number): number {
    return this.cells[PLUGINS + plugin * PLUGIN_FIELDS + field]!
  }

  /** The block is that plug-in's from now on: it begins at zero unless it was so before. */
  pluginBegin(plugin: number, name: string): void {
    let hash = 1
    for (let i = 0; i < name.length; i++) hash = (Math.imul(hash, 31) + name.charCodeAt(i)) | 0
    const at = PLUGINS + plugin * PLUGIN_FIELDS
    if (this.cells[at + PluginCell.name] === hash) return
    this.cells.fill(0, at, at + PLUGIN_FIELDS)
    this.cells[at + PluginCell.name] = hash
  }

  /** Queries received, of every kind. */
  get requests(): number {
    let requests = 0
    for (let k = REQUESTS; k < REQUESTS + 4 * TYPE_SLOTS; k++) requests += this.cells[k]!
    return requests
  }

  requestsOf(proto: number, family: number, slot: number): number {
    return this.cells[REQUESTS + (proto * 2 + family) * TYPE_SLOTS + slot]!
  }

  responsesOf(source: number, rcode: number): number {
    return this.cells[RESPONSES + source * RCODE_SLOTS + rcode]!
  }

  droppedOf(reason: number): number {
    return this.cells[DROPPED + reason]!
  }

  /** Bucket counts (not cumulative) of a source's durations; the last is +Inf. */
  durationsOf(source: number): Float64Array {
    const at = DURATIONS + source * DURATION_BUCKETS
    return this.cells.subarray(at, at + DURATION_BUCKETS)
  }

  durationSumOf(source: number): number {
    return this.cells[DURATION_SUMS + source]!
  }

  /** Bucket counts (not cumulative) of a transport's response sizes; the last is +Inf. */
  sizesOf(proto: number): Float64Array {
    const at = SIZES + proto * SIZE_BUCKETS
    return this.cells.subarray(at, at + SIZE_BUCKETS)
  }

  sizeSumOf(proto: number): number {
    return this.cells[SIZE_SUMS + proto]!
  }
}
