/** `/debug/explain?name=&type=&dnssec=&from=&search=&ndots=`, and what answers it. */
import { isIP } from 'node:net'
import { addressBytes } from '../dns/address.ts'
import { nameToWire } from '../dns/name.ts'
import { packetType } from './dns-text.ts'
import { type ApplicationFacts, type AskWorkers, explainName, type NameExplanation } from './name-explanation.ts'

/** Far beyond what any resolv.conf has. */
const MOST_SEARCH_DOMAINS = 32

/** An explanation, or what is wrong with the request, in one line. */
export type ExplainResult = { explanation: NameExplanation } | { problem: string }

/**
 * Answers a request. `application`: what this machine's files say of an application that looks up the name; `search` (domains
 * with commas between them) and `ndots` replace its own; `dnssec=1`: the query asks for signatures.
 * @throws Error if no data worker answers
 */
export async function answerExplain(
  query: URLSearchParams,
  application: (name: string) => ApplicationFacts,
  ask: AskWorkers,
): Promise<ExplainResult> {
  const name = query.get('name') ?? ''
  if (name === '' || nameToWire(name) === null) return { problem: `${JSON.stringify(name)} is no domain name: ?name=` }
  const written = query.get('type')
  const type = written === null || written === '' ? null : packetType(written)
  if (type === null && written !== null && written !== '') {
    return { problem: `${JSON.stringify(written)} is no record type` }
  }
  const client = query.get('from')
  if (client !== null && isIP(client) === 0) return { problem: `${JSON.stringify(client)} is no address: ?from=` }
  const from = client === null ? null : addressBytes(client.replace(/%.*$/, ''))
  const facts = searchOf(query, application(name))
  if ('problem' in facts) return facts
  const isDnssec = query.get('dnssec') === '1'
  return { explanation: await explainName({ name, type, from, isDnssec }, facts, ask) }
}

function searchOf(query: URLSearchParams, application: ApplicationFacts): ApplicationFacts | { problem: string } {
  const domains = query.get('search')
  const ndots = query.get('ndots')
  const search = domains?.split(',').filter((domain) => domain !== '') ?? application.search
  if (search.length > MOST_SEARCH_DOMAINS) return { problem: `more than ${MOST_SEARCH_DOMAINS} search domains` }
  const wrong = search.find((domain) => nameToWire(domain) === null)
  if (wrong !== undefined) return { problem: `${JSON.stringify(wrong)} is no domain name: ?search=` }
  if (ndots !== null && !/^\d{1,2}$/.test(ndots)) return { problem: `${JSON.stringify(ndots)} is no number: ?ndots=` }
  const resolvConf = domains === null ? application.resolvConf : 'the search domains given'
  return { ...application, resolvConf, search, ndots: ndots === null ? application.ndots : Number(ndots) }
}
