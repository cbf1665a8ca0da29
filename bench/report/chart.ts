/** Answers per CPU second as a bar chart: one SVG without scripts or fonts, for light and dark pages. */
import type { Scenario } from '../scenarios/scenario.ts'
import { format } from './figures.ts'
import { peersOf, type Results, summarize, SUBJECT } from './results.ts'

const METRIC = 'answersPerCpuSecond'
const WIDTH = 860
const COLUMNS = 2
const MARGIN = 20
const HEAD = 66
const PANEL_WIDTH = (WIDTH - MARGIN * (COLUMNS + 1)) / COLUMNS
const LABEL_WIDTH = 160
const VALUE_WIDTH = 62
const ROW = 22
const TITLE = 30

interface Bar {
  id: string
  title: string
  value: number
}

interface Panel {
  title: string
  bars: Bar[]
}

/** Empty if no scenario of the chart was measured. */
export function renderChart(results: Results, scenarios: readonly Scenario[]): string {
  const panels = scenarios
    .filter((scenario) => scenario.metrics[0]!.key === METRIC && results.runs[scenario.id] !== undefined)
    .map((scenario) => panelOf(results, scenario))
    .filter((panel) => panel.bars.length > 0)
  if (panels.length === 0) return ''

  const parts: string[] = []
  let top = HEAD
  for (let i = 0; i < panels.length; i += COLUMNS) {
    const row = panels.slice(i, i + COLUMNS)
    row.forEach((panel, column) => parts.push(drawPanel(panel, MARGIN + column * (PANEL_WIDTH + MARGIN), top)))
    top += TITLE + Math.max(...row.map((panel) => panel.bars.length)) * ROW + 18
  }
  const { cpu, cores, node } = results.machine
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${top}" width="${WIDTH}" height="${top}" role="img" aria-label="${describe(panels)}">
<style>
  .page { fill: #ffffff } text { font: 13px system-ui, sans-serif; fill: #1f2328 } .quiet { fill: #59636e; font-size: 12px }
  .head { font-size: 17px; font-weight: 600 } .title { font-size: 14px; font-weight: 600 } .own text { font-weight: 600 }
  .bar { fill: #a8b3c0 } .own .bar { fill: #1f6feb } .limit .bar { fill: none; stroke: #8c959f; stroke-dasharray: 3 2 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 }
    .bar { fill: #4c5663 } .own .bar { fill: #4493f8 } .limit .bar { fill: none; stroke: #7d8590 }
  }
</style>
<rect class="page" width="${WIDTH}" height="${top}" rx="8"/>
<text class="head" x="${MARGIN}" y="30">Answers per CPU second of the server</text>
<text class="quiet" x="${MARGIN}" y="50">longer is better; ${escape(cpu)}, ${cores} cores, Node ${node}; medians, one run, loopback</text>
${parts.join('\n')}
</svg>
`
}

function panelOf(results: Results, scenario: Scenario): Panel {
  const bars: Bar[] = []
  for (const { id, title } of peersOf(results, scenario.id)) {
    const summary = summarize(results, scenario.id, id, METRIC)
    if (summary !== undefined) bars.push({ id, title, value: summary.median })
  }
  bars.sort((a, b) => b.value - a.value)
  return { title: scenario.title, bars }
}

function drawPanel({ title, bars }: Panel, left: number, top: number): string {
  const room = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH
  const longest = bars[0]!.value
  const rows = bars.map(({ id, title: label, value }, i) => {
    const y = top + TITLE + i * ROW
    const length = Math.max(1, (value / longest) * room).toFixed(1)
    const kind = id.startsWith('byname') ? 'own' : id.replace(/^limit-.*/, 'limit')
    const strength = kind === 'own' && id !== SUBJECT ? ' opacity="0.6"' : ''
    return (
      `<g class="${kind}"><text x="${left + LABEL_WIDTH - 8}" y="${y + 12}" text-anchor="end">${escape(label)}</text>` +
      `<rect class="bar" x="${left + LABEL_WIDTH}" y="${y}" width="${length}" height="15" rx="2"${strength}/>` +
      `<text x="${left + LABEL_WIDTH + Number(length) + 6}" y="${y + 12}">${format(value, '')}</text></g>`
    )
  })
  return [`<text class="title" x="${left}" y="${top + 14}">${escape(title)}</text>`, ...rows].join('\n')
}

/** The chart in words, for those who cannot see it. */
function describe(panels: Panel[]): string {
  const text = panels.map(
    ({ title, bars }) => `${title}: ${bars.map((bar) => `${bar.title} ${format(bar.value, '')}`).join(', ')}`,
  )
  return escape(`Answers per CPU second. ${text.join('. ')}.`)
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}
