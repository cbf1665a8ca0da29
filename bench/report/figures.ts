/** Figures as people read them. */

/** Three significant digits or so: more would be noise. `unit` follows after a space. */
export function format(value: number, unit: string): string {
  return unit === '' ? digits(value) : `${digits(value)} ${unit}`
}

function digits(value: number): string {
  if (Number.isNaN(value)) return 'no'
  const size = Math.abs(value)
  if (size >= 10_000) return (Math.round(value / 100) * 100).toLocaleString('en')
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString('en')
  return value.toFixed(size >= 10 ? 1 : 2)
}
