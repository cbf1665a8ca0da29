/** An engine with a table and a filled cache, and the packets to ask it with: no socket, no thread. */
import { Engine } from '../../src/engine/engine.ts'
import type { Outlet } from '../../src/engine/outlet.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { WorkerCounters } from '../../src/stats/counters.ts'
import { TableCompiler } from '../../src/table/compile.ts'
import type { Image } from '../../src/table/image.ts'
import { encodeNameTable, type NameInfo } from '../../src/table/nds.ts'
import { addressAt, nameAt, NAMESPACES } from '../load/names.ts'

export const SEED = 0x2545f491
export const HOSTS = 10_000
/** One packet after the other begins at a multiple of this, as in the driver's slots. */
export const SLOT_BYTES = 2048
/** Questions asked in turn: a power of two, enough that no branch predictor learns them. */
export const PACKETS = 4096

const HEADER = 12
const LOOPBACK = Uint8Array.of(127, 0, 0, 1)

/** Slots of `SLOT_BYTES` with one A question each; `lengths` says how long each is. */
export interface Packets {
  bytes: Uint8Array
  lengths: Uint16Array
}

/** Questions for `nameOf(0)` … in an order that jumps around; with an OPT record as stub resolvers send it. */
export function questions(nameOf: (n: number) => string): Packets {
  const bytes = new Uint8Array(PACKETS * SLOT_BYTES)
  const lengths = new Uint16Array(PACKETS)
  for (let i = 0; i < PACKETS; i++) {
    const packet = question(nameOf((i * 7919) % HOSTS), i)
    bytes.set(packet, i * SLOT_BYTES)
    lengths[i] = packet.length
  }
  return { bytes, lengths }
}

/** A serialized NameTable of `hosts` Kubernetes services; `moved` of them have another address than usual. */
export function serializedTable(hosts: number, moved = 0): Uint8Array {
  const table = new Map<string, NameInfo>()
  for (let n = 0; n < hosts; n++) {
    const address = n < moved ? addressAt(n).replace('240.', '250.') : addressAt(n)
    const namespace = `ns${n % NAMESPACES}`
    table.set(nameAt(n), { ips: [address], registry: 'Kubernetes', shortname: `svc-${n}`, namespace, altHosts: [] })
  }
  return encodeNameTable(table)
}

export function tableCompiler(): TableCompiler {
  const identity = { namespace: 'ns0', domain: 'ns0.svc.cluster.local', searchDomain: 'ns0.svc.cluster.local' }
  return new TableCompiler({ identity, seed: SEED, now: () => performance.now() })
}

export function compiledImage(hosts: number): Image {
  const result = tableCompiler().compile(serializedTable(hosts), 'fixture')
  if (result.kind !== 'image') throw new Error(`the fixture's table is ${result.kind}`)
  return result.image
}

/** An engine that has adopted `image` and holds the answers to `cached`. */
export function readyEngine(image: Image, cached: Packets): Engine {
  const outlet = new EchoingOutlet()
  let state = 1
  const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) | 0)
  const engine = new Engine({
    settings: SETTINGS,
    outlet,
    counters: new WorkerCounters(),
    random,
    seed: SEED,
    now: 1000,
  })
  engine.adopt(image)
  engine.client(0, LOOPBACK, 0, 4)
  const scratch = new Uint8Array(65_536)
  for (let i = 0; i < PACKETS; i++) {
    const at = i * SLOT_BYTES
    const length = cached.lengths[i]!
    if (engine.query(cached.bytes, at, length, scratch, 0) > 0) continue
    const reply = outlet.takeReply()
    engine.upstreamDatagram(0, reply, 0, reply.length, false)
    if (engine.query(cached.bytes, at, length, scratch, 0) === 0)
      throw new Error('the fixture’s answers are not cached')
  }
  return engine
}

const SETTINGS: EngineSettings = {
  ttlSeconds: 30,
  httpsRecords: 'nodata',
  beforeSync: 'auto',
  startedAtMs: 0,
  maxUdpPayload: { local: 4096, remote: 1232 },
  access: [],
  ownAddresses: [],
  servers: [{ label: '127.0.0.1:53', transport: 'udp', address: '127.0.0.1', port: 53 }],
  routes: [{ domains: [Uint8Array.of(0)], servers: [0], policy: 'random' }],
  attemptTimeoutMs: 1000,
  deadlineMs: 4500,
  maxInFlight: 4096,
  cache: {
    maxBytes: 8 << 20,
    minTtlSeconds: 0,
    maxTtlSeconds: 3600,
    maxNegativeTtlSeconds: 300,
    staleSeconds: 3600,
    prefetch: true,
  },
}

/** Turns every query to the upstream server into its answer: one address, TTL 3600. */
class EchoingOutlet implements Outlet {
  readonly reply: Uint8Array = new Uint8Array(65_536)
  readonly replyAt = 0
  readonly query: Uint8Array = new Uint8Array(512)
  readonly queryAt = 0
  #answer: Uint8Array = new Uint8Array(0)

  takeReply(): Uint8Array {
    return this.#answer
  }

  hold(): void {}
  openReply(): void {}
  sendReply(): void {}
  openQuery(): void {}
  sendStreamQuery(): void {}

  sendQuery(_server: number, _length: number): number {
    const asked = this.query
    let end = HEADER
    while (asked[end] !== 0) end += asked[end]! + 1
    end += 5
    const record = [0xc0, HEADER, 0, 1, 0, 1, 0, 0, 14, 16, 0, 4, 192, 0, 2, 1]
    this.#answer = Uint8Array.from([...asked.subarray(0, end), ...record])
    this.#answer.set([0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0], 2)
    return 0
  }
}

function question(name: string, id: number): Uint8Array {
  const labels = name.split('.').flatMap((label) => [label.length, ...Buffer.from(label, 'latin1')])
  const opt = [0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]
  return Uint8Array.from([id >> 8, id & 255, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, ...labels, 0, 0, 1, 0, 1, ...opt])
}
