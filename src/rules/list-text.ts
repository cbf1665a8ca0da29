/** What the readers of files of names share: how a file is read, and where its lines end. */

/** Names of one file at most. */
export const MOST_LIST_NAMES = 5_000_000
/** How a file is read. */
export interface ListOptions {
  /** A name stands for all below it as well. */
  withSubdomains: boolean
  /** The rule says what becomes of its names; without, only a response policy zone says so itself. */
  hasAction: boolean
  /** TTL of a zone's records that have none. */
  ttlSeconds: number
  /** A name in ASCII (RFC 5891), `''` if it has none. */
  toAscii: (name: string) => string
  mostNames?: number
}

/** Offset of the end of the line that begins at `from`: LF, CR or CR LF, or the end of the text. */
export function lineEnd(text: string, from: number): number {
  for (let i = from; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code === 0x0a || code === 0x0d) return i
  }
  return text.length
}

/** Offset after the end of a line. */
export function afterLineEnd(text: string, end: number): number {
  return text.charCodeAt(end) === 0x0d && text.charCodeAt(end + 1) === 0x0a ? end + 2 : end + 1
}
