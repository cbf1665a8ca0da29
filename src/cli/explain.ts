import { isIP } from 'node:net'
import dnsPacket from 'dns-packet'
import { printable } from '../base/printable.ts'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { parseServer, socketText } from '../config/address.ts'
import { parseResolvConf } from '../config/resolv-conf.ts'
import { encodeQuery, packetType, rcodeText, recordsText } from '../explain/dns-text.ts'
import {
  type ApplicationLookup,
  type NameExplanation,
  outcomeOfReply,
  type QuestionExplanation,
} from '../explain/name-explanation.ts'
import { type Lookup, type Outcome, playLookup } from '../explain/resolver-lookup.ts'
import type { StatusReport } from '../observe/status.ts'
import { ADMIN_OPTIONS, getJson } from './admin-client.ts'
import { type CommandArguments, UsageError } from './arguments.ts'
import { type Command, ExitCode } from './command.ts'
import { type Exchange, exchangeTcp, type ExchangeServer, exchangeUdp } from './dns-exchange.ts'
import { amount, durationText } from './figures.ts'
import { DEFAULT_SERVER } from './query-arguments.ts'
import { alignColumns } from './text-columns.ts'

/** What the admin endpoint answers; one of an earlier version does not say how the daemon is. */
type Explained = NameExplanation & Pick<StatusReport, 'table'> & Partial<Pick<StatusReport, 'health'>>

/** What a server really answered to one question. */
interface LiveAnswer {
  name: string
  type: string
  outcome: Outcome
  /** Rcode, and data of the records asked for, sorted: they rotate. Or why there was no reply. */
  text: string
}

const LIVE_TIMEOUT_MS = 5000
/** Told in the first line. */
const MOST_CAUSES = 3

/** `byname explain`: why a name gets its answer. */
export const explainCommand: Command = {
  name: 'explain',
  positionals: 'NAME [TYPE]',
  mostPositionals: 2,
  summary: 'Say why a name gets its answer, step by step, without asking anybody.',
  options: {
    live: { help: 'ask as well, and name each difference' },
    from: { value: 'ADDR', help: 'as if a client with this address asked (default: this machine)' },
    'resolv-conf': { value: 'FILE', help: "the application's (default: /etc/resolv.conf where the daemon runs)" },
    server: { value: 'ADDR:PORT', help: `whom --live asks (default ${DEFAULT_SERVER})` },
    json: { help: 'as JSON' },
    ...ADMIN_OPTIONS,
  },
  details: `Without TYPE it explains A and AAAA, and plays what a program asks that calls getaddrinfo(NAME): with
the search list and ndots of resolv.conf, in the orders of glibc and of musl, and which question has the
answer. A name that ends in a dot is asked as it is.
The exit code is 1 if --live shows a difference.`,
  examples: ['byname explain reviews', 'byname explain example.com MX', 'byname explain api.example.com --live'],
  async run(given, context) {
    const explained = await getJson<Explained>(`/debug/explain?${requestOf(given)}`, given, context)
    const live = given.has('live') ? await askAll(explained, serverOf(given)) : null
    const differences = live === null ? [] : differencesOf(explained, live)
    if (given.has('json')) {
      context.out(`${JSON.stringify({ ...explained, ...(live && { live, differences }) }, null, 2)}\n`)
    } else context.out(printableLines(explanationText(explained, live, differences)))
    return differences.length > 0 ? ExitCode.failed : ExitCode.done
  },
}

/** @throws UsageError */
function requestOf(given: CommandArguments): string {
  const [name, type] = given.positionals
  if (name === undefined) throw new UsageError('name a NAME to explain')
  if (type !== undefined && packetType(type) === null) throw new UsageError(`${JSON.stringify(type)} is no record type`)
  const from = given.text('from')
  if (from !== undefined && isIP(from) === 0) throw new UsageError(`--from: ${JSON.stringify(from)} is no address`)
  const request = new URLSearchParams({ name })
  if (type !== undefined) request.set('type', type)
  if (from !== undefined) request.set('from', from)
  const file = given.text('resolv-conf')
  if (file === undefined) return request.toString()
  const read = readBoundedText(file, MAX_FILE_BYTES.resolvConf)
  if ('problem' in read) throw new UsageError(`--resolv-conf: ${file} ${read.problem.reason}`)
  const { options, search } = parseResolvConf(read.text)
  request.set('search', search.join(','))
  request.set('ndots', String(options.ndots ?? 1))
  return request.toString()
}

/** @throws UsageError */
function serverOf(given: CommandArguments): ExchangeServer {
  const server = parseServer(given.text('server') ?? DEFAULT_SERVER)
  if ('reason' in server) throw new UsageError(`--server: ${server.reason}`)
  const { address, port } = server.value
  return { address, port, text: socketText(address, port) }
}

function questionsOf({ application, questions }: Explained): QuestionExplanation[] {
  const all = [...questions, ...(application?.questions ?? [])]
  return all.filter(({ name, type }, k) => all.findIndex((each) => each.name === name && each.type === type) === k)
}

