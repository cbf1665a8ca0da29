/** Figures as people read them. */
import type { Summary } from './results.ts'

/** Three significant digits or so: more would be noise. `unit` follows after a space. */
export function format(value: number, unit: string): string {
  return unit === '' ? digits(value) : `${digits(value)} ${unit}`
}

/** Every one of them: rounded, a count would not be one. */
export function formatCount(count: number): string {
  return count.toLocaleString('en')
}

/** A median, with the least and the most of the rounds where they differ. */
export function formatSummary({ median, min, max }: Summary, unit: string): string {
  if (min === max) return format(median, unit)
  return `${format(median, unit)} (${format(min, '')}–${format(max, '')})`
}

/** A ratio, with the least and the most of the rounds where there are several. */
export function formatRatio({ median, min, max, rounds }: Summary): string {
  const ratio = `${median.toFixed(2)} ×`
  return rounds > 1 ? `${ratio} (${min.toFixed(2)}–${max.toFixed(2)})` : ratio
}

function digits(value: number): string {
  if (Number.isNaN(value)) return 'no'
  const size = Math.abs(value)
  if (size >= 10_000) return (Math.round(value / 100) * 100).toLocaleString('en')
  if (size >= 100 || Number.isInteger(value)) return Math.round(value).toLocaleString('en')
  return value.toFixed(size >= 10 ? 1 : 2)
}
