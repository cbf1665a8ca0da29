import dnsPacket, { type DecodedPacket } from 'dns-packet'
import { ADMIN_OPTIONS, getJson } from './admin-client.ts'
import type { CommandArguments } from './arguments.ts'
import { type AnswerOrigin, answerOrigin, type Explained } from './answer-origin.ts'
import { type AnswerSource, AnswerWitness, answerSource, type ReplyFacts } from './answer-source.ts'
import { type Command, type CommandContext, ExitCode } from './command.ts'
import { type Exchange, type ExchangeServer, exchangeTcp, exchangeUdp } from './dns-exchange.ts'
import {
  encodeQuery,
  extendedErrors,
  flagsOf,
  nameText,
  rcodeText,
  recordsText,
  typeText,
} from '../explain/dns-text.ts'
import { DEFAULT_SERVER, DEFAULT_TIMEOUT_SECONDS, type Question, readQueryArguments } from './query-arguments.ts'
import { alignColumns } from './text-columns.ts'
import { printable } from '../base/printable.ts'

/** `byname query`: asks one question. */
export const queryCommand: Command = {
  name: 'query',
  positionals: 'NAME [TYPE]',
  // Whatever dig is given beside name and type: a server, a class and switches.
  mostPositionals: 16,
  summary: 'Ask for a name, and say where the answer came from.',
  options: {
    server: { value: 'ADDR:PORT', help: `whom to ask (default ${DEFAULT_SERVER}); also @ADDR` },
    port: { short: 'p', value: 'PORT', help: "the server's port" },
    type: { short: 't', value: 'TYPE', help: 'record type' },
    reverse: { short: 'x', value: 'ADDR', help: 'ask for the name of an address' },
    name: { short: 'q', value: 'NAME', help: 'the name, where it could be taken for something else' },
    class: { short: 'c', value: 'CLASS', help: 'IN, which is the only one' },
    ipv4: { short: '4', help: 'ask over IPv4' },
    ipv6: { short: '6', help: 'ask over IPv6' },
    dnssec: { help: 'ask for signatures as well (DO); also +dnssec' },
    tcp: { help: 'ask over TCP; also +tcp' },
    short: { help: 'print the data of the answer only; also +short' },
    json: { help: 'as JSON' },
    timeout: { value: 'SECONDS', help: `how long to wait (default ${DEFAULT_TIMEOUT_SECONDS}); also +time=SECONDS` },
    ...ADMIN_OPTIONS,
  },
  details: `TYPE is A unless given, and PTR for an address; it may come before NAME. A truncated reply is asked for again
over TCP. Where the answer came from is told by what the daemon counts meanwhile, at its admin endpoint; from which
server, and since when it is known, by its cache and its table right afterwards.
The exit code is 0 for an answer (also NODATA and NXDOMAIN), 1 for a failure (SERVFAIL, REFUSED, no reply).`,
  examples: [
    'byname query reviews',
    'byname query example.com AAAA --tcp',
    'byname query @10.96.0.10 -x 10.244.1.7 +short',
  ],
  async run(given, context) {
    const { question, server, isTcp, isDnssec, shown, timeoutMs, tries } = readQueryArguments(given)
    const query = encodeQuery(question, isDnssec)
    const witness = shown !== 'report' ? null : await AnswerWitness.begin(server, given, context)
    const sentAtMs = Date.now()
    let exchange = await (isTcp ? exchangeTcp(server, query, timeoutMs) : exchangeUdp(server, query, timeoutMs, tries))
    let packet = decode(exchange, server)
    const wasTruncated = packet.flag_tc && exchange.transport === 'udp'
    if (wasTruncated) {
      exchange = await exchangeTcp(server, query, timeoutMs)
      packet = decode(exchange, server)
    }
    const rcode = rcodeText(packet)
    const isFailure = rcode !== 'NOERROR' && rcode !== 'NXDOMAIN'
    if (witness === null) {
      const answers = shown === 'nothing' ? [] : recordsText(packet.answers)
      const lines = answers.map(({ name, ttl, type, data }) =>
        shown === 'data' ? `${data}\n` : `${name}\t${ttl}\tIN\t${type}\t${data}\n`,
      )
      context.out(lines.join(''))
      if (isFailure) context.err(`byname query: ${server.text} answers ${rcode}\n`)
    } else {
      const source = answerSource(factsOf(question, packet), await witness.end())
      const origin = await originOf(question, isDnssec, packet, source, sentAtMs, given, context)
      const report = reportOf(question, packet, exchange, server.text, wasTruncated, source, origin)
      context.out(given.has('json') ? `${JSON.stringify(report, null, 2)}\n` : reportText(report, origin))
    }
    return isFailure ? ExitCode.failed : ExitCode.done
  },
}

