/** Figures as people read them. */

/** Bytes with a unit. */
export function bytesText(bytes: number): string {
  if (bytes < 1024) return `${bytes} bytes`
  if (bytes < 1024 * 1024) return `${(bytes / 1024).toFixed(1)} KiB`
  return `${(bytes / 1024 / 1024).toFixed(1)} MiB`
}

/** A number with its thousands apart. */
export function amount(count: number): string {
  return count.toLocaleString('en-US')
}

/** A number with what it counts. */
export function plural(count: number, one: string, many: string = `${one}s`): string {
  return `${amount(count)} ${count === 1 ? one : many}`
}
