import { socketText } from '../config/address.ts'
import type { StatusReport } from '../observe/status.ts'
import { ADMIN_OPTIONS, showFromAdmin } from './admin-client.ts'
import { cacheText } from './cache.ts'
import { type Command, ExitCode } from './command.ts'
import { amount, bytesText, plural, durationText } from './figures.ts'
import { alignColumns } from './text-columns.ts'
import { printable } from '../base/printable.ts'
import { upstreamsText } from './upstreams.ts'

/** `byname status`: how the daemon is doing. */
export const statusCommand: Command = {
  name: 'status',
  summary: 'Show how the running daemon is doing.',
  options: { json: { help: 'as JSON' }, ...ADMIN_OPTIONS },
  async run(given, context) {
    await showFromAdmin('/debug/status', given, context, statusText)
    return ExitCode.done
  },
}

/** A status report as text for people. */
function statusText(report: StatusReport): string {
  const { table, cache, workers, driver, xds } = report
  const state = report.ready ? 'ready' : `not ready: ${report.missing.join(', ')}`
  const rows = [
    ['byname', `${report.version}, ${state}, up ${durationText(report.uptimeSeconds)}, pid ${report.pid}`],
    ['listening', listenersText(report.listeners)],
    [
      'driver',
      `${driver.name} (${driver.why}), ${plural(workers.count, 'worker')}, ${plural(workers.restarts, 'restart')}`,
    ],
    ['table', tableLine(table)],
  ]
  if (xds !== null)
    rows.push(['xds', `${xdsText(xds)}, ${plural(xds.reconnects, 'reconnect')}${registrationText(xds)}`])
  for (const each of report.credentials) rows.push([each.kind, credentialText(each)])
  rows.push(['queries', queriesText(report)], ['cache', cacheText(cache)])
  // A byname of an earlier version says nothing of rules.
  if (report.rules) rows.push(['rules', rulesText(report.rules)])
  const drops = Object.entries(report.drops).map(([reason, count]) => `${reason} ${amount(count)}`)
  if (report.socketDrops > 0) drops.push(`by the kernel ${amount(report.socketDrops)}`)
  rows.push(['no reply to', drops.length > 0 ? drops.join(', ') : 'none'])
  const problems = report.problems.map(
    ({ text, since, forSeconds }) => `problem: ${printable(text)} (for ${durationText(forSeconds)}, since ${since})\n`,
  )
  const servers = `\n${upstreamsText(report.upstreams)}`
  const warnings = report.warnings.map((warning) => `warning: ${printable(warning)}\n`).join('')
  const notes = problems.join('') + warnings
  return `${printable(report.health.sentence)}\n\n${alignColumns(rows.map((row) => row.map(printable)))}${servers}${notes === '' ? '' : `\n${notes}`}`
}

function queriesText({ requests, responses }: StatusReport): string {
  const parts = Object.entries(responses).flatMap(([source, count]) =>
    count > 0 ? [`${source} ${amount(count)}`] : [],
  )
  return amount(requests) + (parts.length > 0 ? `; answered from ${parts.join(', ')}` : '')
}

function rulesText({ bytes, count, egress, matches, names, notAllowed }: NonNullable<StatusReport['rules']>): string {
  const kinds: Readonly<Record<string, string>> = { audit: 'would be denied', nxdomain: 'denied', nodata: 'denied' }
  const rest = egress === 'allow' ? '' : `; ${amount(notAllowed)} that none allows ${kinds[egress] ?? egress}`
  return `${plural(count, 'rule')} with ${plural(names, 'name')} (${bytesText(bytes)}), matched ${plural(matches, 'time')}${rest}`
}

function xdsText({ connected, away }: NonNullable<StatusReport['xds']>): string {
  if (connected) return 'connected'
  if (away === null) return 'connecting'
  return `away since ${new Date(away.sinceMs).toISOString()} (${away.address}: ${away.reason})`
}

function registrationText({ registration }: NonNullable<StatusReport['xds']>): string {
  if (registration === undefined) return ''
  return `, ${registration.isRegistered ? 'registered' : 'not registered'} in group ${registration.group}`
}

function credentialText({
  from,
  secondsLeft,
  expires,
  problem,
  isNeeded,
}: StatusReport['credentials'][number]): string {
  const unused = isNeeded ? '' : ', not needed now'
  if (problem !== null) return `${from}: ${problem}${unused}`
  if (secondsLeft === null) return `${from}${unused}`
  return `${from}, ${secondsLeft < 0 ? 'expired' : `expires in ${durationText(secondsLeft)}`} (${expires})${unused}`
}

function tableLine(table: StatusReport['table']): string {
  if (table.ageSeconds === null && table.hosts === 0) return `none yet, from ${table.source}`
  const age = table.ageSeconds === null ? 'kept from the last run' : `${durationText(table.ageSeconds)} old`
  const { changed, unchanged, refused } = table.updates
  const version = table.version === '' ? '' : `, version ${table.version}`
  const updates = `updates ${amount(changed)} changed, ${amount(unchanged)} unchanged, ${amount(refused)} refused`
  return `${plural(table.hosts, 'host')}, ${bytesText(table.bytes)}${version}, ${age}, from ${table.source}; ${updates}`
}

function listenersText(listeners: StatusReport['listeners']): string {
  const protosOf = new Map<string, string[]>()
  for (const { proto, address, port } of listeners) {
    const text = socketText(address, port)
    protosOf.set(text, [...(protosOf.get(text) ?? []), proto.toUpperCase()])
  }
  return [...protosOf].map(([text, protos]) => `${text} ${protos.join('+')}`).join(', ') || 'nowhere'
}
