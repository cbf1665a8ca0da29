/** What `byname top` shows, as lines of text: pure, so that it fits whatever the terminal is. */
import { printable } from '../base/printable.ts'
import type { Figure, HistoryColumns } from '../observe/history.ts'
import type { Overview } from '../observe/last-hour.ts'
import type { NameShares } from '../observe/top-names.ts'
import { amount, bytesText, durationText, plural } from './figures.ts'
import { alignColumns } from './text-columns.ts'

/** What /debug/overview says. */
export type TopOverview = Overview & { history: HistoryColumns }

/** Room for the screen, in characters. */
export interface ScreenSize {
  columns: number
  rows: number
}

const BARS = '▁▂▃▄▅▆▇█'
const CHART_WIDTH = 30
const MOST_NAMES = 8
/** Below them a list of names is of no use. */
const LEAST_NAMES = 3
const SOURCES: readonly (readonly [label: string, figure: Figure])[] = [
  ['mesh', 'meshPerSecond'],
  ['cache', 'cachePerSecond'],
  ['stale', 'stalePerSecond'],
  ['upstream', 'upstreamPerSecond'],
  ['local', 'localPerSecond'],
]
const RCODES: readonly (readonly [label: string, figure: Figure])[] = [
  ['NOERROR', 'noerrorPerSecond'],
  ['NXDOMAIN', 'nxdomainPerSecond'],
  ['SERVFAIL', 'servfailPerSecond'],
  ['REFUSED', 'refusedPerSecond'],
  ['other', 'otherRcodesPerSecond'],
]

/** All lines, however many: for output that is no terminal. */
export function topText(overview: TopOverview): string {
  return `${sections(overview, 100, MOST_NAMES).flat().join('\n')}\n`
}

/** As many lines as fit, none longer than the screen is wide. The most important come first. */
export function topLines(overview: TopOverview, { columns, rows }: ScreenSize): string[] {
  for (let names = MOST_NAMES; names >= LEAST_NAMES; names--) {
    const lines = sections(overview, columns, names).flat()
    if (lines.length <= rows || names === LEAST_NAMES) return lines.slice(0, rows).map((line) => cut(line, columns))
  }
  return []
}

/** Blocks of lines, an empty line between them. */
function sections(overview: TopOverview, columns: number, names: number): string[][] {
  const { top, failures } = overview
  const blocks = [
    headLines(overview, columns),
    figureLines(overview),
    serverLines(overview),
    top === null ? [] : nameLines('ASKED MOST', top.asked, names),
    top === null ? [] : nameLines('FAILING MOST', top.failing, names),
    top === null ? [] : nameLines('NXDOMAIN BELOW SEARCH DOMAINS', top.searched, names),
    failureLines(failures, names),
  ]
  return blocks.filter((lines) => lines.length > 0).map((lines, n) => (n === 0 ? lines : ['', ...lines]))
}

function headLines({ status }: TopOverview, columns: number): string[] {
  const about = `byname ${status.version}  up ${durationText(status.uptimeSeconds)}  pid ${status.pid}`
  return [printable(about), ...wrap(printable(status.health.sentence), columns)]
}

function figureLines({ sample, history, status }: TopOverview): string[] {
  if (sample === null) return ['The first figures come within 5 s.']
  const { figures } = sample
  const rows = [
    ['queries', rate(figures.queriesPerSecond), chart(history.figures.queriesPerSecond)],
    ['', '', sharesText(SOURCES, figures)],
    ['', '', sharesText(RCODES, figures)],
    ['latency', milliseconds(figures.p50Ms), `p90 ${milliseconds(figures.p90Ms)}  p99 ${milliseconds(figures.p99Ms)}`],
    ['cache', ratio(figures.cacheHitRatio), `hits; ${amount(figures.cacheEntries ?? 0)} answers kept`],
    ['table', plural(status.table.hosts, 'host'), tableText(status)],
    ['process', bytes(figures.anonymousBytes), processText(figures)],
  ]
  return linesOf(alignColumns(rows))
}

type Figures = Record<Figure, number | null>

function tableText({ table }: TopOverview['status']): string {
  const age = table.ageSeconds === null ? '' : `, confirmed ${durationText(table.ageSeconds)} ago`
  return printable(`from ${table.source}${age}`)
}

