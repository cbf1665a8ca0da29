/** A result file as Markdown. */
import type { Peer } from '../peers/peer.ts'
import type { Metric, Scenario } from '../scenarios/scenario.ts'
import { formatCount, formatRatio, formatSummary } from './figures.ts'
import { judgeGoals } from './goals.ts'
import { pairedRatio, peersOf, type Results, summarize, SUBJECT } from './results.ts'

/**
 * The whole report: goals first, then a table a scenario in the order given. `known` are all peers of the bench: those
 * that a scenario could have had and did not have are named.
 */
export function renderMarkdown(results: Results, scenarios: readonly Scenario[], known: readonly Peer[]): string {
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
    ...measured.flatMap((scenario) => ['', ...renderScenario(results, scenario, known)]),
    '',
  ].join('\n')
}

function renderConditions({ machine, peers, runs, measurements }: Results): string {
  const measured = peers.filter(({ id }) => measurements.some((one) => one.peer === id))
  const { cpu, cores, memoryGb, kernel, os, node, dnsperf, loadBefore } = machine
  const lines = [
    `${cpu}, ${cores} cores, ${memoryGb} GB; ${os}, Linux ${kernel}; Node ${node}; dnsperf ${dnsperf}; load before the run ${loadBefore}.`,
    `Measured: ${measured.map((peer) => `${peer.title} ${versionsOf(peer, runs)}`).join(', ')}.`,
    'Medians of all rounds, in brackets the least and the most; counts (questions, losses) are sums of all rounds. Ratios compare figures of the same round; above 1 byname is better.',
    'Method and noise: [bench/README.md](../README.md).',
  ]
  return lines.join('\n')
}

/** All that ran: a file put together from several runs may hold more than one version of a peer. */
function versionsOf({ id, version }: Results['peers'][number], runs: Results['runs']): string {
  const versions = Object.values(runs).flatMap((run) => run.versions?.[id] ?? [])
  return [...new Set([version, ...versions])].join(' and ')
}

function renderScenario(results: Results, scenario: Scenario, known: readonly Peer[]): string[] {
  const { startedAt, rounds, seconds, about = scenario.about } = results.runs[scenario.id]!
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
    `${about} ${rounds} rounds of ${seconds} s, ${startedAt.slice(0, 10)}.`,
    '',
    `| | ${scenario.metrics.map((metric) => metric.title).join(' | ')} | byname is better by |`,
    `|---|${'---:|'.repeat(scenario.metrics.length + 1)}`,
    ...rows,
    ...absentees(results, scenario, known),
    ...failures.map(({ peer, round, error }) => `\nFailed: ${peer}, round ${round + 1}: ${error}`),
  ]
}

/** Peers that could have taken part but did not, and why: a table must not look complete when it is not. */
function absentees(results: Results, { id: scenario, needs }: Scenario, known: readonly Peer[]): string[] {
  const present = new Set(peersOf(results, scenario).map(({ id }) => id))
  const absent = known.filter(
    ({ id, abilities }) => !present.has(id) && needs.every((need) => abilities.includes(need)),
  )
  if (absent.length === 0) return []
  const { notInstalled } = results.runs[scenario]!
  // Older files do not tell one from the other.
  const groups =
    notInstalled === undefined
      ? { 'Not in this run': absent }
      : Object.groupBy(absent, ({ id }) => (notInstalled.includes(id) ? 'Not installed' : 'Left out of this run'))
  const sentences = Object.entries(groups).map(
    ([reason, peers]) => `${reason}: ${peers.map(({ title }) => title).join('; ')}.`,
  )
  return ['', sentences.join(' ')]
}

function cell(results: Results, scenario: string, peer: string, { key, unit, isCount }: Metric): string {
  const summary = summarize(results, scenario, peer, key)
  if (summary === undefined) return '–'
  return isCount === true ? formatCount(summary.total) : formatSummary(summary, unit)
}

function ratioCell(results: Results, scenario: string, peer: string, { key, better }: Metric): string {
  if (peer === SUBJECT) return ''
  const ratio =
    better === 'more'
      ? pairedRatio(results, scenario, key, SUBJECT, peer)
      : pairedRatio(results, scenario, key, peer, SUBJECT)
  return ratio === undefined ? '–' : formatRatio(ratio)
}

function mark(met: boolean | undefined): string {
  if (met === undefined) return '–'
  return met ? '✓' : '✗'
}
