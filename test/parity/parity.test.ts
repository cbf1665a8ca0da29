/** All 852 answers recorded from Istio's DNS agent, asked of the daemon over real sockets. */
import { readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Answer, DecodedPacket } from 'dns-packet'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { NameTable } from '../../src/table/nds.ts'
import { DaemonProcess } from '../daemon/daemon-process.ts'
import { ScriptedResolver } from '../scenario/scripted-resolver.ts'
import { rcodeOf, TcpClient, UdpClient } from '../worker/dns-client.ts'
import { answerAsRecorded } from './istio-upstream.ts'
import {
  expansionTarget,
  nameOf,
  ownerOf,
  type ParityContext,
  type RecordedAnswer,
  type RecordedRecord,
  STAR_RULES,
  wildcardOf,
} from './star-rules.ts'

interface GoNameInfo {
  Ips: string[]
  Registry: string
  Shortname?: string
  Namespace?: string
  AltHosts?: string[]
}

const FOLDER = new URL('.', import.meta.url)
const table = readTable()
const recorded = readRecorded()
const context: ParityContext = {
  table,
  search: 'shop.svc.cluster.local',
  namespace: 'shop',
  cluster: 'svc.cluster.local',
  byName: Map.groupBy(recorded, nameOf),
}

/** An answer as it came, in the form of the recorded ones; its authority section as well. */
interface GivenAnswer extends Omit<RecordedAnswer, 'q' | 't' | 'tcp' | 'edns'> {
  packet: DecodedPacket
}

describe.each(['batch', 'dgram'])('driver %s', (driver) => {
  const given: GivenAnswer[] = []
  let daemon: DaemonProcess
  let upstream: ScriptedResolver

  beforeAll(async () => {
    upstream = await ScriptedResolver.start(answerAsRecorded)
    const tableFile = join(tmpdir(), `byname-parity-${process.pid}-${driver}.json`)
    writeFileSync(tableFile, JSON.stringify({ table: Object.fromEntries(table) }))
    daemon = await DaemonProcess.start({
      config: {
        driver,
        identity: { namespace: 'shop', domain: 'shop.svc.cluster.local' },
        mesh: { source: { table: tableFile } },
        upstream: { servers: [upstream.text] },
        // A third of the server's names do not exist, with names below them that do: no denial of a parent counts there.
        search: { storms: 'off' },
      },
      // Its nameserver would be the daemon itself; the search domains are what counts.
      resolvConf: readFileSync(new URL('resolv.conf', FOLDER), 'utf8'),
    })
    await daemon.line('name table adopted')
    const udp = await UdpClient.open()
    const tcp = await TcpClient.open(daemon.at())
    // In the order of the recording: an answer from the cache must be like the one before it.
    for (const { q, t, tcp: isTcp, edns } of recorded) {
      const asking = edns === null ? {} : { edns }
      given.push(read(isTcp ? await tcp.ask(q, t, asking) : (await udp.ask(daemon.at(), q, t, asking)).packet))
    }
    udp.close()
    tcp.close()
  })
  afterAll(async () => {
    await daemon.stop()
    await upstream.stop()
  })

  test('every answer is the recorded one, but for what a ★ rule says', () => {
    const applied = new Map(STAR_RULES.map(({ name }) => [name, 0]))
    recorded.forEach((answer, k) => {
      let wanted = answer
      for (const rule of STAR_RULES) {
        const corrected = rule.correct(wanted, context)
        if (corrected === null) continue
        wanted = corrected
        applied.set(rule.name, applied.get(rule.name)! + 1)
      }
      expectEqual(given[k]!, wanted)
    })
    expect(recorded).toHaveLength(852)
    expect(applied).toEqual(new Map(STAR_RULES.map(({ name, applies }) => [name, applies])))
  })

  test("★ owner names repeat the question's case", () => {
    let mixed = 0
    recorded.forEach(({ q }, k) => {
      const { packet } = given[k]!
      const asked = q === '.' ? q : q.replace(/\.$/, '')
      expect(packet.questions![0]!.name).toBe(asked)
      for (const { name } of packet.answers!) if (name.toLowerCase() === asked.toLowerCase()) expect(name).toBe(asked)
      if (asked !== asked.toLowerCase()) mixed++
    })
    expect(mixed).toBe(40)
  })

  test('★ no address of the family: an SOA of the matched host, so that clients cache it', () => {
    let empty = 0
    recorded.forEach((answer, k) => {
      const { packet, aa, answer: records, tc } = given[k]!
      if (!aa) return
      const isEmpty = !tc && records.every(([, , type]) => type === 'CNAME')
      expect(packet.authorities).toHaveLength(isEmpty ? 1 : 0)
      if (!isEmpty) return
      empty++
      const name = nameOf(answer)
      const short = name.endsWith(`.${context.search}`) ? name.slice(0, -context.search.length - 1) : name
      const owner = ownerOf(name, context) ?? ownerOf(short, context) ?? wildcardOf(short, context)!.slice(2)
      const [soa] = packet.authorities!
      expect(soa!.name.toLowerCase()).toBe(owner)
      expect(soa).toMatchObject({ type: 'SOA', ttl: 30, data: { minimum: 30 } })
    })
    expect(empty).toBe(158)
  })

  test('★ a query with an OPT gets one back, one without gets none', () => {
    let withEdns = 0
    recorded.forEach(({ edns }, k) => {
      const options = (given[k]!.packet.additionals ?? []).filter(({ type }) => type === 'OPT')
      expect(options).toHaveLength(edns === null ? 0 : 1)
      if (edns !== null) withEdns++
    })
    expect(withEdns).toBe(38)
  })
})