async function askAll(explained: Explained, server: ExchangeServer): Promise<LiveAnswer[]> {
  return await Promise.all(questionsOf(explained).map(({ name, type }) => ask(name, type, server)))
}

async function ask(name: string, type: string, server: ExchangeServer): Promise<LiveAnswer> {
  const query = encodeQuery({ name, type: packetType(type) ?? type })
  try {
    let exchange: Exchange = await exchangeUdp(server, query, LIVE_TIMEOUT_MS)
    if (dnsPacket.decode(exchange.reply).flag_tc) exchange = await exchangeTcp(server, query, LIVE_TIMEOUT_MS)
    const packet = dnsPacket.decode(exchange.reply)
    const rcode = rcodeText(packet)
    const answers = recordsText(packet.answers)
    const text = answerText(rcode, answers, type)
    return { name, type, outcome: outcomeOfReply(rcode, answers, type), text }
  } catch (error) {
    return { name, type, outcome: 'servfail', text: error instanceof Error ? error.message : String(error) }
  }
}

function answerText(rcode: string, answers: QuestionExplanation['answers'], type: string): string {
  const data = answers.filter((answer) => answer.type === type).map((answer) => answer.data)
  if (data.length > 0) return data.toSorted().join(' ')
  return rcode === 'NOERROR' ? 'NODATA' : rcode
}

/** What a question gets, in a few words. */
function expectation({ answers, forward, rcode, refusal, type }: QuestionExplanation): string {
  if (rcode !== null) return answerText(rcode, answers, type)
  return refusal ?? `asked of ${forward?.servers.map(({ label }) => label).join(', ') || 'nobody: there is no server'}`
}

/** A question that a server would be asked promises nothing, so it cannot differ. */
function differencesOf(explained: Explained, live: readonly LiveAnswer[]): string[] {
  return questionsOf(explained).flatMap((question) => {
    const { name, outcome, type } = question
    const answer = live.find((each) => each.name === name && each.type === type)
    if (answer === undefined || outcome === 'upstream' || question.refusal !== null) return []
    const expected = expectation(question)
    return expected === answer.text ? [] : [`${name} ${type}: explained as ${expected}, answered with ${answer.text}`]
  })
}

function explanationText(explained: Explained, live: readonly LiveAnswer[] | null, differences: string[]): string {
  const { application, questions, table } = explained
  const age = table.ageSeconds === null ? '' : `, ${durationText(table.ageSeconds)} old`
  const tableText = `Name table: ${amount(table.hosts)} hosts from ${table.source}${age}\n`
  return [
    headline(explained),
    tableText,
    ...bodies(questions),
    ...(application === null ? [] : [applicationText(explained.name, application)]),
    ...(live === null ? [] : [liveText(explained, live, differences)]),
  ].join('\n')
}

/** The first line: the answer and its reason, whose the addresses are if not the cluster's own, and what is wrong with byname now. */
function headline(explained: Explained): string {
  const [answer, ...others] = answerLines(explained)
  const causes = explained.health?.causes.slice(0, MOST_CAUSES) ?? []
  const now = causes.length === 0 ? '' : ` At this time: ${causes.join('; ')}.`
  return `${[`${answer}${capturedBy(explained)}${ruledBy(explained)}${now}`, ...others].join('\n')}\n`
}

function answerLines({ application, name, questions }: Explained): string[] {
  const hosts = application?.hostsAddresses ?? []
  if (hosts.length > 0) {
    return [`${name} is ${hosts.join(' ')} for programs on this machine, because /etc/hosts says so: they ask nobody.`]
  }
  if (application === null) return questions.map(questionHead)
  return [`A program that looks up ${name} gets ${application.lookups[0]!.result}.`]
}

/** A host that a ServiceEntry, say, has made answers in place of the resolvers: nobody who knows the name's real address is asked. */
function capturedBy({ application, questions }: Explained): string {
  if ((application?.hostsAddresses.length ?? 0) > 0) return ''
  const found = application?.lookups[0]?.steps.find(({ verdict }) => verdict === 'found')?.name
  const asked = application === null ? questions : application.questions.filter(({ name }) => name === found)
  const captured = asked.filter(({ answers, source }) => source === 'mesh' && answers.length > 0)
  const host = captured.flatMap(({ stages }) => stages.filter(({ answers }) => answers)).at(0)?.finding
  if (host === undefined || !host.includes('(External')) return ''
  const addresses = new Set(captured.flatMap(({ answers, type }) => answersOf(answers, type)))
  return ` The name table has it, not a resolver: ${host.replace(/:.*/, '')} is ${[...addresses].join(' ')}.`
}

/** The rule that decides, or would. */
function ruledBy({ application, questions }: Explained): string {
  const found = application?.lookups[0]?.steps.find(({ verdict }) => verdict === 'found')?.name
  const asked = found === undefined ? questions : application!.questions.filter(({ name }) => name === found)
  const [first] = asked.flatMap(({ stages }) => stages.filter(({ hasRule }) => hasRule === true))
  return first === undefined ? '' : ` Rules: ${first.finding.replace(/\.$/, '')}.`
}

