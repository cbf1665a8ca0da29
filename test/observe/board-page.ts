/** The Grafana board as a page of charts, drawn from Prometheus's answers: for people to look at where there is no Grafana. */

/** What is used of a Grafana dashboard. */
export interface Board {
  panels: {
    type: string
    title: string
    gridPos: { x: number; y: number; w: number; h: number }
    fieldConfig?: { defaults: { unit?: string } }
    targets?: { expr: string; legendFormat?: string }[]
  }[]
  templating: { list: { name: string; definition?: string }[] }
}

/** A series as /api/v1/query_range answers: seconds since 1970, value. */
export interface Series {
  metric: Record<string, string>
  values: [number, string][]
}

const COLUMN = 46
const ROW = 26
const COLORS = ['#3b7dd8', '#d97706', '#059669', '#dc2626', '#7c3aed', '#0891b2', '#be185d', '#65a30d']

/** `answers`: by expression. */
export function boardPage(board: Board, answers: ReadonlyMap<string, Series[]>): string {
  const panels = board.panels.map(({ type, title, gridPos, fieldConfig, targets = [] }) => {
    const { x, y, w, h } = gridPos
    const width = w * COLUMN - 8
    const height = h * ROW - 8
    const lines = targets.flatMap(({ expr, legendFormat = '' }) =>
      (answers.get(expr) ?? []).map(({ metric, values }) => ({
        name: legendFormat.replaceAll(/\{\{\s*(\w+)\s*\}\}/g, (_, label: string) => metric[label] ?? ''),
        values: values.map(([, value]) => Number(value)).filter((value) => Number.isFinite(value)),
      })),
    )
    const unit = fieldConfig?.defaults.unit ?? ''
    const body =
      type === 'row'
        ? ''
        : type === 'stat'
          ? `<text x="${width / 2}" y="${height / 2 + 14}" class="stat">${figure(lines[0]?.values.at(-1), unit)}</text>`
          : chart(lines, width, height, unit)
    return `<g transform="translate(${x * COLUMN},${y * ROW})"><rect width="${width}" height="${height}" class="${type}"/><text x="8" y="16" class="title">${escaped(title)}</text>${body}</g>`
  })
  const bottom = Math.max(...board.panels.map(({ gridPos }) => gridPos.y + gridPos.h)) * ROW
  return `<!doctype html><meta charset="utf-8"><title>board</title><style>body{margin:8px;background:#f4f5f7}rect{fill:#fff;stroke:#d8dbe0}rect.row{fill:none;stroke:none}text{font:11px system-ui;fill:#333}.title{font-weight:600}text.stat{font-size:26px;text-anchor:middle;fill:#059669}</style><svg width="${24 * COLUMN}" height="${bottom}">${panels.join('')}</svg>`
}

function chart(
  lines: readonly { name: string; values: number[] }[],
  width: number,
  height: number,
  unit: string,
): string {
  const highest = Math.max(...lines.flatMap(({ values }) => values), 0) || 1
  const [left, top, right, bottom] = [8, 26, width - 8, height - 24]
  const paths = lines.map(({ values }, n) => {
    const at = (value: number, k: number): string =>
      `${(left + ((right - left) * k) / Math.max(1, values.length - 1)).toFixed(1)},${(bottom - ((bottom - top) * value) / highest).toFixed(1)}`
    return `<polyline fill="none" stroke="${COLORS[n % COLORS.length]}" stroke-width="1.5" points="${values.map(at).join(' ')}"/>`
  })
  const legend = lines
    .slice(0, 8)
    .map(
      ({ name, values }, n) =>
        `<tspan fill="${COLORS[n % COLORS.length]}">■ ${escaped(name)} ${figure(values.at(-1), unit)}  </tspan>`,
    )
  return `${paths.join('')}<text x="${right}" y="16" text-anchor="end">${figure(highest, unit)}</text><text x="8" y="${height - 8}">${legend.join('')}</text>`
}

function figure(value: number | undefined, unit: string): string {
  if (value === undefined) return 'no data'
  if (unit === 'percentunit') return `${(value * 100).toFixed(1)} %`
  if (unit === 's') return value < 1 ? `${(value * 1000).toFixed(2)} ms` : `${value.toFixed(1)} s`
  if (unit === 'bytes') return `${(value / 2 ** 20).toFixed(1)} MiB`
  return value >= 100 ? value.toFixed(0) : String(Number(value.toPrecision(3)))
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`)
}
