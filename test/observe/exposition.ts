/** A series of an exposition. */
interface Series {
  /** The line's name: for a histogram with `_bucket`, `_sum` or `_count`. */
  name: string
  labels: Record<string, string>
  value: number
}

export interface Exposition {
  /** Metric name → type, as the TYPE lines say. */
  types: Map<string, string>
  help: Map<string, string>
  series: Series[]
}

/** A strict reader of the Prometheus text format 0.0.4: throws where Prometheus would not take it. */
export function parseExposition(text: string): Exposition {
  const types = new Map<string, string>()
  const help = new Map<string, string>()
  const series: Series[] = []
  const seen = new Set<string>()
  if (!text.endsWith('\n')) throw new Error('the last line has no end')
  for (const line of text.split('\n')) {
    if (line === '') continue
    const comment = /^# (HELP|TYPE) ([a-zA-Z_:][\w:]*) (.+)$/.exec(line)
    if (comment) {
      const into = comment[1] === 'HELP' ? help : types
      if (into.has(comment[2]!)) throw new Error(`twice: ${line}`)
      into.set(comment[2]!, comment[3]!)
      continue
    }
    const sample = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/.exec(line)
    if (!sample) throw new Error(`not a line of an exposition: ${line}`)
    const labels = parseLabels(sample[2] ?? '', line)
    const key = `${sample[1]}${Object.entries(labels)
      .map(([label, value]) => JSON.stringify([label, value]))
      .toSorted((a, b) => (a < b ? -1 : 1))
      .join()}`
    if (seen.has(key)) throw new Error(`series twice: ${line}`)
    seen.add(key)
    const value = sample[3] === '+Inf' ? Infinity : Number(sample[3])
    if (Number.isNaN(value) && sample[3] !== 'NaN') throw new Error(`no value: ${line}`)
    series.push({ name: sample[1]!, labels, value })
  }
  return { types, help, series }
}

function parseLabels(text: string, line: string): Record<string, string> {
  const labels: Record<string, string> = {}
  let rest = text
  while (rest !== '') {
    const label = /^([a-zA-Z_]\w*)="((?:[^"\\]|\\[\\"n])*)",?/.exec(rest)
    if (!label) throw new Error(`bad labels: ${line}`)
    labels[label[1]!] = label[2]!.replace(/\\(.)/g, (_, escaped: string) => (escaped === 'n' ? '\n' : escaped))
    rest = rest.slice(label[0].length)
  }
  return labels
}

/** Value of one series; undefined if it is not there. */
export function valueOf(exposition: Exposition, name: string, labels: Record<string, string> = {}): number | undefined {
  return exposition.series.find(
    (series) =>
      series.name === name &&
      Object.keys(series.labels).length === Object.keys(labels).length &&
      Object.entries(labels).every(([label, value]) => series.labels[label] === value),
  )?.value
}
