/** The parts of the page that an overview fills. */
import type { Overview } from '../last-hour.ts'
import { byId, type Cell, element, fillTable } from './dom.ts'
import { figure, milliseconds, percent, span, timeOfDay } from './words.ts'

const STATE_WORDS = { well: '✓ Well', degraded: '! Needs a look', failing: '✗ Failing' } as const
const NAMES_SHOWN = 10
const FAILURES_SHOWN = 12
let announced: string | null = null

/** Health in words. Screen readers are told when something has changed but ages and numbers. */
export function showHealth({ status }: Overview): void {
  const { state, sentence, causes } = status.health
  byId('health').dataset.state = state
  byId('state').textContent = STATE_WORDS[state]
  byId('sentence').textContent = sentence
  const problems = status.problems.map(({ text, forSeconds }) => `${text} (for ${span(forSeconds)})`)
  byId('problems').replaceChildren(...[...problems, ...status.warnings].map((text) => element('li', {}, text)))
  const news = [STATE_WORDS[state].slice(2), ...causes].join('; ')
  // Counts and times with their units: that they go on is no news.
  const gist = news.replace(/(?<=^| )\d[\d,]* (?:%|\w+)/g, '')
  if (announced !== null && announced !== gist) byId('news').textContent = news
  announced = gist
  document.title = state === 'well' ? 'byname' : `${STATE_WORDS[state]}: byname`
}

/** Upstream servers and credentials. */
export function showServers({ status }: Overview): void {
  const rows = status.upstreams.map(({ label, routes, isLoop, healthy, rttMs, requests, failures }) => {
    const isAsked = Object.keys(requests).length > 0
    const state: Cell = isLoop
      ? { text: '✗ forwards to byname', className: 'failing' }
      : healthy
        ? { text: isAsked ? '✓ answers' : '✓ not asked yet', className: 'well' }
        : { text: '✗ fails', className: 'failing' }
    return [label, state, number(milliseconds(rttMs)), countsOf(requests), countsOf(failures), routes.join(' ')]
  })
  const headings = ['Server', 'State', 'Round trip', 'Queries', 'Failures', 'Asked for']
  fillTable(byId('servers-list'), 'Upstream servers', headings, rows)
  const credentials = status.credentials.map(
    ({ kind, from, expires, secondsLeft, problem, isNeeded, isEndingSoon }) => {
      const left = secondsLeft === null ? 'does not say' : secondsLeft < 0 ? 'has expired' : `in ${span(secondsLeft)}`
      const state: Cell =
        problem !== null
          ? { text: `✗ ${problem}`, className: isNeeded ? 'failing' : 'quiet' }
          : isEndingSoon && isNeeded
            ? { text: '! ends soon', className: 'degraded' }
            : { text: isNeeded ? '✓ good' : 'not needed now', className: isNeeded ? 'well' : 'quiet' }
      return [kind, from, left, expires ?? '', state]
    },
  )
  const labels = ['Credential', 'From', 'Expires', 'At', 'State']
  fillTable(byId('credentials-list'), 'Credentials', labels, credentials)
}

/** Names that are asked for most, fail most, and storm. */
export function showNames({ top }: Overview): void {
  if (top === null) {
    byId('names-note').textContent = 'Not collected: admin.topNames is false.'
    byId('names-lists').hidden = true
    return
  }
  byId('names-lists').hidden = false
  const minutes = top.halfLifeSeconds / 60
  byId('names-note').textContent = `Shares of sampled answers. What is ${minutes} minutes old counts half.`
  for (const [id, title, { names }] of [
    ['names-asked', 'Asked for most', top.asked],
    ['names-failing', 'Failing', top.failing],
    ['names-searched', 'Not there below search domains', top.searched],
  ] as const) {
    const rows = names.slice(0, NAMES_SHOWN).map(({ name, share }) => [name, number(percent(share))])
    fillTable(byId(id), title, ['Name', 'Share'], rows)
  }
}

/** Queries and attempts that failed. */
export function showFailures({ failures }: Overview): void {
  const queries = failures.queries
    .slice(0, FAILURES_SHOWN)
    .map(({ atMs, name, type, rcode, source, client, reason }) => {
      return [
        timeOfDay(atMs),
        name,
        reason ?? (source === 'local' ? 'byname itself' : '–'),
        typeText(type),
        rcode,
        client,
      ]
    })
  const servers = failures.servers.slice(0, FAILURES_SHOWN).map(({ sinceMs, untilMs, server, reason, count }) => {
    const when = sinceMs === untilMs ? timeOfDay(untilMs) : `${timeOfDay(sinceMs)} to ${timeOfDay(untilMs)}`
    return [when, server, reason, number(figure(count))]
  })
  fillTable(byId('failures-queries'), 'Failed queries', ['Time', 'Name', 'Reason', 'Type', 'Reply', 'Client'], queries)
  fillTable(byId('failures-servers'), 'Failed attempts', ['Time', 'Server', 'Reason', 'Count'], servers)
}

/** The table of everything else, as the server words it. */
export function showDetails({ details }: Overview): void {
  byId('rows').replaceChildren(
    ...details.map(([name, value]) =>
      element('tr', {}, element('th', { scope: 'row' }, name), element('td', {}, value)),
    ),
  )
}

function number(text: string): Cell {
  return { text, isNumber: true }
}

function countsOf(counts: Readonly<Record<string, number>>): string {
  return Object.entries(counts)
    .map(([name, count]) => `${name} ${figure(count)}`)
    .join(', ')
}

const TYPES: Readonly<Record<number, string>> = {
  1: 'A',
  28: 'AAAA',
  33: 'SRV',
  12: 'PTR',
  16: 'TXT',
  65: 'HTTPS',
  15: 'MX',
  5: 'CNAME',
}

function typeText(type: number): string {
  return TYPES[type] ?? `TYPE${type}`
}
