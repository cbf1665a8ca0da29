/**
 * The one way in which byname reads a file. Whatever stands at a path, reading it neither blocks nor takes more memory
 * than its purpose allows: only regular files are read, opened so that nothing waits for a writer, up to a bound. What
 * changes while it is read is read again, so the bytes are those of one moment.
 */
import { type BigIntStats, closeSync, constants, fstatSync, openSync, readSync, statSync } from 'node:fs'

const MEBIBYTE: number = 1 << 20

/** The most bytes that a file may have, by what it is for. */
export const MAX_FILE_BYTES: Readonly<Record<FilePurpose, number>> = {
  configuration: 4 * MEBIBYTE,
  meshFile: 64 * MEBIBYTE,
  // A name table as JSON: 100,000 hosts take some 30 MiB.
  nameTable: 256 * MEBIBYTE,
  resolvConf: MEBIBYTE,
  hosts: 32 * MEBIBYTE,
  // Five million names of 30 characters are 150 MB.
  nameList: 256 * MEBIBYTE,
  plugin: 8 * MEBIBYTE,
  credentials: 4 * MEBIBYTE,
  lastKnownGood: 512 * MEBIBYTE,
  automaticAddresses: 64 * MEBIBYTE,
  statusPage: 4 * MEBIBYTE,
  kernelTable: 64 * MEBIBYTE,
}

/** `credentials`: certificates, keys and tokens; `kernelTable`: what is under /proc. */
type FilePurpose =
  | 'configuration'
  | 'meshFile'
  | 'nameTable'
  | 'resolvConf'
  | 'hosts'
  | 'nameList'
  | 'plugin'
  | 'credentials'
  | 'lastKnownGood'
  | 'automaticAddresses'
  | 'statusPage'
  | 'kernelTable'

/** Why a file was not read. */
export interface FileProblem {
  /** An errno name such as ENOENT, or one of ours. */
  code: string
  /** What is wrong, and the remedy, in one line without the path: `is a FIFO; name a regular file`. */
  reason: string
}

/** The file's bytes, which the caller owns, or why there are none. */
export type FileReading = { bytes: Buffer } | { problem: FileProblem }

/** What is asked of a file's status. */
type FileStat = Pick<BigIntStats, 'isFile' | 'isDirectory' | 'isFIFO' | 'isSocket' | 'size' | 'mtimeNs' | 'uid'>

/** The calls that a reading is made of, so that tests can let a file change under them. */
export interface FileCalls {
  stat(path: string): FileStat
  open(path: string, flags: number): number
  fstat(fd: number): FileStat
  read(fd: number, into: Buffer, at: number, length: number): number
  close(fd: number): void
}

const NODE_CALLS: FileCalls = {
  stat: (path) => statSync(path, { bigint: true }),
  open: openSync,
  fstat: (fd) => fstatSync(fd, { bigint: true }),
  read: (fd, into, at, length) => readSync(fd, into, at, length, null),
  close: closeSync,
}

/** A path may lead to a FIFO or to a terminal between the look and the opening. */
const OPEN_FLAGS: number = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY
/** Readings of a file that changes under each of them. */
const MAX_READINGS = 3
/** First room for a file whose size is not known before: those of /proc say 0. */
const FIRST_BYTES = 16_384

/** Reads the regular file that `path` leads to, symbolic links followed. More than `maxBytes` is a problem. Never throws. */
export function readBoundedFile(path: string, maxBytes: number, calls: FileCalls = NODE_CALLS): FileReading {
  return readUnlessOthers(path, maxBytes, calls, null)
}

/** As `readBoundedFile`; a file that belongs neither to root nor to the user of this process is a problem: anybody may have written it. */
export function readOwnFile(path: string, maxBytes: number, calls: FileCalls = NODE_CALLS): FileReading {
  return readUnlessOthers(path, maxBytes, calls, process.geteuid?.() ?? null)
}

/** `userId`: whose files are read, beside root's; null: everybody's. */
function readUnlessOthers(path: string, maxBytes: number, calls: FileCalls, userId: number | null): FileReading {
  try {
    for (let reading = 0; reading < MAX_READINGS; reading++) {
      const read = readOnce(path, maxBytes, calls, userId)
      if (read !== 'changed') return read
    }
    return refuse('ECHANGING', 'changes while it is read; replace it by a rename, or wait until it is written')
  } catch (error) {
    return { problem: problemOf(error) }
  }
}

