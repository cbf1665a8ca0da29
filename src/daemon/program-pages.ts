/** Which parts of the program's file lie in memory as they are on disk, and so can be left to the page cache. */

/** A mapping: whole pages. */
export interface Mapping {
  address: number
  bytes: number
}

const HEAD = /^([0-9a-f]+)-([0-9a-f]+) r-[x-]p \S+ \S+ \S+ +(.+)$/
const ANONYMOUS = /^Anonymous: +(\d+) kB$/

/**
 * The mappings of `file` in `smaps` (proc_pid_smaps(5)) that cannot be written to and of which no page ever was: relocations
 * write to some before they are sealed.
 */
export function unwrittenMappings(smaps: string, file: string): Mapping[] {
  const found: Mapping[] = []
  let last: Mapping | null = null
  for (const line of smaps.split('\n')) {
    const head = HEAD.exec(line)
    if (head !== null) {
      const address = Number.parseInt(head[1]!, 16)
      last = head[3] === file ? { address, bytes: Number.parseInt(head[2]!, 16) - address } : null
      continue
    }
    const anonymous = ANONYMOUS.exec(line)
    if (anonymous === null) continue
    if (last !== null && anonymous[1] === '0') found.push(last)
    last = null
  }
  return found
}