function processText(figures: Figures): string {
  return `${bytes(figures.rssBytes)} resident; ${ratio(figures.cpuRatio)} of a core`
}

function sharesText(of: readonly (readonly [label: string, figure: Figure])[], figures: Figures): string {
  const parts = of.flatMap(([label, figure]) => {
    const value = figures[figure] ?? 0
    return value > 0 ? [`${label} ${rate(value)}`] : []
  })
  return parts.join('  ') || '-'
}

function serverLines({ sample, status, history }: TopOverview): string[] {
  const rows = status.upstreams.map(({ label, healthy, isLoop, rttMs }) => {
    const now = sample?.servers.find((server) => server.label === label)
    const past = history.servers.find((server) => server.label === label)
    return [
      label,
      isLoop ? 'loop' : healthy ? 'healthy' : 'failing',
      milliseconds(rttMs),
      rate(now?.queriesPerSecond ?? null),
      rate(now?.failuresPerSecond ?? null),
      chart(past?.rttMs ?? []),
    ]
  })
  if (rows.length === 0) return []
  const heads = ['UPSTREAM SERVER', 'STATE', 'RTT', 'QUERIES', 'FAILURES', 'RTT, LAST MINUTES']
  return linesOf(alignColumns([heads, ...rows.map((row) => row.map(printable))], [2, 3, 4]))
}

function nameLines(title: string, { names }: NameShares, most: number): string[] {
  if (names.length === 0) return []
  return [title, ...names.slice(0, most).map(({ name, share }) => `${ratio(share).padStart(6)}  ${printable(name)}`)]
}

function failureLines({ servers, queries }: Overview['failures'], most: number): string[] {
  const events = [
    ...servers.map(({ untilMs, server, reason, count }) => ({
      atMs: untilMs,
      text: `${server}: ${reason}${count > 1 ? ` × ${amount(count)}` : ''}`,
    })),
    ...queries.map(({ atMs, name, rcode, reason }) => ({
      atMs,
      text: `${name}: ${rcode}${reason === null ? '' : ` (${reason})`}`,
    })),
  ]
  if (events.length === 0) return []
  const newest = events.toSorted((a, b) => b.atMs - a.atMs).slice(0, most)
  return ['RECENT FAILURES', ...newest.map(({ atMs, text }) => `${clockText(atMs)}  ${printable(text)}`)]
}

/** The last values as bars, the newest on the right. */
function chart(values: readonly (number | null)[]): string {
  const shown = values.slice(-CHART_WIDTH)
  const highest = Math.max(...shown.map((value) => value ?? 0), 0)
  if (highest === 0) return ''
  return shown.map((value) => (value === null ? ' ' : barOf(value / highest))).join('')
}

function barOf(share: number): string {
  return BARS[Math.min(BARS.length - 1, Math.floor(Math.max(0, share) * BARS.length))]!
}

function rate(value: number | null): string {
  if (value === null) return '-'
  return `${value >= 10 || value === 0 ? amount(Math.round(value)) : value.toFixed(1)}/s`
}

function milliseconds(value: number | null): string {
  if (value === null) return '-'
  return `${value >= 10 ? value.toFixed(0) : value.toFixed(2)} ms`
}

function ratio(value: number | null): string {
  return value === null ? '-' : `${(value * 100).toFixed(value < 0.1 ? 1 : 0)} %`
}

function bytes(value: number | null): string {
  return value === null ? '-' : bytesText(value)
}

function clockText(atMs: number): string {
  return new Date(atMs).toTimeString().slice(0, 8)
}

function linesOf(text: string): string[] {
  return text.trimEnd().split('\n')
}

/** Breaks at spaces where it can. */
function wrap(text: string, columns: number): string[] {
  const wrapped = ['']
  for (const word of text.split(' ')) {
    const last = wrapped.at(-1)!
    if (last === '') wrapped[wrapped.length - 1] = word
    else if (last.length + 1 + word.length <= columns) wrapped[wrapped.length - 1] = `${last} ${word}`
    else wrapped.push(word)
  }
  return wrapped
}

/** A line that is too long ends in an ellipsis. */
function cut(line: string, columns: number): string {
  const characters = Array.from(line)
  return characters.length <= columns ? line : `${characters.slice(0, Math.max(0, columns - 1)).join('')}…`
}
