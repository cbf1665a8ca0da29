/** A result file as Markdown. */
import type { Metric, Scenario } from '../scenarios/scenario.ts'
import { format } from './figures.ts'
import { judgeGoals } from './goals.ts'
import { pairedRatio, peersOf, type Results, summarize, SUBJECT } from './results.ts'

/** The whole report: goals first, then a table a scenario in the order given. */
export function renderMarkdown(results: Results, scenarios: readonly Scenario[]): string {
  const measured = scenarios.filter((scenario) => results.runs[scenario.id] !== undefined)
  return [
    '# byname beside its peers',
    '',
    renderConditions(results),
    '',
    '## Figures to reach',
    '',
    '| goal | reached | peer in the same run | |',
    '|---|---|---|---|',
    ...judgeGoals(results).map(({ goal, reached, peer, met }) => `| ${goal} | ${reached} | ${peer} | ${mark(met)} |`),
    ...measured.flatMap((scenario) => ['', ...renderScenario(results, scenario)]),
    '',
  ].join('\n')
}

function renderConditions({ machine, peers, missing }: Results): string {
  const { cpu, cores, memoryGb, kernel, os, node, dnsperf, loadBefore } = machine
  const lines = [
    `${cpu}, ${cores} cores, ${memoryGb} GB; ${os}, Linux ${kernel}; Node ${node}; dnsperf ${dnsperf}; load before the run ${loadBefore}.`,
    `Measured: ${peers.map(({ title, version }) => `${title} ${version}`).join(', ')}.`,
  ]
  if (missing.length > 0) lines.push(`Not installed: ${missing.map(({ title }) => title).join(', ')}.`)
  lines.push(
    'Medians of all rounds, in brackets the least and the most. Ratios compare figures of the same round; above 1 byname is better.',
  )
  lines.push('Method and noise: [bench/README.md](../README.md).')
  return lines.join('\n')
}

function renderScenario(results: Results, scenario: Scenario): string[] {
  const { startedAt, rounds, seconds } = results.runs[scenario.id]!
  const headline = scenario.metrics[0]!
  const peers = peersOf(results, scenario.id)
  const rows = peers.map(({ id, title }) => {
    const cells = scenario.metrics.map((metric) => cell(results, scenario.id, id, metric))
    return `| ${title} | ${cells.join(' | ')} | ${ratioCell(results, scenario.id, id, headline)} |`
  })
  const failures = results.measurements.filter((one) => one.scenario === scenario.id && one.error !== undefined)
  return [
    `## ${scenario.title}`,
    '',
    `${scenario.about} ${rounds} rounds of ${seconds} s, ${startedAt.slice(0, 10)}.`,
    '',
    `| | ${scenario.metrics.map((metric) => metric.title).join(' | ')} | byname is better by |`,
    `|---|${'---:|'.repeat(scenario.metrics.length + 1)}`,
    ...rows,
    ...failures.map(({ peer, round, error }) => `\nFailed: ${peer}, round ${round + 1}: ${error}`),
  ]
}

function cell(results: Results, scenario: string, peer: string, { key, unit }: Metric): string {
  const summary = summarize(results, scenario, peer, key)
  if (summary === undefined) return '–'
  if (summary.min === summary.max) return format(summary.median, unit)
  return `${format(summary.median, unit)} (${format(summary.min, '')}–${format(summary.max, '')})`
}

function ratioCell(results: Results, scenario: string, peer: string, { key, better }: Metric): string {
  if (peer === SUBJECT) return ''
  const ratio =
    better === 'more'
      ? pairedRatio(results, scenario, key, SUBJECT, peer)
      : pairedRatio(results, scenario, key, peer, SUBJECT)
  return ratio === undefined ? '–' : `${ratio.toFixed(2)} ×`
}

function mark(met: boolean | undefined): string {
  if (met === undefined) return '–'
  return met ? '✓' : '✗'
}
