import type { Route } from '../http/route.ts'
import type { StatusReport } from './status.ts'

/** The status as a page without scripts: what matters first, and links to the rest. */
export function statusPage(report: StatusReport, routes: readonly Route[]): string {
  const { table, cache } = report
  const rows: [string, string][] = [
    ['state', report.ready ? 'ready' : `not ready: ${report.missing.join('; ')}`],
    ['up for', `${report.uptimeSeconds} s`],
    ['driver', `${report.driver.name} (${report.driver.why}), ${report.workers.count} workers`],
    ['listening', report.listeners.map(({ proto, address, port }) => `${proto} ${address} ${port}`).join(', ')],
    ['queries', String(report.requests)],
    ['name table', tableText(table)],
    ['control plane', controlPlaneText(report.xds)],
    ['cache', `${cache.entries} answers, ${cache.bytes} bytes`],
    ['cache hits', cache.hitRatio === null ? 'none asked yet' : `${(cache.hitRatio * 100).toFixed(1)} %`],
    ...report.upstreams.map(({ label, healthy, rttMs }): [string, string] => [
      `upstream ${label}`,
      `${healthy ? 'healthy' : 'failing'}${rttMs === null ? '' : `, ${rttMs.toFixed(1)} ms`}`,
    ]),
  ]
  const links = routes.filter(({ method }) => method === 'GET')
  return `<!doctype html>
<html lang="en"><meta charset="utf-8"><title>byname ${escapeHtml(report.version)}</title>
<style>body{font:15px system-ui;margin:2em;max-width:60em}th{text-align:left;padding-right:1.5em;font-weight:600}</style>
<h1>byname ${escapeHtml(report.version)}</h1>
${report.problems.map(({ text, since }) => `<p><strong>${escapeHtml(`${text} (since ${since})`)}</strong></p>\n`).join('')}
${report.warnings.map((warning) => `<p><strong>${escapeHtml(warning)}</strong></p>\n`).join('')}<table>
${rows.map(([name, value]) => `<tr><th>${escapeHtml(name)}<td>${escapeHtml(value)}\n`).join('')}</table>
<ul>
${links.map(({ path, about }) => `<li><a href="${escapeHtml(path)}">${escapeHtml(path)}</a> ${escapeHtml(about)}\n`).join('')}</ul>
</html>
`
}

/** Text for an element or a quoted attribute: labels and versions come from configuration and control plane. */
function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

function controlPlaneText(xds: StatusReport['xds']): string {
  if (xds === null) return 'none'
  if (xds.connected) return 'connected'
  if (xds.away === null) return 'connecting'
  const { sinceMs, address, reason } = xds.away
  return `away since ${new Date(sinceMs).toISOString()}: ${address}: ${reason}`
}

function tableText(table: StatusReport['table']): string {
  if (table.ageSeconds === null && table.hosts === 0) return 'none yet'
  const age = table.ageSeconds === null ? '' : `, ${table.ageSeconds} s old`
  return `${table.hosts} hosts from ${table.source}, version ${table.version}${age}`
}