interface QueryReport {
  question: { name: string; type: string }
  rcode: string
  flags: string[]
  answers: ReturnType<typeof recordsText>
  authority: ReturnType<typeof recordsText>
  /** Where the answer came from. */
  source: string
  /** Why the source is not certain; null where it is. */
  sourceDoubt: string | null
  /** From which server it is, and since when it is known; null if that is not known, or it is byname's own. */
  origin: AnswerOrigin | null
  /** Why it is not known, where it should be. */
  originDoubt: string | null
  extendedErrors: { code: number; text: string }[]
  server: string
  transport: 'udp' | 'tcp'
  wasTruncated: boolean
  milliseconds: number
  bytes: number
}

function decode(exchange: Exchange, server: ExchangeServer): DecodedPacket {
  try {
    return dnsPacket.decode(exchange.reply)
  } catch (cause) {
    throw new Error(`the reply of ${server.text} is malformed (${exchange.reply.length} bytes)`, { cause })
  }
}

function factsOf(question: Question, packet: DecodedPacket): ReplyFacts {
  return {
    name: question.name,
    type: typeText(question.type),
    rcode: rcodeText(packet),
    isAuthoritative: packet.flag_aa,
    extendedErrors: new Set(extendedErrors(packet).map((error) => error.code)),
  }
}

type Origin = ReturnType<typeof answerOrigin>

/** What the daemon tells of the answer's origin now. It has just told where the answer is from, so it is the right one. */
async function originOf(
  { name, type }: Question,
  isDnssec: boolean,
  packet: DecodedPacket,
  { source }: AnswerSource,
  sentAtMs: number,
  given: CommandArguments,
  context: CommandContext,
): Promise<Origin> {
  if (source === null || source === 'local') return { doubt: null }
  const absolute = name.endsWith('.') ? name : `${name}.`
  const request = new URLSearchParams({ name: absolute, type: typeText(type), dnssec: isDnssec ? '1' : '0' })
  try {
    const explained = await getJson<Explained>(`/debug/explain?${request.toString()}`, given, context)
    const records = [packet.answers, packet.authorities, packet.additionals].flatMap(recordsText)
    // A negative answer lasts as its SOA says (RFC 2308), which is not its TTL.
    const ttlSeconds = (packet.answers ?? []).length === 0 ? null : Math.min(...records.map(({ ttl }) => ttl))
    return answerOrigin({ source, ttlSeconds, sentAtMs, explainedAtMs: Date.now() }, explained)
  } catch (error) {
    return { doubt: error instanceof Error ? error.message : String(error) }
  }
}

function reportOf(
  question: Question,
  packet: DecodedPacket,
  exchange: Exchange,
  server: string,
  wasTruncated: boolean,
  source: AnswerSource,
  origin: Origin,
): QueryReport {
  const errors = extendedErrors(packet)
  return {
    question: { name: nameText(question.name), type: typeText(question.type) },
    rcode: rcodeText(packet),
    flags: flagsOf(packet),
    answers: recordsText(packet.answers),
    authority: recordsText(packet.authorities),
    source: source.text,
    sourceDoubt: source.doubt,
    origin: 'origin' in origin ? origin.origin : null,
    originDoubt: 'doubt' in origin ? origin.doubt : null,
    extendedErrors: errors,
    server,
    transport: exchange.transport,
    wasTruncated,
    milliseconds: Math.round(exchange.milliseconds * 100) / 100,
    bytes: exchange.reply.length,
  }
}

function reportText(report: QueryReport, origin: Origin): string {
  const { question, answers, authority } = report
  const rows = [...answers, ...authority].map(({ name, ttl, type, data }) => [name, String(ttl), type, data])
  const nothing = answers.length === 0 ? `no ${question.type} records\n` : ''
  const transport = report.wasTruncated ? 'TCP (truncated over UDP)' : report.transport.toUpperCase()
  const notes = [
    ['source', printable(report.source)],
    ...(report.sourceDoubt === null ? [] : [['', printable(report.sourceDoubt)]]),
    ...('text' in origin ? [['from', printable(origin.text)]] : []),
    ...('doubt' in origin && origin.doubt !== null ? [['', printable(origin.doubt)]] : []),
    ['server', `${report.server} over ${transport}, ${report.milliseconds} ms, ${report.bytes} bytes`],
    ...report.extendedErrors.map(({ code, text }) => ['error', `${text} (EDE ${code})`]),
  ]
  const head = `${question.name} ${question.type}: ${report.rcode} (${report.flags.join(' ')})\n`
  return `${head}\n${nothing}${alignColumns(rows, [1])}\n${alignColumns(notes)}`
}
