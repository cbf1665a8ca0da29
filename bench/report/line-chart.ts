/** Figures over time as lines: one SVG without scripts or fonts, for light and dark pages. */

export interface LineChart {
  title: string
  xTitle: string
  yTitle: string
  /** Drawn as a dashed line, and in the picture whatever the figures are. */
  bound: number
  lines: { title: string; points: (readonly [x: number, y: number])[] }[]
}

const WIDTH = 860
const HEIGHT = 360
const LEFT = 56
const RIGHT = 220
/** Between the words beside two lines. */
const LEAST_GAP = 15
const TOP = 56
const BOTTOM = 44
/** So many points a line at most: the highest of those between two stands for them. */
const MOST_POINTS = 600

/** The lines, each with its last value beside it. Points come by rising x. */
export function renderLines({ title, xTitle, yTitle, bound, lines }: LineChart): string {
  const all = lines.flatMap(({ points }) => points)
  const xMost = Math.max(1e-9, ...all.map(([x]) => x))
  const yMost = Math.max(bound, ...all.map(([, y]) => y)) * 1.05
  const xAt = (x: number): string => (LEFT + (x / xMost) * (WIDTH - LEFT - RIGHT)).toFixed(1)
  const yAt = (y: number): string => (HEIGHT - BOTTOM - (y / yMost) * (HEIGHT - TOP - BOTTOM)).toFixed(1)
  const words = lines
    .map(({ title: name, points }, k) => {
      const [, y] = points.at(-1) ?? [0, 0]
      const highest = Math.max(...points.map((point) => point[1]))
      return { k, y: Number(yAt(y)) + 4, text: `${name} ${y.toFixed(0)} (most ${highest.toFixed(0)})` }
    })
    .toSorted((one, other) => one.y - other.y)
  words.forEach((word, k) => (word.y = Math.max(word.y, (words[k - 1]?.y ?? 0) + (k > 0 ? LEAST_GAP : 0))))
  const drawn = [
    ...lines.map(({ points }, k) => {
      const path = thin(points).map(([x, y]) => `${xAt(x)},${yAt(y)}`)
      return `<polyline class="line l${k}" points="${path.join(' ')}"/>`
    }),
    ...words.map(({ k, y, text }) => {
      return `<text class="quiet w${k}" x="${WIDTH - RIGHT + 8}" y="${y.toFixed(1)}">${escape(text)}</text>`
    }),
  ]
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const [x, y] = [share * xMost, (share * yMost) / 1.05]
    return `<text class="quiet" x="${xAt(x)}" y="${HEIGHT - BOTTOM + 18}" text-anchor="middle">${x.toFixed(xMost < 10 ? 1 : 0)}</text><text class="quiet" x="${LEFT - 8}" y="${Number(yAt(y)) + 4}" text-anchor="end">${y.toFixed(0)}</text>`
  })
  return `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${HEIGHT}" width="${WIDTH}" height="${HEIGHT}" role="img" aria-label="${escape(title)}">
<style>
  .page { fill: #ffffff } text { font: 13px system-ui, sans-serif; fill: #1f2328 } .quiet { fill: #59636e; font-size: 12px }
  .head { font-size: 15px; font-weight: 600 } .line { fill: none; stroke-width: 1.5 } .axis { stroke: #8c959f } .bound { stroke: #cf222e; stroke-dasharray: 5 4 }
  .l0 { stroke: #8c959f } .l1 { stroke: #bf8700 } .l2 { stroke: #1f6feb } .w1 { fill: #9a6700 } .w2 { fill: #1f6feb }
  @media (prefers-color-scheme: dark) { .page { fill: #0d1117 } text { fill: #e6edf3 } .quiet { fill: #9198a1 } .l2 { stroke: #4493f8 } .w1 { fill: #d29922 } .w2 { fill: #4493f8 } }
</style>
<rect class="page" width="${WIDTH}" height="${HEIGHT}" rx="8"/>
<text class="head" x="20" y="28">${escape(title)}</text>
<line class="axis" x1="${LEFT}" y1="${HEIGHT - BOTTOM}" x2="${WIDTH - RIGHT}" y2="${HEIGHT - BOTTOM}"/>
<line class="bound" x1="${LEFT}" y1="${yAt(bound)}" x2="${WIDTH - RIGHT}" y2="${yAt(bound)}"/>
<text class="quiet" x="${WIDTH - RIGHT + 8}" y="${Number(yAt(bound)) - 6}">limit ${bound}</text>
<text class="quiet" x="${LEFT}" y="${HEIGHT - 8}">${escape(xTitle)}</text><text class="quiet" x="20" y="${TOP - 8}">${escape(yTitle)}</text>
${ticks.join('\n')}
${drawn.join('\n')}
</svg>
`
}

function thin(points: LineChart['lines'][0]['points']): LineChart['lines'][0]['points'] {
  const each = Math.ceil(points.length / MOST_POINTS)
  if (each <= 1) return points
  const kept: (readonly [number, number])[] = []
  for (let at = 0; at < points.length; at += each)
    kept.push(points.slice(at, at + each).reduce((most, point) => (point[1] > most[1] ? point : most)))
  return kept
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('"', '&quot;')
}
