/** The script of the status page: follows `/debug/events`, and shows what comes. */
import type { Figure, HistoryColumns, HistorySample } from '../history.ts'
import type { Overview } from '../last-hour.ts'
import { follow, keepToken, read, TokenNeeded } from './admin.ts'
import { Chart, type ChartContent, type ChartStyle } from './charts.ts'
import { byId, elementOf } from './dom.ts'
import { wireForms } from './forms.ts'
import { showDetails, showFailures, showHealth, showNames, showServers } from './sections.ts'
import { bytes, figure, milliseconds, percent, perSecond, span } from './words.ts'

const MOST_SAMPLES = 720
const RETRY_MS = 2000

/** A chart of figures that every sample has: label and figure of each series. */
type FigureChart = ChartStyle & { series: readonly (readonly [label: string, figure: Figure])[] }

const CHARTS: readonly FigureChart[] = [
  {
    title: 'Queries, by who answered',
    kind: 'stack',
    unit: perSecond,
    series: [
      ['mesh', 'meshPerSecond'],
      ['cache', 'cachePerSecond'],
      ['upstream', 'upstreamPerSecond'],
      ['stale', 'stalePerSecond'],
      ['local', 'localPerSecond'],
    ],
  },
  {
    title: 'Replies, by rcode',
    kind: 'stack',
    unit: perSecond,
    series: [
      ['NOERROR', 'noerrorPerSecond'],
      ['NXDOMAIN', 'nxdomainPerSecond'],
      ['SERVFAIL', 'servfailPerSecond'],
      ['REFUSED', 'refusedPerSecond'],
      ['other', 'otherRcodesPerSecond'],
    ],
  },
  {
    title: 'Time to answer',
    kind: 'logarithmic',
    unit: milliseconds,
    series: [
      ['half within', 'p50Ms'],
      ['90 % within', 'p90Ms'],
      ['99 % within', 'p99Ms'],
    ],
  },
  { title: 'Cache hits', kind: 'lines', unit: percent, most: 1, series: [['of the look-ups', 'cacheHitRatio']] },
  {
    title: 'Dropped and pending',
    kind: 'lines',
    unit: figure,
    series: [
      ['dropped per second', 'droppedPerSecond'],
      ['pending queries', 'pendingQueries'],
    ],
  },
  { title: 'Hosts in the name table', kind: 'lines', unit: figure, series: [['hosts', 'tableHosts']] },
  {
    title: 'Age of the name table',
    kind: 'lines',
    unit: span,
    step: 60,
    series: [['since the last push', 'tableAgeSeconds']],
  },
  {
    title: 'Memory',
    kind: 'lines',
    unit: bytes,
    step: 1024 * 1024,
    series: [
      ['in use', 'rssBytes'],
      ['of its own', 'anonymousBytes'],
    ],
  },
  { title: 'CPU, of one core', kind: 'lines', unit: percent, step: 0.01, series: [['used', 'cpuRatio']] },
]

const charts = new Map<FigureChart, Chart>()
let roundTrips: Chart | null = null
let history: HistoryColumns | null = null

function drawCharts(): void {
  if (history === null) return
  const { times, figures, servers } = history
  for (const style of CHARTS) {
    const content: ChartContent = {
      times,
      series: style.series.map(([label, name]) => ({ label, values: figures[name] })),
    }
    const chart = charts.get(style) ?? new Chart(style)
    charts.set(style, chart)
    chart.show(content)
  }
  roundTrips ??= new Chart({ title: 'Round trip of upstream servers', kind: 'logarithmic', unit: milliseconds })
  const failing = servers.filter(({ isHealthy }) => isHealthy.at(-1) === 0).length
  // A server that fails has no round trip: the line has a gap there.
  const series = servers.map(({ label, rttMs, isHealthy }) => ({
    label,
    values: rttMs.map((value, place) => (isHealthy[place] === 0 ? null : value)),
  }))
  roundTrips.show({ times, series, note: failing === 0 ? '' : `${failing} of ${servers.length} failing` })
}

/** Adds a sample; false if some are missing in between. */
function addSample(sample: HistorySample): boolean {
  if (history === null) return false
  const last = history.times.at(-1)
  if (last === sample.time) return true
  if (last !== undefined && sample.time - last > 2 * history.intervalMs) return false
  if (!haveSameServers(history, sample)) return false
  push(history.times, sample.time)
  for (const name of keysOf(history.figures)) push(history.figures[name], sample.figures[name])
  history.servers.forEach((server, place) => {
    const { label: _, ...figures } = sample.servers[place]!
    for (const name of keysOf(figures)) push(server[name], figures[name])
  })
  return true
}

function haveSameServers(columns: HistoryColumns, sample: HistorySample): boolean {
  const labels = sample.servers.map(({ label }) => label)
  return (
    columns.servers.length === labels.length && columns.servers.every(({ label }, place) => label === labels[place])
  )
}

function push<T>(list: T[], value: T): void {
  list.push(value)
  if (list.length > MOST_SAMPLES) list.shift()
}

function keysOf<K extends string>(object: Readonly<Record<K, unknown>>): K[] {
  // oxlint-disable-next-line typescript/no-unsafe-type-assertion -- Object.keys forgets which keys there are.
  return Object.keys(object) as K[]
}

async function readHistory(): Promise<void> {
  history = await read<HistoryColumns>('debug/history')
  drawCharts()
}

function show(overview: Overview): void {
  byId('connection').textContent = `live, ${new Date().toLocaleTimeString([], { hourCycle: 'h23' })}`
  showHealth(overview)
  showServers(overview)
  showNames(overview)
  showFailures(overview)
  showDetails(overview)
  if (overview.sample === null) return
  if (addSample(overview.sample)) drawCharts()
  else void readHistory().catch(() => {})
}

async function live(): Promise<never> {
  for (;;) {
    try {
      await readHistory()
      for (const part of document.querySelectorAll<HTMLElement>('.needs-script, #health, #details')) part.hidden = false
      byId('token').hidden = true
      await follow('debug/events', whileSeen(), show)
    } catch (error) {
      if (error instanceof TokenNeeded) {
        await newToken(error.message)
        continue
      }
    }
    if (document.hidden) {
      byId('connection').textContent = 'paused'
      await isSeen()
      continue
    }
    byId('connection').textContent = 'not connected to byname; trying again'
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS))
  }
}

/** Aborts when nobody sees the page: a browser has few connections to one server, and byname need not tell what nobody reads. */
function whileSeen(): AbortSignal {
  const ending = new AbortController()
  const look = (): void => {
    if (!document.hidden) return
    document.removeEventListener('visibilitychange', look)
    ending.abort()
  }
  document.addEventListener('visibilitychange', look)
  look()
  return ending.signal
}

function isSeen(): Promise<void> {
  return new Promise((resolve) => {
    const look = (): void => {
      if (document.hidden) return
      document.removeEventListener('visibilitychange', look)
      resolve()
    }
    document.addEventListener('visibilitychange', look)
    look()
  })
}

/** Resolves when a token was given. `problem`: what is wrong with the one before, or ''. */
function newToken(problem: string): Promise<void> {
  const form = elementOf('token', HTMLFormElement)
  for (const part of document.querySelectorAll<HTMLElement>('.needs-script, #health, #details')) part.hidden = true
  form.hidden = false
  byId('token-problem').textContent = problem
  return new Promise((resolve) =>
    form.addEventListener(
      'submit',
      (event) => {
        event.preventDefault()
        const token = new FormData(form).get('token')
        if (typeof token === 'string') keepToken(token.trim())
        resolve()
      },
      { once: true },
    ),
  )
}

wireForms()
void live()
