/** Questions that got no right answer, and where they were lost. */
import type { ProbeResult } from '../load/probe.ts'
import type { Metric, Values } from './scenario.ts'

/** Lost on the way, in sockets that had no room: together with `lost` they tell whether the server itself lost any. */
export const LOSS_METRICS: readonly Metric[] = [
  { key: 'serverDrops', title: 'dropped at the server’s sockets', unit: '', better: 'less', isCount: true },
  { key: 'clientDrops', title: 'at the client’s', unit: '', better: 'less', isCount: true },
]

/**
 * `serverDrops` are those of the server's sockets in the same time. Lost is what got no answer or one that is not
 * NOERROR: a SERVFAIL is no answer.
 */
export function lossFigures(
  { sent, received, rcodes, clientDrops, sendErrors }: ProbeResult,
  serverDrops: number,
): Values {
  const right = rcodes['NOERROR'] ?? 0
  return {
    sent,
    lost: sent - right,
    wrong: received - right,
    serverDrops,
    clientDrops: clientDrops ?? Number.NaN,
    sendErrors: sendErrors ?? Number.NaN,
  }
}
