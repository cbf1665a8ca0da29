/** Builds elements from texts. Nothing here takes markup, so nothing that a name or a server says becomes any. */

type Child = Node | string | null

/** An element with attributes and children; null children are left out. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string>> = {},
  ...children: readonly Child[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value)
  made.append(...children.filter((child) => child !== null))
  return made
}

/** The same, of SVG. */
export function graphic<K extends keyof SVGElementTagNameMap>(
  tag: K,
  attributes: Readonly<Record<string, string | number>> = {},
  ...children: readonly Node[]
): SVGElementTagNameMap[K] {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value))
  made.append(...children)
  return made
}

/** The element of the page with that id; page.html has it. */
export function byId(id: string): HTMLElement {
  return elementOf(id, HTMLElement)
}

/** The same, of a kind that it is of. */
export function elementOf<T extends HTMLElement>(id: string, kind: new () => T): T {
  const found = document.getElementById(id)
  if (!(found instanceof kind)) throw new Error(`the page has no such #${id}`)
  return found
}

/** A cell, or a row's heading. */
export interface Cell {
  text: string
  /** For the eye only. */
  className?: string
  isNumber?: boolean
}

/** A table with headings; a string is a cell without more. The first cell of a row is its heading. */
export function table(label: string, headings: readonly string[], rows: readonly (readonly (string | Cell)[])[]): Node {
  const place = element('div')
  fillTable(place, label, headings, rows)
  return place
}

/** Puts such a table into `place`. One that was there keeps its region, and with it focus and scroll position. */
export function fillTable(
  place: HTMLElement,
  label: string,
  headings: readonly string[],
  rows: readonly (readonly (string | Cell)[])[],
): void {
  if (rows.length === 0) return place.replaceChildren(element('p', { class: 'quiet' }, 'None.'))
  const isNumber = (column: number): boolean => {
    const cell = rows[0]![column]
    return typeof cell === 'object' && cell.isNumber === true
  }
  const headingOf = (text: string, column: number): Node =>
    element('th', { scope: 'col', ...(isNumber(column) ? { class: 'number' } : {}) }, text)
  const made = element(
    'table',
    {},
    element('thead', {}, element('tr', {}, ...headings.map(headingOf))),
    element('tbody', {}, ...rows.map((row) => element('tr', {}, ...row.map(cellOf)))),
  )
  const region = place.querySelector('.wide')
  if (region !== null) return region.replaceChildren(made)
  const attributes = { class: 'wide', tabindex: '0', role: 'region', 'aria-label': `${label}, table` }
  place.replaceChildren(element('div', attributes, made))
}

function cellOf(cell: string | Cell, place: number): Node {
  const { text, className = '', isNumber = false } = typeof cell === 'string' ? { text: cell } : cell
  const classes = [className, isNumber ? 'number' : ''].join(' ').trim()
  const attributes: Record<string, string> = classes === '' ? {} : { class: classes }
  return place === 0 ? element('th', { scope: 'row', ...attributes }, text) : element('td', attributes, text)
}
