import { randomInt } from 'node:crypto'
import { isIP } from 'node:net'
import { domainToASCII } from 'node:url'
import dnsPacket, { type DecodedPacket, type RecordType } from 'dns-packet'
import ipaddr from 'ipaddr.js'
import { parseServer } from '../config/address.ts'
import { nameToWire } from '../dns/name.ts'
import type { CommandArguments } from './arguments.ts'
import { type Command, ExitCode, UsageError } from './command.ts'
import { type Exchange, type ExchangeServer, exchangeTcp, exchangeUdp } from './dns-exchange.ts'
import { extendedErrors, flagsOf, nameText, packetType, rcodeText, recordText, typeText } from './dns-text.ts'
import { alignColumns } from './text-columns.ts'

const DEFAULT_SERVER = '127.0.0.1:15053'
const DEFAULT_TIMEOUT_SECONDS = 5
/** What byname itself asks upstream with, so that a reply shown is a reply that it would get. */
const PAYLOAD_BYTES = 1232

/** `byname query`: asks one question. */
export const queryCommand: Command = {
  name: 'query',
  positionals: 'NAME [TYPE]',
  mostPositionals: 2,
  summary: 'Ask for a name, and say where the answer came from.',
  options: {
    server: { value: 'ADDR:PORT', help: `whom to ask (default ${DEFAULT_SERVER})` },
    tcp: { help: 'ask over TCP' },
    json: { help: 'as JSON' },
    timeout: { value: 'SECONDS', help: `how long to wait (default ${DEFAULT_TIMEOUT_SECONDS})` },
  },
  details: 'TYPE is A unless given, and PTR for an address. A truncated reply is asked for again over TCP.',
  examples: ['byname query reviews', 'byname query example.com AAAA --tcp', 'byname query 10.96.0.10'],
  async run(given, context) {
    const question = questionOf(given)
    const server = serverOf(given)
    const timeoutMs = timeoutOf(given)
    const query = encode(question)
    const isTcp = given.has('tcp') || server.isTcp
    let exchange = await (isTcp ? exchangeTcp : exchangeUdp)(server, query, timeoutMs)
    let packet = decode(exchange, server)
    const wasTruncated = packet.flag_tc && exchange.transport === 'udp'
    if (wasTruncated) {
      exchange = await exchangeTcp(server, query, timeoutMs)
      packet = decode(exchange, server)
    }
    const report = reportOf(question, packet, exchange, server.text, wasTruncated)
    context.out(given.has('json') ? `${JSON.stringify(report, null, 2)}\n` : reportText(report))
    return ExitCode.done
  },
}

interface Question {
  name: string
  /** dns-packet's name of the type. */
  type: string
}

interface QueryReport {
  question: { name: string; type: string }
  rcode: string
  flags: string[]
  answers: ReturnType<typeof records>
  authority: ReturnType<typeof records>
  /** Where the answer came from, as far as the reply shows it. */
  source: string
  extendedErrors: { code: number; text: string }[]
  server: string
  transport: 'udp' | 'tcp'
  wasTruncated: boolean
  milliseconds: number
  bytes: number
}

function questionOf(given: CommandArguments): Question {
  const [written, type] = given.positionals
  if (written === undefined) throw new UsageError('name what to ask for: byname query NAME [TYPE]')
  if (type === undefined && isIP(written) !== 0) return { name: reverseName(written), type: 'PTR' }
  const name = written.normalize('NFC').match(/^[\p{ASCII}]*$/u) ? written : domainToASCII(written)
  if (nameToWire(name) === null) {
    throw new UsageError(
      `${JSON.stringify(written)} is no domain name: labels have 1 to 63 bytes, all of it at most 255`,
    )
  }
  const known = packetType(type ?? 'A')
  if (known === null) throw new UsageError(`${JSON.stringify(type)} is no record type; write A, AAAA, TYPE65, …`)
  return { name, type: known }
}

/** `10.0.0.1` is `1.0.0.10.in-addr.arpa`. */
function reverseName(address: string): string {
  const bytes = ipaddr.parse(address.replace(/%.*/, '')).toByteArray()
  if (bytes.length === 4) return `${bytes.toReversed().join('.')}.in-addr.arpa`
  const digits = Buffer.from(bytes).toString('hex')
  return `${digits.split('').toReversed().join('.')}.ip6.arpa`
}

