import { nameToWire } from '../dns/name.ts'
import { json, JSON_TYPE, type Reply, type Route, type RouteRequest, text } from '../http/route.ts'
import { MOST_SAMPLES, SAMPLE_MS } from './history.ts'
import type { LastHour } from './last-hour.ts'
import { redact } from './redact.ts'
import type { ObserveSources, XdsEvent } from './sources.ts'
import { cacheStatus, credentialStatus, type StatusReport } from './status.ts'
import { statusPage } from './status-page.ts'
import { upstreamStatus } from './upstream-metrics.ts'

const HOUR_SECONDS = (MOST_SAMPLES * SAMPLE_MS) / 1000
const HOSTS_SHOWN = 50
const MOST_HOSTS_SHOWN = 500
/** A name has at most 253 characters, and each may be written as %XX. */
const MOST_SEARCH_CHARS = 256

/** What `admin.listen` serves, for people and byname's own commands. Changes are POST. */
export function adminRoutes(
  sources: ObserveSources,
  status: () => Promise<StatusReport>,
  lastHour: LastHour,
  pageTemplate: () => string,
): Route[] {
  const table = (path: string, about: string): Route => ({
    method: 'GET',
    path,
    purpose: 'listing',
    about,
    handle: () => ({ status: 200, type: JSON_TYPE, body: sources.tableJson() }),
  })
  const routes: Route[] = [
    {
      method: 'GET',
      path: '/',
      purpose: 'page',
      about: 'status page',
      handle: async () => statusPage(pageTemplate(), await status(), routes),
    },
    get('/debug/status', 'all of the status, as JSON', status),
    reply(
      '/debug/overview',
      'status, last sample and failures; with ?history= samples of as many seconds',
      ({ query }) => withSeconds(query, 'history', async (seconds) => json(await lastHour.overviewWith(seconds)), 0),
    ),
    reply('/debug/history', 'figures of the last hour, every 5 s: ?seconds=', ({ query }) =>
      withSeconds(
        query,
        'seconds',
        (seconds) => compactJson(lastHour.history.columns(samplesOf(seconds))),
        HOUR_SECONDS,
      ),
    ),
    {
      method: 'GET',
      path: '/debug/events',
      purpose: 'stream',
      about: 'the overview as server-sent events, every 5 s',
      handle: ({ signal }) => lastHour.follow(signal),
    },
    table('/debug/table', 'the name table in use, as proto3 JSON'),
    table('/debug/ndsz', 'the same, under the name that Istio uses'),
    reply('/debug/hosts', 'hosts by a part of their name, or an address: ?search=, &limit=, &offset=', ({ query }) =>
      hostsReply(sources, query),
    ),
    get('/debug/cache', 'figures of the answer cache', () => cacheStatus(sources)),
    reply('/debug/cache/entry', 'what the cache holds for a name: ?name=, and &type=', ({ query }) =>
      cacheEntryReply(sources, query),
    ),
    {
      method: 'POST',
      path: '/debug/cache/flush',
      purpose: 'page',
      about: 'empties the cache, or removes one name: ?name=',
      handle: async ({ query }) => {
        // An empty name is a slip, not a wish to lose the whole cache.
        const name = query.get('name')
        if (name === '') return text(400, 'name is empty: leave it out to flush everything')
        if (name !== null && !nameToWire(name)) return text(400, `${JSON.stringify(name)} is no domain name`)
        return json({ name, flushed: await sources.flush(name) })
      },
    },
    reply(
      '/debug/explain',
      'why a name gets its answer: ?name=, and &type=, &from=, &search=, &ndots=',
      async ({ query }) => {
        const result = await sources.explain(query)
        if ('problem' in result) return text(400, result.problem)
        const now = await status()
        return json({ ...result.explanation, table: now.table, health: now.health })
      },
    ),
    get('/debug/rules', 'rules in their order, how often each was matched, and what they logged last', () =>
      sources.rules(),
    ),
    get('/debug/upstreams', 'upstream servers: health, round-trip time, failures', () => upstreamStatus(sources)),
    get('/debug/xds', 'connection to the control plane, and credentials; null without one', () => {
      const xds = sources.xds()
      return xds === null ? null : { ...xds, credentials: credentialStatus(sources) }
    }),
    get('/debug/xds/history', 'connections, tables and refusals of the last time, with reasons', () =>
      sources.xdsHistory().map(eventOf),
    ),
    get('/debug/log', 'the last lines of the log, secrets redacted', () => redact(sources.recentLog())),
    get('/debug/config', 'the configuration in use, secrets redacted', () => redact(sources.config())),
  ]
  return routes
}

