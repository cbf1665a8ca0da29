/**
 * The query log as JSON lines: one object for each answer, with these fields in this order. Where RFC 8427 has a name for
 * something of the message, it is taken.
 *
 * ```
 *  time         when the query came, UTC with microseconds (RFC 3339)
 *  client port  literal address and port of the client
 *  proto        udp or tcp
 *  ID           of the message
 *  QNAME        the name asked for, as the client wrote it; odd bytes are escaped (RFC 4343 §2.1); empty if there was none
 *  QTYPE        code of the type         QTYPEname   its name, TYPEn if it has none
 *  RCODE        code of the answer       RCODEname   its name
 *  RD AA TC AD  flags: of the query the first, of the reply the others; 0 or 1
 *  DO           whether the query asked for signatures; 0 or 1
 *  source       who answered: mesh, cache, stale, upstream or local
 *  server       the upstream server that the answer is, or once was, from; null if none is known
 *  latencyMs    from the query to the reply
 *  bytes        of the reply
 * ```
 */
import { Flag } from '../dns/constants.ts'
import { PROTOS, RCODES, SOURCES } from '../stats/counters.ts'
import type { LogBatch } from './log-batch.ts'
import { clientText, nameOf } from './query-feed.ts'
import type { QueryRecord } from './ring-reader.ts'

/** Types that have names here: those of the IANA registry that are still in use. */
const TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  [1, 'A'],
  [2, 'NS'],
  [5, 'CNAME'],
  [6, 'SOA'],
  [12, 'PTR'],
  [13, 'HINFO'],
  [15, 'MX'],
  [16, 'TXT'],
  [17, 'RP'],
  [18, 'AFSDB'],
  [24, 'SIG'],
  [25, 'KEY'],
  [28, 'AAAA'],
  [29, 'LOC'],
  [33, 'SRV'],
  [35, 'NAPTR'],
  [36, 'KX'],
  [37, 'CERT'],
  [39, 'DNAME'],
  [41, 'OPT'],
  [43, 'DS'],
  [44, 'SSHFP'],
  [45, 'IPSECKEY'],
  [46, 'RRSIG'],
  [47, 'NSEC'],
  [48, 'DNSKEY'],
  [49, 'DHCID'],
  [50, 'NSEC3'],
  [51, 'NSEC3PARAM'],
  [52, 'TLSA'],
  [53, 'SMIMEA'],
  [55, 'HIP'],
  [59, 'CDS'],
  [60, 'CDNSKEY'],
  [61, 'OPENPGPKEY'],
  [62, 'CSYNC'],
  [63, 'ZONEMD'],
  [64, 'SVCB'],
  [65, 'HTTPS'],
  [108, 'EUI48'],
  [109, 'EUI64'],
  [249, 'TKEY'],
  [250, 'TSIG'],
  [251, 'IXFR'],
  [252, 'AXFR'],
  [255, 'ANY'],
  [256, 'URI'],
  [257, 'CAA'],
])

/** The name of a type, `TYPE65280` (RFC 3597 §5) for one without. */
export function typeName(type: number): string {
  return TYPE_NAMES.get(type) ?? `TYPE${type}`
}

/** Writes lines. It remembers the last second's text: most lines are of the same one. */
export class JsonLines {
  #second = Number.NaN
  #secondText = ''

  /** Appends a line for `record`. */
  readonly write = (batch: LogBatch, record: QueryRecord, server: string | null): void => {
    const line = this.#line(record, server)
    // Everything in it is ASCII.
    batch.reserve(line.length)
    batch.used += batch.bytes.write(line, batch.used, 'latin1')
    batch.entries++
  }

  #line(record: QueryRecord, server: string | null): string {
    const { queryFlags, replyFlags, rcode, type } = record
    const proto = PROTOS[record.proto]!
    const rcodeName = RCODES[rcode] ?? String(rcode)
    const from = server === null ? 'null' : quoted(server)
    return (
      `{"time":"${this.#time(record.receivedAtMs)}","client":"${clientText(record)}","port":${record.port},"proto":"${proto}",` +
      `"ID":${record.id},"QNAME":${quoted(nameOf(record))},"QTYPE":${type},"QTYPEname":"${typeName(type)}",` +
      `"RCODE":${rcode},"RCODEname":"${rcodeName}","RD":${bit(queryFlags, Flag.RD)},"AA":${bit(replyFlags, Flag.AA)},` +
      `"TC":${bit(replyFlags, Flag.TC)},"AD":${bit(replyFlags, Flag.AD)},"DO":${record.dnssecOk ? 1 : 0},` +
      `"source":"${SOURCES[record.source]!}","server":${from},"latencyMs":${record.latencyMicros / 1000},"bytes":${record.size}}\n`
    )
  }

  #time(ms: number): string {
    const second = Math.floor(ms / 1000)
    if (second !== this.#second) {
      this.#second = second
      this.#secondText = new Date(second * 1000).toISOString().slice(0, -'000Z'.length)
    }
    const micros = Math.min(999_999, Math.max(0, Math.round((ms - second * 1000) * 1000)))
    return `${this.#secondText}${String(micros).padStart(6, '0')}Z`
  }
}

function bit(flags: number, mask: number): 0 | 1 {
  return (flags & mask) === 0 ? 0 : 1
}

/** As a JSON string, ASCII alone. */
function quoted(text: string): string {
  if (PLAIN.test(text)) return `"${text}"`
  return JSON.stringify(text).replace(
    /[\u007f-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}
const PLAIN = /^[ !#-[\]-~]*$/