/** As `readBoundedFile`, decoded as UTF-8 (other bytes become U+FFFD) and without a byte order mark. */
export function readBoundedText(path: string, maxBytes: number): { text: string } | { problem: FileProblem } {
  const reading = readBoundedFile(path, maxBytes)
  return 'problem' in reading ? reading : { text: textOf(reading.bytes) }
}

/** What a file holds as text: UTF-8 (other bytes become U+FFFD) without a byte order mark. */
export function textOf(bytes: Uint8Array): string {
  return new TextDecoder().decode(bytes)
}

function readOnce(path: string, maxBytes: number, calls: FileCalls, userId: number | null): FileReading | 'changed' {
  // Before the opening: opening alone means something to some devices, and wakes the writer of a FIFO.
  const seen = refusalOf(calls.stat(path), maxBytes)
  if (seen !== null) return seen
  const fd = calls.open(path, OPEN_FLAGS)
  try {
    const before = calls.fstat(fd)
    const refusal = refusalOf(before, maxBytes)
    if (refusal !== null) return refusal
    if (userId !== null && before.uid !== 0n && before.uid !== BigInt(userId))
      return refuse(
        'EOWNER',
        `belongs to user ${before.uid}, not to root or this user (${userId}); change its owner, or remove it`,
      )
    const bytes = readToEnd(fd, Number(before.size), maxBytes, calls)
    if (bytes === null) return tooLarge(maxBytes)
    const after = calls.fstat(fd)
    // The size of a file of /proc is 0 whatever it holds.
    const isWhole = before.size === 0n || before.size === BigInt(bytes.length)
    const isSame = before.size === after.size && before.mtimeNs === after.mtimeNs
    return isWhole && isSame ? { bytes } : 'changed'
  } finally {
    calls.close(fd)
  }
}

/** Null if there are more than `maxBytes`. */
function readToEnd(fd: number, size: number, maxBytes: number, calls: FileCalls): Buffer | null {
  // One byte more than there should be, so that the end shows without another look.
  let bytes = Buffer.allocUnsafe(Math.min(maxBytes, size === 0 ? FIRST_BYTES : size) + 1)
  let length = 0
  for (;;) {
    const count = calls.read(fd, bytes, length, bytes.length - length)
    if (count === 0) return bytes.subarray(0, length)
    length += count
    if (length > maxBytes) return null
    if (length < bytes.length) continue
    const larger = Buffer.allocUnsafe(Math.min(bytes.length * 2, maxBytes + 1))
    bytes.copy(larger, 0, 0, length)
    bytes = larger
  }
}

function refusalOf(stat: FileStat, maxBytes: number): { problem: FileProblem } | null {
  if (!stat.isFile())
    return refuse(stat.isDirectory() ? 'EISDIR' : 'ENOTREG', `is ${kindOf(stat)}; name a regular file`)
  return stat.size > BigInt(maxBytes) ? tooLarge(maxBytes) : null
}

function kindOf(stat: FileStat): string {
  if (stat.isDirectory()) return 'a folder'
  if (stat.isFIFO()) return 'a FIFO'
  if (stat.isSocket()) return 'a socket'
  return 'a device'
}

function tooLarge(maxBytes: number): { problem: FileProblem } {
  const size = maxBytes >= MEBIBYTE ? `${maxBytes / MEBIBYTE} MiB` : `${maxBytes} bytes`
  return refuse('EFBIG', `is larger than ${size}; name a smaller file`)
}

function refuse(code: string, reason: string): { problem: FileProblem } {
  return { problem: { code, reason } }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'does not exist; name an existing file',
  ENOTDIR: 'does not exist; name an existing file',
  EACCES: 'may not be read; check its owner and mode',
  EPERM: 'may not be read; check its owner and mode',
  ELOOP: 'is a loop of symbolic links; mend the link',
  EMFILE: 'cannot be opened: the limit of open files is reached; raise it (ulimit -n)',
  ENFILE: "cannot be opened: the system's limit of open files is reached",
  // What opening a socket, or a device without a driver, gives.
  ENXIO: 'is not a regular file; name one',
}

/** The problem that an error of a file call stands for. */
export function problemOf(error: unknown): FileProblem {
  const code = error instanceof Error && 'code' in error ? String(error.code) : 'EIO'
  const message = error instanceof Error ? error.message : String(error)
  return { code, reason: REASONS[code] ?? `cannot be read (${message.replace(/\s+/g, ' ').trim()})` }
}
