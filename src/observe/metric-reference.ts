import type { MetricDescription } from './metrics.ts'

/** Where the table of metrics stands in docs/observability.md. */
const BEGIN = '<!-- The table below is made of the source: npm run reference. -->'
const END = '<!-- End of the table. -->'

/** The document with the table of metrics made anew. @throws Error if it has no place for it */
export function withMetricTable(document: string, metrics: readonly MetricDescription[]): string {
  const [from, to] = [document.indexOf(BEGIN), document.indexOf(END)]
  if (from < 0 || to < from) throw new Error(`the document has no lines ${BEGIN} and ${END}`)
  return `${document.slice(0, from)}${BEGIN}\n\n${metricTable(metrics)}\n${document.slice(to)}`
}

function metricTable(metrics: readonly MetricDescription[]): string {
  const rows = metrics.map(
    ({ name, type, help }) => `| \`${name}\` | ${type} | ${help.replaceAll('|', String.raw`\|`)} |\n`,
  )
  return `| metric | type | what it says |\n| ------ | ---- | ------------ |\n${rows.join('')}`
}
