import { statSync } from 'node:fs'
import { type FileReading, readBoundedFile } from './bounded-file.ts'
import { type FileWatch, watchFile } from './file-watch.ts'

/** What byname does with the files that it watches, passed in so that tests can have a file system of their own. */
export interface Files {
  /** As `readBoundedFile`. */
  read(path: string, maxBytes: number): FileReading
  /** Differs whenever the content that `path` leads to may be another; `-` if it leads nowhere. See `isReplaced`. */
  stamp(path: string): string
  /** As `watchFile`. */
  watch(path: string, onChange: () => void): FileWatch
}

/** The machine's files. */
export const machineFiles: Files = { read: readBoundedFile, stamp: stampOf, watch: watchFile }

/** Identity, a space, size and times of what `path` leads to; `-` if it leads nowhere, may not be seen, or is a loop of links. */
export function stampOf(path: string): string {
  try {
    const stat = statSync(path, { bigint: true })
    // A number of a file that is gone is given to the next one.
    return `${stat.dev}:${stat.ino}:${stat.birthtimeNs} ${stat.size}:${stat.mtimeNs}:${stat.ctimeNs}`
  } catch {
    return '-'
  }
}

/** True if two stamps are of two files: one took the other's place, as a rename does, and was not written over it. */
export function isReplaced(before: string, now: string): boolean {
  const [identity = ''] = now.split(' ', 1)
  return before.includes(' ') && now.includes(' ') && !before.startsWith(`${identity} `)
}
