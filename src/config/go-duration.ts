const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3, // U+00B5
  μs: 1e-3, // U+03BC
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
}

/** Milliseconds of a duration as Go writes it (`1.5s`, `2m30s`, `300ms`, `0`), null if it is none or negative. */
export function parseGoDuration(text: string): number | null {
  const trimmed = text.trim().replace(/^\+/, '')
  if (trimmed === '0') return 0
  if (!/^(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+$/.test(trimmed)) return null
  let ms = 0
  for (const [, amount, unit] of trimmed.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|\u00b5s|\u03bcs|ms|s|m|h)/g)) {
    ms += Number(amount) * UNIT_MS[unit!]!
  }
  return ms
}
