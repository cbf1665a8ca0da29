import { nameToWire } from '../dns/name.ts'
import { json, JSON_TYPE, type Route, text } from '../http/route.ts'
import { redact } from './redact.ts'
import type { ObserveSources, XdsEvent } from './sources.ts'
import { cacheStatus, credentialStatus, type StatusReport } from './status.ts'
import { statusPage } from './status-page.ts'
import { upstreamStatus } from './upstream-metrics.ts'

/** What `admin.listen` serves, for people and byname's own commands. Changes are POST. */
export function adminRoutes(sources: ObserveSources, status: () => Promise<StatusReport>): Route[] {
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
      handle: async () => ({ status: 200, type: 'text/html; charset=utf-8', body: statusPage(await status(), routes) }),
    },
    get('/debug/status', 'all of the status, as JSON', status),
    table('/debug/table', 'the name table in use, as proto3 JSON'),
    table('/debug/ndsz', 'the same, under the name that Istio uses'),
    get('/debug/cache', 'figures of the answer cache', () => cacheStatus(sources)),
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
    {
      method: 'GET',
      path: '/debug/explain',
      purpose: 'page',
      about: 'why a name gets its answer: ?name=, and &type=, &from=, &search=, &ndots=',
      handle: async ({ query }) => {
        const result = await sources.explain(query)
        if ('problem' in result) return text(400, result.problem)
        return json({ ...result.explanation, table: (await status()).table })
      },
    },
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

function get(path: string, about: string, read: () => unknown): Route {
  return { method: 'GET', path, purpose: 'page', about, handle: async () => json(await read()) }
}