function answersOf(answers: QuestionExplanation['answers'], type: string): string[] {
  return answers.filter((answer) => answer.type === type).map(({ data }) => data)
}

/** A text for each question; questions that nobody here can answer have the same one. */
function bodies(questions: readonly QuestionExplanation[]): string[] {
  const texts = new Map<string, string[]>()
  for (const question of questions) {
    const body = questionBody(question)
    texts.set(body, [...(texts.get(body) ?? []), questionHead(question)])
  }
  return [...texts].map(([body, heads]) => `${heads.join('\n')}\n${body}`)
}

function questionHead(question: QuestionExplanation): string {
  const { name, source, type, worker, workers } = question
  const of = workers > 1 ? ` (data worker ${worker} of ${workers}; each has its own cache)` : ''
  return `${name} ${type}: ${expectation(question)}${source === null ? '' : `, from ${source}`}${of}`
}

function questionBody({ answers, extendedErrors, forward, refusal, stages }: QuestionExplanation): string {
  const rows = stages.map(({ answers: has, finding, name: stage }) => [`  ${stage}`, finding, has ? '<- answers' : ''])
  const details = [
    ...(refusal === null ? [] : [`  ${refusal}\n`]),
    ...answers.map((record) => `  ${record.name} ${record.ttl} ${record.type} ${record.data}\n`),
    ...extendedErrors.map((error) => `  extended error: ${error}\n`),
    ...(forward === null ? [] : [forwardText(forward)]),
  ]
  return `${alignColumns(rows)}${details.join('')}`
}

function forwardText({ isPending, policy, route, servers }: NonNullable<QuestionExplanation['forward']>): string {
  const routeText = route.join(' ') === '.' ? 'the default route' : `the route for ${route.join(' ')}`
  const rows = servers.map(({ isDown, isPlain, label, rttMs }) => [
    `    ${label}`,
    isDown ? 'failing' : 'healthy',
    rttMs === null ? 'no reply yet' : `${rttMs.toFixed(1)} ms`,
    isPlain ? 'asked without EDNS' : '',
  ])
  const pending = isPending ? '; the same question is being asked now' : ''
  return `  goes upstream by ${routeText} (${policy})${pending}\n${alignColumns(rows)}`
}

function applicationText(name: string, application: ApplicationLookup): string {
  const { hostsAddresses, lookups, ndots, resolvConf, search } = application
  const list = search.length === 0 ? 'no search list' : `search ${search.join(' ')}`
  const hosts = hostsAddresses.length === 0 ? '' : `/etc/hosts has ${name}: ${hostsAddresses.join(' ')}\n`
  const texts = lookupTexts(lookups, application.questions)
  return `getaddrinfo(${JSON.stringify(name)}) with ${resolvConf}: ${list}, ndots ${ndots}\n${hosts}${texts.join('')}`
}

/** One text for libraries that do the same. */
function lookupTexts(lookups: readonly Lookup[], questions: readonly QuestionExplanation[]): string[] {
  const texts = new Map<string, string[]>()
  for (const lookup of lookups) {
    const text = `${lookup.result}\n${stepsText(lookup, questions)}`
    texts.set(text, [...(texts.get(text) ?? []), lookup.libc])
  }
  return [...texts].map(([text, libcs]) => `  ${libcs.join(' and ')}: ${text}`)
}

function stepsText({ steps }: Lookup, questions: readonly QuestionExplanation[]): string {
  const textOf = (name: string, type: string): string => {
    const question = questions.find((each) => each.name === name && each.type === type)
    return question === undefined ? 'no valid name' : expectation(question)
  }
  return alignColumns(
    steps.map(({ name, verdict }, k) => [
      `    ${k + 1}`,
      name,
      `A ${textOf(name, 'A')}`,
      `AAAA ${textOf(name, 'AAAA')}`,
      verdict === 'found' ? '<- found' : '',
    ]),
  )
}

function liveText(explained: Explained, live: readonly LiveAnswer[], differences: readonly string[]): string {
  const { application, name } = explained
  const rows = live.map((answer) => [`  ${answer.name}`, answer.type, answer.text])
  const outcomeOf = (each: string, type: string): Outcome =>
    live.find((answer) => answer.name === each && answer.type === type)?.outcome ?? 'nxdomain'
  const outcomesOf = (each: string): { a: Outcome; aaaa: Outcome } => ({
    a: outcomeOf(each, 'A'),
    aaaa: outcomeOf(each, 'AAAA'),
  })
  const results = (application?.lookups ?? []).map(({ libc }) => {
    return `  ${libc}: ${playLookup(libc, application!, name, outcomesOf).result}\n`
  })
  const found = differences.length === 0 ? 'no difference\n' : differences.map((line) => `  ${line}\n`).join('')
  return `Asked live:\n${alignColumns(rows)}${results.join('')}Differences: ${differences.length === 0 ? found : `\n${found}`}`
}

/** Names and data come from the network: only the line ends are ours. */
function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}
