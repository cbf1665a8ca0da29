/** What every part of byname logs to; pino's fits. */
export interface Log {
  debug(fields: object, message: string): void
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** What was thrown, in one line: JSON.parse, for one, quotes what it does not take with its line ends. */
export function lineOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).replace(/\s+/g, ' ').trim()
}

/** An error and its causes in one line: `connect refused (ECONNREFUSED): cause`. */
export function describeError(error: unknown): string {
  const parts: string[] = []
  let current: unknown = error
  // A chain of causes may be a circle.
  for (let depth = 0; depth < 4; depth++) {
    parts.push(describeOne(current))
    if (!(current instanceof Error) || current.cause === undefined) break
    current = current.cause
  }
  return parts.join(': ').replace(/\s*[\r\n]+\s*/g, ' ')
}

function describeOne(error: unknown): string {
  if (!(error instanceof Error)) return typeof error === 'string' ? error : (JSON.stringify(error) ?? String(error))
  const message = error.message || error.name
  const code = (error as NodeJS.ErrnoException).code
  return typeof code === 'string' && !message.includes(code) ? `${message} (${code})` : message
}