function serverOf(given: CommandArguments): ExchangeServer & { isTcp: boolean } {
  const server = parseServer(given.text('server') ?? DEFAULT_SERVER)
  if ('reason' in server) throw new UsageError(`--server: ${server.reason}`)
  const { address, port, label, transport } = server.value
  if (transport !== 'udp' && transport !== 'tcp') throw new UsageError('--server: only UDP and TCP can be asked')
  return { address, port, text: label.replace(/^tcp:\/\//, ''), isTcp: transport === 'tcp' }
}

function timeoutOf(given: CommandArguments): number {
  const seconds = Number(given.text('timeout') ?? DEFAULT_TIMEOUT_SECONDS)
  if (seconds > 0 && seconds <= 3600) return seconds * 1000
  throw new UsageError('--timeout: must be a number of seconds, at most 3600')
}

function encode({ name, type }: Question): Buffer {
  return dnsPacket.encode({
    type: 'query',
    id: randomInt(65_536),
    flags: dnsPacket.RECURSION_DESIRED,
    // dns-packet reads types by name and knows more of them than its types say.
    // oxlint-disable-next-line typescript/no-unsafe-type-assertion
    questions: [{ name, type: type as RecordType }],
    additionals: [
      {
        type: 'OPT',
        name: '.',
        udpPayloadSize: PAYLOAD_BYTES,
        extendedRcode: 0,
        ednsVersion: 0,
        flags: 0,
        flag_do: false,
        options: [],
      },
    ],
  })
}

function decode(exchange: Exchange, server: ExchangeServer): DecodedPacket {
  try {
    return dnsPacket.decode(exchange.reply)
  } catch (cause) {
    throw new Error(`the reply of ${server.text} is malformed (${exchange.reply.length} bytes)`, { cause })
  }
}

function records(section: DecodedPacket['answers']): { name: string; ttl: number; type: string; data: string }[] {
  return (section ?? []).flatMap((record) => recordText(record) ?? [])
}

function reportOf(
  question: Question,
  packet: DecodedPacket,
  exchange: Exchange,
  server: string,
  wasTruncated: boolean,
): QueryReport {
  const errors = extendedErrors(packet)
  return {
    question: { name: nameText(question.name), type: typeText(question.type) },
    rcode: rcodeText(packet),
    flags: flagsOf(packet),
    answers: records(packet.answers),
    authority: records(packet.authorities),
    source: sourceOf(question, packet, new Set(errors.map((error) => error.code))),
    extendedErrors: errors,
    server,
    transport: exchange.transport,
    wasTruncated,
    milliseconds: Math.round(exchange.milliseconds * 100) / 100,
    bytes: exchange.reply.length,
  }
}

/** Mesh answers are authoritative (AA), what was forwarded is not, and the name and extended errors tell the rest. */
function sourceOf(question: Question, packet: DecodedPacket, errors: ReadonlySet<number>): string {
  if (packet.flag_aa) return 'mesh table'
  if (/(?:^|\.)(?:localhost|invalid|onion|resolver\.arpa)\.?$/i.test(question.name))
    return 'byname itself: a special name'
  if (errors.has(3) || errors.has(19)) return 'cache (stale: no upstream server answers)'
  if (errors.has(14)) return 'byname itself: no name table yet'
  if (errors.has(22) || errors.has(23)) return 'byname itself: no upstream server answers'
  if (errors.has(18)) return 'byname itself: this client may not ask'
  return 'upstream or cache'
}

function reportText(report: QueryReport): string {
  const { question, answers, authority } = report
  const rows = [...answers, ...authority].map(({ name, ttl, type, data }) => [name, String(ttl), type, data])
  const nothing = answers.length === 0 ? `no ${question.type} records\n` : ''
  const transport = report.wasTruncated ? 'TCP (truncated over UDP)' : report.transport.toUpperCase()
  const notes = [
    ['source', report.source],
    ['server', `${report.server} over ${transport}, ${report.milliseconds} ms, ${report.bytes} bytes`],
    ...report.extendedErrors.map(({ code, text }) => ['error', `${text} (EDE ${code})`]),
  ]
  const head = `${question.name} ${question.type}: ${report.rcode} (${report.flags.join(' ')})\n`
  return `${head}\n${nothing}${alignColumns(rows, [1])}\n${alignColumns(notes)}`
}
