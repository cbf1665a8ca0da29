/** Charts of the last hour as inline SVG. A chart is a slider over its samples, so keys and screen readers read values, too. */
import { byId, element, graphic, table } from './dom.ts'
import { timeOfDay } from './words.ts'

type Values = readonly (number | null)[]

/** One line, or one layer. */
export interface Series {
  label: string
  values: Values
}

/** What a chart shows. */
export interface ChartContent {
  /** Unix time in ms of each value. */
  times: readonly number[]
  series: readonly Series[]
  /** More than the latest values say, in the caption. */
  note?: string
}

/** How a chart shows it. */
export interface ChartStyle {
  title: string
  /** Layers on each other, lines, or lines over a logarithmic scale. */
  kind: 'stack' | 'lines' | 'logarithmic'
  unit: (value: number | null) => string
  /** Top of the scale; otherwise that of the values. */
  most?: number
  /** What the top of the scale should be a round number of; 1 if not given. */
  step?: number
}

const WIDTH = 600
const HEIGHT = 160
const LEAST_SPAN_MS = 5 * 60_000
const COLOURS = 6
const DASHES: readonly string[] = ['', '6 3', '2 3']
/** Values of a line; more could not be told apart. */
const MOST_POINTS = 180
/** Rows of the table in place of a chart. */
const TABLE_ROWS = 12

/** One chart. It adds itself to the page, and shows nothing until `show`. */
export class Chart {
  readonly #style: ChartStyle
  readonly #figure: HTMLElement
  readonly #svg: SVGSVGElement
  readonly #plot: HTMLElement
  readonly #most: HTMLElement
  readonly #cursor: HTMLElement
  readonly #from: HTMLElement
  readonly #until: HTMLElement
  readonly #legend: HTMLElement
  readonly #note: HTMLElement
  readonly #details: HTMLDetailsElement
  #content: ChartContent = { times: [], series: [] }
  /** Index of the sample under the pointer or chosen with keys; null: the newest. */
  #chosen: number | null = null

