/** Questions that byname is asked while a report is made: what works now, and what does not. */
import dnsPacket, { type DecodedPacket } from 'dns-packet'
import { encodeQuery, extendedErrors, rcodeText } from '../../explain/dns-text.ts'
import { plural } from '../figures.ts'
import { at, entriesOf, listOf } from './evidence.ts'

/** Whom to ask. */
export interface TestServer {
  /** Literal address without brackets. */
  address: string
  port: number
  text: string
}

/** Asks one question. Rejects with one line if there is no reply in time. */
export type Exchange = (
  server: TestServer,
  query: Buffer,
  transport: 'udp' | 'tcp',
  timeoutMs: number,
) => Promise<{ reply: Uint8Array; milliseconds: number }>

/** How a test went. */
export interface TestResult {
  /** `mesh name`, `outside name over TCP`. */
  test: string
  question: string
  server: string
  transport: 'udp' | 'tcp'
  /** `skipped`: there is nothing to ask. */
  result: 'ok' | 'failed' | 'skipped'
  /** In one line: what came, or why nothing did. */
  detail: string
  milliseconds: number | null
}

/** Where the tests ask, and for what. */
export interface TestPlan {
  /** One over IPv4 and one over IPv6, whichever there are. */
  servers: readonly TestServer[]
  /** The name table as /debug/table has it; undefined where it is not to be had. */
  table: unknown
  /** A name of the internet. */
  outsideName: string
  timeoutMs: number
}

interface Planned {
  test: string
  name: string | null
  type: string
  transport?: 'udp' | 'tcp'
  isIpv6?: boolean
  payloadBytes?: number
  /** What is to come: records, or NODATA. */
  expects?: 'records' | 'nodata'
}

const EDNS_BYTES = [512, 1232, 4096] as const

/** Asks all questions at once. */
export async function runSelfTests(plan: TestPlan, exchange: Exchange): Promise<TestResult[]> {
  return await Promise.all(planned(plan).map((each) => runOne(each, plan, exchange)))
}

function planned({ table, outsideName }: TestPlan): Planned[] {
  const { name, type, largest } = meshNames(table)
  const other = type === 'A' ? 'AAAA' : 'A'
  return [
    { test: 'mesh name', name, type },
    { test: 'mesh name over TCP', name, type, transport: 'tcp' },
    { test: 'mesh name, a type that it has not (NODATA)', name, type: other, expects: 'nodata' },
    { test: 'mesh name over IPv6', name, type, isIpv6: true },
    { test: 'outside name', name: outsideName, type: 'A' },
    { test: 'outside name over TCP', name: outsideName, type: 'A', transport: 'tcp' },
    { test: 'outside name over IPv6', name: outsideName, type: 'A', isIpv6: true },
    { test: 'localhost', name: 'localhost', type: 'A' },
    ...EDNS_BYTES.map((payloadBytes) => ({
      test: `EDNS with ${payloadBytes} bytes`,
      name: largest?.name ?? outsideName,
      type: largest?.type ?? 'A',
      payloadBytes,
    })),
  ]
}

/** A host that has addresses of one family alone, and the one with most addresses. */
function meshNames(table: unknown): {
  name: string | null
  type: string
  largest: { name: string; type: string } | null
} {
  let name: string | null = null
  let type = 'A'
  let largest: { name: string; type: string; count: number } | null = null
  for (const [host, info] of entriesOf(at(table, 'table'))) {
    const ips = listOf(at(info, 'ips')).map(String)
    if (host.startsWith('*') || ips.length === 0) continue
    const ofVersion6 = ips.filter((ip) => ip.includes(':')).length
    const most = Math.max(ofVersion6, ips.length - ofVersion6)
    const itsType = ofVersion6 === most ? 'AAAA' : 'A'
    if (name === null && (ofVersion6 === 0 || ofVersion6 === ips.length)) [name, type] = [host, itsType]
    if (most > (largest?.count ?? 0)) largest = { name: host, type: itsType, count: most }
  }
  return { name: name ?? largest?.name ?? null, type: name === null ? (largest?.type ?? 'A') : type, largest }
}

async function runOne(test: Planned, { servers, timeoutMs }: TestPlan, exchange: Exchange): Promise<TestResult> {
  const { name, type, transport = 'udp', isIpv6, payloadBytes = 1232, expects = 'records' } = test
  const server =
    servers.find(({ address }) => address.includes(':') === (isIpv6 ?? false)) ?? (isIpv6 ? undefined : servers[0])
  const result = { test: test.test, question: `${name ?? ''} ${type}`.trim(), server: server?.text ?? '', transport }
  const skipped = (detail: string): TestResult => ({ ...result, result: 'skipped', detail, milliseconds: null })
  if (name === null) return skipped('no mesh host with addresses is known')
  if (server === undefined)
    return skipped(isIpv6 ? 'byname does not listen on IPv6' : 'where byname listens is not known')
  try {
    const query = encodeQuery({ name, type }, false, payloadBytes)
    const { reply, milliseconds } = await exchange(server, query, transport, timeoutMs)
    const took = Math.round(milliseconds * 100) / 100
    const verdict = verdictOf(
      dnsPacket.decode(Buffer.from(reply)),
      reply.length,
      expects,
      transport === 'udp' ? payloadBytes : null,
    )
    return { ...result, result: verdict.isGood ? 'ok' : 'failed', detail: verdict.text, milliseconds: took }
  } catch (error) {
    const detail = (error instanceof Error ? error.message : String(error)).split(';')[0]!
    return { ...result, result: 'failed', detail, milliseconds: null }
  }
}

function verdictOf(
  packet: DecodedPacket,
  bytes: number,
  expects: 'records' | 'nodata',
  mostBytes: number | null,
): { isGood: boolean; text: string } {
  const rcode = rcodeText(packet)
  const errors = extendedErrors(packet).map(({ text }) => text)
  const answers = packet.answers?.length ?? 0
  const text = [
    `${rcode}, ${plural(answers, 'record')}, ${bytes} bytes`,
    ...(packet.flag_tc ? ['truncated'] : []),
    ...errors,
  ].join(', ')
  if (mostBytes !== null && bytes > mostBytes)
    return { isGood: false, text: `${text}: larger than the ${mostBytes} bytes asked for` }
  if (rcode !== 'NOERROR') return { isGood: false, text }
  if (expects === 'nodata') return { isGood: answers === 0, text }
  // A truncated reply is as it should be: the client asks over TCP.
  return { isGood: answers > 0 || packet.flag_tc, text }
}