/** Fails unless an answer is the wanted one. Of a truncated reply, which addresses fit is a matter of rotation. */
function expectEqual(got: GivenAnswer, wanted: RecordedAnswer): void {
  const { rcode, aa, tc, ra } = wanted
  const what = `${wanted.q} ${wanted.t}${wanted.tcp ? ' over TCP' : ''} edns ${wanted.edns}`
  expect({ rcode: got.rcode, aa: got.aa, tc: got.tc, ra: got.ra }, what).toEqual({ rcode, aa, tc, ra })
  if (!tc) return expect(sorted(got.answer), what).toEqual(sorted(wanted.answer))
  expect(aliases(got.answer), what).toEqual(aliases(wanted.answer))
  const owner = ownerOf(nameOf(wanted), context) ?? expansionTarget(wanted, context)!
  const whole = context.table
    .get(owner)!
    .ips.map((address) => [aliases(wanted.answer)[0]?.[3] ?? nameOf(wanted), 30, 'A', address])
  const fitting = got.answer.filter(([, , type]) => type !== 'CNAME')
  expect(fitting.length, what).toBeGreaterThan(0)
  expect(whole, what).toEqual(expect.arrayContaining(fitting))
}

function aliases(records: readonly RecordedRecord[]): RecordedRecord[] {
  return records.filter(([, , type]) => type === 'CNAME')
}

function sorted(records: readonly RecordedRecord[]): RecordedRecord[] {
  return records.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
}

/** The answer in the recording's form. What comes from the cache has counted down by the seconds that the test took. */
function read(packet: DecodedPacket): GivenAnswer {
  const isFromMesh = packet.flag_aa
  const answer = packet.answers!.map((record): RecordedRecord => {
    const ttl = 'ttl' in record ? record.ttl! : 0
    const shown = !isFromMesh && ttl > 240 && ttl <= 300 ? 300 : ttl
    return [plain(record.name), shown, record.type, plain(dataOf(record))]
  })
  return { rcode: rcodeOf(packet), aa: packet.flag_aa, tc: packet.flag_tc, ra: packet.flag_ra, answer, packet }
}

/** Data of an address, CNAME or TXT record; others are not in the recording. */
function dataOf(record: Answer): string {
  if (record.type === 'A' || record.type === 'AAAA' || record.type === 'CNAME') return record.data
  return record.type === 'TXT' ? Buffer.concat([record.data].flat().map((part) => Buffer.from(part))).toString() : ''
}

function plain(text: string): string {
  return text.toLowerCase().replace(/\.$/, '')
}

function readTable(): NameTable {
  const json: Record<string, GoNameInfo> = JSON.parse(readFileSync(new URL('table.json', FOLDER), 'utf8'))
  return new Map(
    Object.entries(json).map(([host, { Ips, Registry, Shortname = '', Namespace = '', AltHosts = [] }]) => [
      host,
      { ips: Ips, registry: Registry, shortname: Shortname, namespace: Namespace, altHosts: AltHosts },
    ]),
  )
}

function readRecorded(): RecordedAnswer[] {
  const lines = readFileSync(new URL('recorded-answers.jsonl', FOLDER), 'utf8').trim().split('\n')
  return lines.map((line) => {
    const answer: RecordedAnswer = JSON.parse(line)
    // TXT data was recorded in quotes.
    const records = answer.answer.map(
      ([owner, ttl, type, data]): RecordedRecord => [plain(owner), ttl, type, plain(data).replace(/^"|"$/g, '')],
    )
    return { ...answer, answer: records }
  })
}