  constructor(style: ChartStyle) {
    this.#style = style
    this.#svg = graphic('svg', {
      viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
      preserveAspectRatio: 'none',
      'aria-hidden': 'true',
      focusable: 'false',
    })
    this.#most = element('span', { class: 'most' })
    this.#cursor = element('span', { class: 'cursor', hidden: '' })
    this.#plot = element(
      'div',
      { class: 'plot', tabindex: '0', role: 'slider', 'aria-label': style.title, 'aria-valuemin': '0' },
      this.#svg,
      this.#most,
      this.#cursor,
    )
    this.#from = element('span')
    this.#until = element('span')
    this.#legend = element('ul', { class: 'legend' })
    this.#note = element('span', { class: 'quiet' })
    this.#details = element('details', {}, element('summary', {}, 'as a table'))
    this.#figure = element(
      'figure',
      {},
      element('figcaption', {}, element('h3', {}, style.title, ' ', this.#note)),
      this.#plot,
      element('p', { class: 'times', 'aria-hidden': 'true' }, this.#from, this.#until),
      this.#legend,
      this.#details,
    )
    this.#plot.addEventListener('pointermove', (event) => this.#point(event))
    this.#plot.addEventListener('pointerleave', () => this.#choose(null))
    this.#plot.addEventListener('blur', () => this.#choose(null))
    this.#plot.addEventListener('keydown', (event) => this.#key(event))
    this.#details.addEventListener('toggle', () => this.#showTable())
    byId('charts').append(this.#figure)
  }

  /** Shows `content` from now on. */
  show(content: ChartContent): void {
    this.#content = content
    const { kind, step = 1 } = this.#style
    const { places, series } = thinned(content, kind === 'logarithmic')
    const drawn = kind === 'stack' ? stacked(series) : series
    const most = this.#style.most ?? niceMost(drawn.flat(), step)
    this.#most.textContent = this.#style.unit(most)
    this.#svg.replaceChildren(...this.#paths(drawn, places, most))
    const { times } = content
    const spanMs = spanOf(times)
    this.#from.textContent = spanMs === 0 ? '' : `${Math.round(spanMs / 60_000)} min ago`
    this.#until.textContent = this.#chosen === null ? 'now' : ''
    this.#note.textContent = content.note ?? ''
    this.#describe()
    this.#showTable()
  }

  /** `places`: of which sample each value is. */
  #paths(drawn: readonly Values[], places: readonly number[], most: number): SVGPathElement[] {
    const x = (n: number): number => this.#share(places[n]!) * WIDTH
    const y = (value: number): number => HEIGHT - this.#height(value, most) * (HEIGHT - 4)
    return drawn.map((values, series) => {
      const colour = `var(--s${series % COLOURS})`
      if (this.#style.kind !== 'stack') {
        const dash = DASHES[series % DASHES.length]!
        const line = { d: lineOf(values, x, y), fill: 'none', stroke: colour, 'stroke-width': 1.8 }
        return graphic('path', dash === '' ? line : { ...line, 'stroke-dasharray': dash })
      }
      const below = series === 0 ? places.map(() => 0) : drawn[series - 1]!
      return graphic('path', { d: areaOf(values, below, x, y), fill: colour })
    })
  }

  /** Where a sample is between the left and the right edge, 0…1. */
  #share(place: number): number {
    const { times } = this.#content
    const last = times.at(-1) ?? 0
    return 1 - (last - times[place]!) / (spanOf(times) || 1)
  }

  #height(value: number, most: number): number {
    if (this.#style.kind !== 'logarithmic') return most > 0 ? Math.min(1, value / most) : 0
    const least = Math.log10(LEAST_LOGARITHMIC)
    return Math.max(0, (Math.log10(Math.max(value, LEAST_LOGARITHMIC)) - least) / (Math.log10(most) - least))
  }

  #point(event: PointerEvent): void {
    const { left, width } = this.#plot.getBoundingClientRect()
    const { times } = this.#content
    const at = (event.clientX - left) / width
    let nearest: number | null = null
    times.forEach((_, place) => {
      if (nearest === null || Math.abs(this.#share(place) - at) < Math.abs(this.#share(nearest) - at)) nearest = place
    })
    this.#choose(nearest)
  }

  #key(event: KeyboardEvent): void {
    const last = this.#content.times.length - 1
    if (last < 0) return
    const now = this.#chosen ?? last
    const minute = 12
    const places: Record<string, number> = {
      ArrowLeft: now - 1,
      ArrowDown: now - 1,
      ArrowRight: now + 1,
      ArrowUp: now + 1,
      PageDown: now - minute,
      PageUp: now + minute,
      Home: 0,
      End: last,
    }
    const place = places[event.key]
    if (place === undefined) return
    event.preventDefault()
    this.#choose(Math.min(last, Math.max(0, place)))
  }

  #choose(place: number | null): void {
    this.#chosen = place
    this.#cursor.hidden = place === null
    if (place !== null) this.#cursor.style.left = `${this.#share(place) * 100}%`
    this.#until.textContent = place === null ? 'now' : timeOfDay(this.#content.times[place]!)
    this.#describe()
  }

  /** Writes the values of the chosen sample, or of the newest, below the chart and for the slider. */
  #describe(): void {
    const { series, times } = this.#content
    const last = Math.max(0, times.length - 1)
    const place = Math.min(this.#chosen ?? last, last)
    const texts = series.map(({ label, values }) => `${label} ${this.#style.unit(values[place] ?? null)}`)
    const when = times[place] === undefined ? 'no sample yet' : timeOfDay(times[place])
    this.#plot.setAttribute('aria-valuemax', String(last))
    this.#plot.setAttribute('aria-valuenow', String(place))
    this.#plot.setAttribute('aria-valuetext', `${when}: ${texts.join(', ')}`)
    this.#legend.replaceChildren(
      ...series.map(({ label, values }, n) =>
        element(
          'li',
          {},
          swatch(n, this.#style.kind),
          `${label} `,
          element('b', {}, this.#style.unit(values[place] ?? null)),
        ),
      ),
    )
  }

  #showTable(): void {
    const old = this.#details.children[1]
    if (!this.#details.open) return old?.remove()
    const { series, times } = this.#content
    const step = Math.max(1, Math.floor(times.length / TABLE_ROWS))
    const places = times.map((_, place) => place).filter((place) => (times.length - 1 - place) % step === 0)
    const rows = places.map((place) => [
      timeOfDay(times[place]!),
      ...series.map(({ values }) => ({ text: this.#style.unit(values[place] ?? null), isNumber: true })),
    ])
    const made = table(this.#style.title, ['Time', ...series.map(({ label }) => label)], rows)
    if (old === undefined) this.#details.append(made)
    else old.replaceWith(made)
  }
}

/** Bottom of a logarithmic scale. */
const LEAST_LOGARITHMIC = 0.01

function spanOf(times: readonly number[]): number {
  if (times.length === 0) return 0
  return Math.max(LEAST_SPAN_MS, times.at(-1)! - times[0]!)
}

/**
 * As many values as can be told apart: of neighbours the mean, or the greatest of what is shown on a logarithmic scale.
 * `places`: of which sample each stands, the last of its neighbours.
 */
function thinned(
  { times, series }: ChartContent,
  isGreatest: boolean,
): { places: number[]; series: (number | null)[][] } {
  const width = Math.max(1, Math.ceil(times.length / MOST_POINTS))
  const places = times.map((_, place) => place).filter((place) => (times.length - 1 - place) % width === 0)
  const pick = (values: Values, place: number): number | null => {
    const there = values.slice(Math.max(0, place - width + 1), place + 1).filter((value) => value !== null)
    if (there.length === 0) return null
    return isGreatest ? Math.max(...there) : there.reduce((sum, value) => sum + value, 0) / there.length
  }
  return { places, series: series.map(({ values }) => places.map((place) => pick(values, place))) }
}

/** Each series on top of those before it. */
function stacked(series: readonly Values[]): number[][] {
  const layers: number[][] = []
  for (const values of series) {
    const below = layers.at(-1)
    layers.push(values.map((value, place) => (value ?? 0) + (below?.[place] ?? 0)))
  }
  return layers
}

/** A round number of steps, a little above all values. */
function niceMost(values: Values, step: number): number {
  const most = (values.reduce<number>((greatest, value) => Math.max(greatest, value ?? 0), 0) / step) * 1.1
  if (most === 0) return step
  const power = 10 ** Math.floor(Math.log10(most))
  return ([1, 1.5, 2, 3, 5, 7.5, 10].map((factor) => factor * power).find((nice) => nice >= most) ?? most) * step
}

/** Parts of a path, with gaps where there is no value. */
function lineOf(values: Values, x: (place: number) => number, y: (value: number) => number): string {
  let isDrawn = false
  return values
    .map((value, place) => {
      if (value === null) {
        isDrawn = false
        return ''
      }
      // A point without neighbours is drawn as a dot.
      const step = `${isDrawn ? 'L' : 'M'}${x(place).toFixed(1)} ${y(value).toFixed(1)}`
      const isAlone = !isDrawn && (values[place + 1] ?? null) === null
      isDrawn = true
      return isAlone ? `${step}h1` : step
    })
    .join('')
}

function areaOf(values: Values, below: Values, x: (place: number) => number, y: (value: number) => number): string {
  if (values.length === 0) return ''
  const point = (place: number, value: number): string => `${x(place).toFixed(1)} ${y(value).toFixed(1)}`
  const there = values.map((value, place) => point(place, value ?? 0))
  const back = below.map((value, place) => point(place, value ?? 0)).toReversed()
  return `M${[...there, ...back].join('L')}Z`
}

function swatch(series: number, kind: ChartStyle['kind']): SVGSVGElement {
  const colour = `var(--s${series % COLOURS})`
  const svg = graphic('svg', { viewBox: '0 0 24 10', 'aria-hidden': 'true', focusable: 'false' })
  if (kind === 'stack') svg.append(graphic('path', { d: 'M0 0H24V10H0Z', fill: colour }))
  else {
    const line = { d: 'M0 5H24', fill: 'none', stroke: colour, 'stroke-width': 2.5 }
    const dash = DASHES[series % DASHES.length]!
    svg.append(graphic('path', dash === '' ? line : { ...line, 'stroke-dasharray': dash }))
  }
  return svg
}
