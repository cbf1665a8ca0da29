/** What this process uses, all threads together. */
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'

/** Memory of now, and CPU time since the start. */
export interface ProcessUsage {
  /** Bytes of memory in use, files and shared memory included. */
  rssBytes: number
  /** Bytes that are this process's alone (RssAnon); null where the system does not say. */
  anonymousBytes: number | null
  /** Seconds of CPU time, user and system. */
  cpuSeconds: number
}

/** Reads it; some 50 µs. */
export function processUsage(): ProcessUsage {
  const { user, system } = process.cpuUsage()
  return {
    rssBytes: process.memoryUsage.rss(),
    anonymousBytes: anonymousBytes(),
    cpuSeconds: (user + system) / 1e6,
  }
}

function anonymousBytes(): number | null {
  const read = readBoundedText('/proc/self/status', MAX_FILE_BYTES.kernelTable)
  const found = 'text' in read ? /^RssAnon:\s+(\d+) kB$/m.exec(read.text)?.[1] : undefined
  return found === undefined ? null : Number(found) * 1024
}
