import { gunzipSync } from 'node:zlib'

/** Texts of a report's files by their paths below its folder, read as tar reads them. */
export function readArchive(archive: Uint8Array): Map<string, string> {
  const bytes = gunzipSync(archive)
  const files = new Map<string, string>()
  for (let at = 0; bytes[at] !== 0; ) {
    const text = (from: number, length: number): string =>
      bytes.toString('latin1', at + from, at + from + length).replace(/\0.*$/s, '')
    const size = Number.parseInt(text(124, 12), 8)
    if (text(156, 1) === '0')
      files.set(text(0, 100).replace(/^[^/]*\//, ''), bytes.toString('utf8', at + 512, at + 512 + size))
    at += 512 + 512 * Math.ceil(size / 512)
  }
  return files
}
