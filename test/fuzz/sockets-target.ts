/** A daemon of its own under fire over UDP and TCP, from clients and from its upstream servers. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nameTableToJson } from '../../src/table/nds.ts'
import { DaemonProcess } from '../daemon/daemon-process.ts'
import { type Exposition, parseExposition } from '../observe/exposition.ts'
import { mix, Random } from '../simulation/random.ts'
import { addressesOf, askTcp, UdpClient } from '../worker/dns-client.ts'
import { Corpus } from './corpus.ts'
import { FuzzUpstream } from './fuzz-upstream.ts'
import { Mutator } from './mutator.ts'
import { QueryMaker } from './query-maker.ts'
import { HOSTS } from './scenery.ts'
import { type Making, Tally, TcpFuzzer, UdpFuzzer } from './socket-clients.ts'

const BATCH = 20_000
const TCP_CLIENTS = 3
const SAY_MS = 10_000
const PROBE = 'web.shop.svc.cluster.local'
const PROBE_ADDRESS = '10.2.3.4'
/** Share of the packets after which memory is what it will stay; how much more it may be in the end. */
const WARM = 0.3
const GROWTH_BYTES = 64 << 20
const PAGE = 4096

export interface SocketsRun {
  seed: number
  /** Half of them over each transport. */
  packets: number
  driver: 'batch' | 'dgram'
  log: (line: string) => void
}

export async function runSockets(run: SocketsRun): Promise<{ fault: string | null; summary: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'byname-fuzz-'))
  const table = join(folder, 'table.json')
  writeFileSync(table, nameTableToJson(new Map(HOSTS)))
  const servers = await Promise.all([1, 2].map((k) => FuzzUpstream.start(mix(run.seed, k))))
  let daemon: DaemonProcess | null = null
  try {
    daemon = await DaemonProcess.start({
      config: {
        driver: run.driver,
        identity: { namespace: 'shop' },
        mesh: { source: { table } },
        upstream: {
          servers: servers.map(({ port }) => `127.0.0.1:${port}`),
          attemptTimeoutMs: 15,
          deadlineMs: 60,
        },
        cache: { maxBytes: 512 * 1024, nxdomainCut: true },
      },
    })
    return await fire(daemon, run)
  } finally {
    await daemon?.stop()
    await Promise.all(servers.map((server) => server.stop()))
    rmSync(folder, { recursive: true })
  }
}

async function fire(daemon: DaemonProcess, run: SocketsRun): Promise<{ fault: string | null; summary: string }> {
  const random = new Random(mix(run.seed, 0x50c))
  const queries = Corpus.of('queries', random)
  const making: Making = { random, maker: new QueryMaker(random), mutator: new Mutator(random, () => queries.pick()) }
  const tally = new Tally()
  const to = daemon.at()
  const udp = await UdpFuzzer.open(to, making, tally)
  const tcp = Array.from({ length: TCP_CLIENTS }, () => new TcpFuzzer(to, making, tally))
  const probe = await UdpClient.open()
  const startedAt = performance.now()
  let saidAt = startedAt
  let warm = 0
  let most = 0
  let done = 0
  let fault: string | null = null
  try {
    while (done < run.packets) {
      const batch = Math.min(BATCH, run.packets - done)
      await Promise.all([udp.run(batch >> 1), ...tcp.map((client) => client.run(Math.ceil(batch / 2 / TCP_CLIENTS)))])
      done += batch
      await isAlive(daemon, probe)
      const bytes = residentBytes(daemon.child.pid!)
      most = Math.max(most, bytes)
      if (done <= run.packets * WARM) warm = Math.max(warm, bytes)
      else if (warm > 0 && bytes > warm + GROWTH_BYTES)
        throw new Error(`memory has grown from ${warm >> 20} to ${bytes >> 20} MiB`)
      if (performance.now() - saidAt < SAY_MS) continue
      saidAt = performance.now()
      run.log(`${done} packets, ${Math.round((done * 1000) / (saidAt - startedAt))}/s, ${bytes >> 20} MiB`)
    }
    checkCounters(parseExposition(await (await daemon.get('metrics', '/metrics')).text()), tally)
  } catch (error) {
    fault = error instanceof Error ? error.message : String(error)
    if (daemon.child.exitCode !== null) fault += `; the daemon has ended: ${daemon.otherLines.slice(-20).join('\n')}`
  } finally {
    udp.close()
    probe.close()
  }
  const seconds = (performance.now() - startedAt) / 1000
  const summary = `${run.driver}, seed ${run.seed}: ${done} packets in ${seconds.toFixed(1)} s (${Math.round(done / seconds)}/s), ${tally.replies} replies, ${tally.connections} connections (${tally.malformed} ended by a malformed frame), memory ${warm >> 20} MiB when warm, ${most >> 20} MiB at most`
  return { fault, summary }
}

/** Well-formed questions are answered over both transports, whatever came before. */
async function isAlive(daemon: DaemonProcess, client: UdpClient): Promise<void> {
  const overUdp = addressesOf((await client.ask(daemon.at(), PROBE)).packet)
  const overTcp = addressesOf(await askTcp(daemon.at(), PROBE))
  if (overUdp.join() !== PROBE_ADDRESS || overTcp.join() !== PROBE_ADDRESS)
    throw new Error(`${PROBE} has addresses ${overUdp.join()} over UDP and ${overTcp.join()} over TCP`)
}

function equal(what: string, is: number, wanted: number): void {
  if (is !== wanted) throw new Error(`${what}: ${is} are counted, ${wanted} expected`)
}

/** What the daemon says it got is what was sent. */
function checkCounters(exposition: Exposition, tally: Tally): void {
  const sum = (name: string, labels: Record<string, string> = {}): number =>
    exposition.series
      .filter(
        (series) =>
          series.name === name && Object.entries(labels).every(([key, value]) => series.labels[key] === value),
      )
      .reduce((total, { value }) => total + value, 0)
  // Probes, of which each batch sends one, are among the requests as well.
  const udp = sum('byname_dns_requests_total', { proto: 'udp' })
  const tcp = sum('byname_dns_requests_total', { proto: 'tcp' })
  const probes = udp - tally.udpQueries
  if (probes <= 0) throw new Error(`${udp} queries over UDP are counted, ${tally.udpQueries} were sent`)
  equal('datagrams lost by the kernel', sum('byname_udp_socket_drops_total'), 0)
  equal('responses', sum('byname_dns_responses_total'), udp + tcp)
  equal('runts', sum('byname_dropped_total', { reason: 'runt' }), tally.runts)
  const responses = sum('byname_dropped_total', { reason: 'response' })
  if (responses < tally.udpResponses || responses > tally.udpResponses + tally.tcpResponses)
    throw new Error(
      `${responses} responses from clients are counted, ${tally.udpResponses + tally.tcpResponses} were sent`,
    )
  const sent = tally.tcpQueries + probes
  if (tcp > sent || tcp < sent - tally.givenUp)
    throw new Error(`${tcp} queries over TCP are counted, ${sent} were sent`)
  equal('durations', sum('byname_dns_request_duration_seconds_count'), udp + tcp)
  equal('sizes', sum('byname_dns_response_size_bytes_count'), udp + tcp)
}

/** Resident memory of a process and those that it has started. */
function residentBytes(pid: number): number {
  const pages = Number(readFileSync(`/proc/${pid}/statm`, 'utf8').split(' ')[1])
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').trim()
  return (
    pages * PAGE +
    (children === '' ? 0 : children.split(' ').reduce((sum, child) => sum + residentBytes(Number(child)), 0))
  )
}
