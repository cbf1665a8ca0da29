import { withDeadline } from '../http/deadline.ts'
import { type Route, text } from '../http/route.ts'
import type { Metrics } from './metrics.ts'
import type { ObserveSources } from './sources.ts'
import { problemStatus } from './status.ts'

/** A worker that is busy with a batch answers within a few milliseconds; kubelet's own limit is a second by default. */
const PING_DEADLINE_MS = 800

/** Of the text of /readyz, which kubelet copies into events. */
const MOST_PROBLEMS = 8
const MOST_CHARS = 300

/**
 * What `metrics.listen` serves, for scrapers and kubelet. It is reachable from other machines and changes nothing; Host
 * is not checked, because probes and scrapers may use any name.
 */
export function metricsRoutes(
  sources: Pick<ObserveSources, 'ping' | 'ready' | 'problems' | 'nowMs'>,
  metrics: Metrics,
): Route[] {
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
      path: '/metrics/byname',
      purpose: 'page',
      about: "byname's own metrics alone, to be merged with others'",
      handle: async () => ({ status: 200, type: metrics.contentType, body: await metrics.renderOwn() }),
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
      about: '200 once a name table has arrived and sockets are bound; below that what is wrong',
      handle: () => {
        const { ready, missing } = sources.ready()
        const state = ready ? 'ready' : `not ready: ${missing.join('; ') || 'starting'}`
        const problems = problemStatus(sources)
        const lines = problems.slice(0, MOST_PROBLEMS).map((problem) => `${problem.text} (since ${problem.since})`)
        if (problems.length > MOST_PROBLEMS)
          lines.push(`and ${problems.length - MOST_PROBLEMS} more: see byname status`)
        return text(
          ready ? 200 : 503,
          [state, ...lines.map((line) => `problem: ${line.replace(/\s+/g, ' ').slice(0, MOST_CHARS)}`)].join('\n'),
        )
      },
    },
  ]
}
