/** Figures and times as people read them. */

/** A number with its thousands apart, or with a digit or two behind the point if it is small. */
export function figure(value: number | null): string {
  if (value === null) return '–'
  if (value !== 0 && Math.abs(value) < 10) return String(Number(value.toFixed(Math.abs(value) < 1 ? 2 : 1)))
  return Math.round(value).toLocaleString('en-US')
}

/** A rate; null: not known, as in all below. */
export function perSecond(value: number | null): string {
  return value === null ? '–' : `${figure(value)}/s`
}

/** A part of a whole, 1 for all of it. */
export function percent(ratio: number | null): string {
  return ratio === null ? '–' : `${figure(ratio * 100)} %`
}

/** A duration in ms. */
export function milliseconds(value: number | null): string {
  return value === null ? '–' : `${value !== 0 && value < 0.1 ? value.toFixed(3) : figure(value)} ms`
}

/** A size in KiB or MiB. */
export function bytes(value: number | null): string {
  if (value === null) return '–'
  if (value < 1024 * 1024) return `${figure(value / 1024)} KiB`
  return `${figure(value / 1024 / 1024)} MiB`
}

/** A time that has passed, to the largest unit that it fills. */
export function span(seconds: number | null): string {
  if (seconds === null) return '–'
  if (seconds < 60) return `${Math.round(seconds)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86_400)} days`
}

/** Time of day here. */
export function timeOfDay(unixMs: number): string {
  return new Date(unixMs).toLocaleTimeString([], { hourCycle: 'h23' })
}
