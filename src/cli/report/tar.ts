/** Writes an archive as tar reads it (POSIX.1-1988 ustar): plain files in one folder, the same bytes for the same content. */

/** A file of the archive. */
export interface ArchiveFile {
  /** Below the archive's folder; with it at most 100 bytes of ASCII. */
  path: string
  bytes: Uint8Array
}

const BLOCK = 512
/** Only the owner may read what is unpacked. */
const FILE_MODE = 0o600
const FOLDER_MODE = 0o700

/**
 * The archive as one buffer, files in order of their paths. `folder`: what all lie in, without a slash; `timeSeconds`: when
 * they were made, Unix time.
 */
export function writeTar(folder: string, files: readonly ArchiveFile[], timeSeconds: number): Buffer {
  const parts: Uint8Array[] = [header(`${folder}/`, 0, timeSeconds, '5')]
  const sorted = files.toSorted((a, b) => (a.path < b.path ? -1 : 1))
  for (const { path, bytes } of sorted) {
    parts.push(header(`${folder}/${path}`, bytes.length, timeSeconds, '0'), bytes)
    parts.push(new Uint8Array((BLOCK - (bytes.length % BLOCK)) % BLOCK))
  }
  // The end is two blocks of zeros.
  parts.push(new Uint8Array(2 * BLOCK))
  return Buffer.concat(parts)
}

/**
 * ```
 *  0    name 100 │ mode 8 │ uid 8 │ gid 8 │ size 12 │ mtime 12
 *  148  checksum 8 │ type 1 │ linked name 100 │ "ustar" NUL "00" │ user 32 │ group 32 │ device 16 │ prefix 155
 * ```
 * Numbers are octal digits, ended by NUL. The checksum is the sum of all bytes, its own taken as spaces.
 */
function header(name: string, size: number, timeSeconds: number, type: '0' | '5'): Buffer {
  if (Buffer.byteLength(name) > 100) throw new RangeError(`${name} is too long for an archive`)
  const block = Buffer.alloc(BLOCK)
  block.write(name, 0, 'latin1')
  block.write(octal(type === '5' ? FOLDER_MODE : FILE_MODE, 8), 100, 'latin1')
  block.write(octal(0, 8), 108, 'latin1')
  block.write(octal(0, 8), 116, 'latin1')
  block.write(octal(size, 12), 124, 'latin1')
  block.write(octal(Math.max(0, Math.floor(timeSeconds)), 12), 136, 'latin1')
  block.fill(' ', 148, 156)
  block.write(type, 156, 'latin1')
  block.write('ustar\u000000', 257, 'latin1')
  const sum = block.reduce((total, byte) => total + byte, 0)
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148, 'latin1')
  return block
}

function octal(value: number, width: number): string {
  return `${value.toString(8).padStart(width - 1, '0')}\0`
}
