import type { UpstreamStatus } from '../observe/upstream-metrics.ts'
import { ADMIN_OPTIONS, showFromAdmin } from './admin-client.ts'
import { type Command, ExitCode } from './command.ts'
import { amount } from './figures.ts'
import { alignColumns } from './text-columns.ts'
import { printable } from '../base/printable.ts'

/** `byname upstreams`: the upstream servers and how they do. */
export const upstreamsCommand: Command = {
  name: 'upstreams',
  summary: 'Show the upstream servers: state, round trip, failures, routes.',
  options: { json: { help: 'as JSON' }, ...ADMIN_OPTIONS },
  async run(given, context) {
    await showFromAdmin('/debug/upstreams', given, context, upstreamsText)
    return ExitCode.done
  },
}

/** Upstream servers as aligned text, in their order. */
export function upstreamsText(upstreams: readonly UpstreamStatus[]): string {
  if (upstreams.length === 0) return 'No upstream servers.\n'
  const rows = upstreams.map((server) => [
    server.label,
    server.isLoop ? 'loop' : server.healthy ? 'healthy' : 'failing',
    server.rttMs === null ? '-' : `${server.rttMs.toFixed(1)} ms`,
    countsText(server.requests),
    countsText(server.failures),
    server.routes.join(' ') || '-',
  ])
  const heads = ['SERVER', 'STATE', 'RTT', 'REQUESTS', 'FAILURES', 'ROUTES']
  return alignColumns([heads, ...rows.map((row) => row.map(printable))])
}

function countsText(counts: Record<string, number>): string {
  const parts = Object.entries(counts).map(([what, count]) => `${what} ${amount(count)}`)
  return parts.length === 0 ? '-' : parts.join(', ')
}
