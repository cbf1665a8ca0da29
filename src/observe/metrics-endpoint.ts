import { withDeadline } from '../http/deadline.ts'
import { type Route, text } from '../http/route.ts'
import type { Metrics } from './metrics.ts'
import type { ObserveSources } from './sources.ts'

/** A worker that is busy with a batch answers within a few milliseconds; kubelet's own limit is a second by default. */
const PING_DEADLINE_MS = 800

/**
 * What `metrics.listen` serves, for scrapers and kubelet. It is reachable from other machines and changes nothing; Host
 * is not checked, because probes and scrapers may use any name.
 */
export function metricsRoutes(sources: Pick<ObserveSources, 'ping' | 'ready'>, metrics: Metrics): Route[] {
  return [
    {
      method: 'GET',
      path: '/metrics',
      purpose: 'page',
      about: 'metrics in the Prometheus text format',
      handle: async () => ({ status: 200, type: metrics.contentType, body: await metrics.render() }),
    },
    {
      method: 'GET',
      path: '/healthz',
      purpose: 'probe',
      about: '200 if every data worker answers',
      handle: async () => {
        // Where the source misses its deadline the probe still gets an answer of ours, before it runs into its own limit.
        const alive = await withDeadline(PING_DEADLINE_MS + 100, sources.ping(PING_DEADLINE_MS), null)
        const silent = alive?.flatMap((answers, worker) => (answers ? [] : [worker]))
        if (!silent) return text(503, 'the data workers do not answer')
        if (silent.length > 0) return text(503, `data worker ${silent.join(', ')} does not answer`)
        return alive!.length > 0 ? text(200, 'ok') : text(503, 'no data worker runs')
      },
    },
    {
      method: 'GET',
      path: '/readyz',
      purpose: 'probe',
      about: '200 once a name table has arrived and sockets are bound',
      handle: () => {
        const { ready, missing } = sources.ready()
        return ready ? text(200, 'ready') : text(503, `not ready: ${missing.join('; ') || 'starting'}`)
      },
    },
  ]
}
