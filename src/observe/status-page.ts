import { createHash } from 'node:crypto'
import type { Reply, Route } from '../http/route.ts'
import type { HealthState } from './health-summary.ts'
import type { StatusReport } from './status.ts'

const STATE_WORDS: Readonly<Record<HealthState, string>> = {
  well: '✓ Well',
  degraded: '! Needs a look',
  failing: '✗ Failing',
}

/**
 * The status page. `template` is `page/page.html` with its style and script, made by bin/build.mjs; what matters is filled in
 * here, so that it can be read without scripts, and the script keeps it up to date.
 */
export function statusPage(template: string, report: StatusReport, routes: readonly Route[]): Reply {
  const { health, problems, warnings } = report
  const notes = [...problems.map(({ text, since }) => `${text} (since ${since})`), ...warnings]
  const links = routes.filter(({ method }) => method === 'GET')
  return pageReply(template, 200, {
    version: escapeHtml(report.version),
    state: health.state,
    stateWord: STATE_WORDS[health.state],
    sentence: escapeHtml(health.sentence),
    problems: notes.map((note) => `<li>${escapeHtml(note)}</li>\n`).join(''),
    rows: statusDetails(report)
      .map(([name, value]) => `<tr><th scope="row">${escapeHtml(name)}</th><td>${escapeHtml(value)}</td></tr>\n`)
      .join(''),
    links: links
      .map(({ path, about }) => `<li><a href="${escapeHtml(path)}">${escapeHtml(path)}</a> ${escapeHtml(about)}</li>\n`)
      .join(''),
  })
}

/** The same without anything that is not for everybody: its script asks for the token. */
export function tokenPage(template: string): Reply {
  const empty = { version: '', state: '', stateWord: '', sentence: '', problems: '', rows: '', links: '' }
  return pageReply(template, 401, empty, { 'www-authenticate': 'Bearer' })
}

/** Scripts and styles are the page's own and nothing else, whatever is filled in (Content Security Policy Level 3). */
function pageReply(
  template: string,
  status: number,
  values: Readonly<Record<string, string>>,
  headers: Readonly<Record<string, string>> = {},
): Reply {
  const [script, style] = ['script', 'style'].map((tag) => hashOf(template, tag))
  const policy = `default-src 'none'; script-src ${script}; style-src ${style}; connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'`
  // A function: a replacement text would give a meaning to $.
  const body = template.replace(/\{\{(\w+)\}\}/g, (whole, name: string) => values[name] ?? whole)
  return { status, type: 'text/html; charset=utf-8', body, headers: { ...headers, 'content-security-policy': policy } }
}

function hashOf(template: string, tag: string): string {
  const text = template.slice(template.indexOf(`<${tag}>`) + tag.length + 2, template.lastIndexOf(`</${tag}>`))
  return `'sha256-${createHash('sha256').update(text).digest('base64')}'`
}

/** What else there is to say of a daemon, by name. */
export function statusDetails(report: StatusReport): [name: string, value: string][] {
  const { table, cache } = report
  return [
    ['state', report.ready ? 'ready' : `not ready: ${report.missing.join('; ')}`],
    ['up for', `${report.uptimeSeconds} s`],
    ['driver', `${report.driver.name} (${report.driver.why}), ${report.workers.count} workers`],
    ['listening', report.listeners.map(({ proto, address, port }) => `${proto} ${address} ${port}`).join(', ')],
    ['queries', String(report.requests)],
    ['name table', tableText(table)],
    ['control plane', controlPlaneText(report.xds)],
    ['cache', `${cache.entries} answers, ${cache.bytes} bytes`],
    ['cache hits', cache.hitRatio === null ? 'none asked yet' : `${(cache.hitRatio * 100).toFixed(1)} %`],
    ...rulesRow(report.rules),
    ...report.upstreams.map(({ label, healthy, rttMs }): [string, string] => [
      `upstream ${label}`,
      `${healthy ? 'healthy' : 'failing'}${rttMs === null ? '' : `, ${rttMs.toFixed(1)} ms`}`,
    ]),
  ]
}

/** Text for an element or a quoted attribute: labels and versions come from configuration and control plane. */
function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}

function rulesRow(rules: StatusReport['rules']): [string, string][] {
  if (rules === null) return []
  const { count, egress, matches, names, notAllowed } = rules
  const what = egress === 'audit' ? 'would be denied' : `denied with ${egress.toUpperCase()}`
  const rest = egress === 'allow' ? '' : `; ${notAllowed} queries that none allows ${what}`
  return [['rules', `${count} rules of ${names} names, matched ${matches} times${rest} (/debug/rules)`]]
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