/** Its time as people read it. */
function eventOf({ atMs, ...event }: XdsEvent): unknown {
  return { at: new Date(atMs).toISOString(), ...event }
}

function reply(path: string, about: string, handle: (request: RouteRequest) => Reply | Promise<Reply>): Route {
  return { method: 'GET', path, purpose: 'page', about, handle }
}

function get(path: string, about: string, read: () => unknown): Route {
  return reply(path, about, async () => json(await read()))
}

/** For what programs read: indented, a list of 720 figures has as many lines. */
function compactJson(value: unknown): Reply {
  return { status: 200, type: JSON_TYPE, body: `${JSON.stringify(value)}\n` }
}

function samplesOf(seconds: number): number {
  return Math.ceil((seconds * 1000) / SAMPLE_MS)
}

function withSeconds(
  query: URLSearchParams,
  key: string,
  answer: (seconds: number) => Reply | Promise<Reply>,
  without: number,
): Reply | Promise<Reply> {
  const seconds = wholeNumber(query, key, without, HOUR_SECONDS)
  return typeof seconds === 'string' ? text(400, seconds) : answer(seconds)
}

/** A number of the query string, or what is wrong with it. */
function wholeNumber(query: URLSearchParams, key: string, without: number, most: number): number | string {
  const written = query.get(key)
  if (written === null || written === '') return without
  if (!/^\d{1,9}$/.test(written) || Number(written) > most) return `?${key}= takes a whole number up to ${most}`
  return Number(written)
}

function hostsReply(sources: Pick<ObserveSources, 'searchHosts'>, query: URLSearchParams): Reply {
  const search = query.get('search') ?? ''
  const limit = wholeNumber(query, 'limit', HOSTS_SHOWN, MOST_HOSTS_SHOWN)
  const offset = wholeNumber(query, 'offset', 0, 999_999_999)
  if (search.length > MOST_SEARCH_CHARS) return text(400, `?search= takes up to ${MOST_SEARCH_CHARS} characters`)
  if (typeof limit === 'string') return text(400, limit)
  if (typeof offset === 'string') return text(400, offset)
  return json({ search, offset, ...sources.searchHosts(search.trim(), offset, limit) })
}

/** The part of an explanation that is about the cache. */
async function cacheEntryReply(sources: Pick<ObserveSources, 'explain'>, query: URLSearchParams): Promise<Reply> {
  const asked = new URLSearchParams({ name: query.get('name') ?? '', type: query.get('type') || 'A' })
  const result = await sources.explain(asked)
  if ('problem' in result) return text(400, result.problem)
  const [question] = result.explanation.questions
  if (question === undefined) return text(400, 'nothing was asked')
  const { name, type, rcode, answers, source, stages, extendedErrors, cached } = question
  const isCached = source === 'cache' || source === 'stale'
  // Without the stage: an earlier one has the answer, and the cache is not asked.
  const finding = stages.find((stage) => stage.name === 'cache')?.finding ?? null
  return json({
    name,
    type,
    isCached,
    finding,
    server: cached?.server ?? null,
    ageSeconds: cached?.ageSeconds ?? null,
    leftSeconds: cached?.leftSeconds ?? null,
    answeredBy: source,
    rcode: isCached ? rcode : null,
    answers: isCached ? answers : [],
    extendedErrors: isCached ? extendedErrors : [],
  })
}
