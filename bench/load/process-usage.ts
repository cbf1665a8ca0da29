/** What a process and its descendants have used, read from /proc (Linux, proc(5)). */
import { readdirSync, readFileSync } from 'node:fs'

/** Clock ticks a second in /proc/PID/stat: USER_HZ, 100 on every Linux that Node runs on. */
const TICKS_PER_SECOND = 100

export interface Memory {
  /** Private memory that only this process has: RssAnon, summed over the process tree, in bytes. */
  anonymousBytes: number
  /** Resident memory with shared pages and mapped files: VmRSS, in bytes. */
  residentBytes: number
  /** The highest VmRSS so far: VmHWM, in bytes. */
  peakBytes: number
}

/**
 * CPU time in seconds (user and system, all threads, those that ended included) of a process, its live descendants and
 * the children it has waited for. Descendants count because dnsmasq forks for TCP and launchers start the real server.
 * 0 if the process is gone.
 */
export function cpuSeconds(pid: number): number {
  let ticks = 0
  for (const member of processTree(pid)) {
    const stat = readOrEmpty(`/proc/${member}/stat`)
    // The command may hold spaces and brackets: the fields count from the last ')'.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    for (const index of [11, 12, 13, 14]) ticks += Number(fields[index] ?? 0)
  }
  return ticks / TICKS_PER_SECOND
}

/** Memory of a process and its live descendants. All zero if the process is gone. */
export function memory(pid: number): Memory {
  const sum = { anonymousBytes: 0, residentBytes: 0, peakBytes: 0 }
  for (const member of processTree(pid)) {
    const status = readOrEmpty(`/proc/${member}/status`)
    sum.anonymousBytes += kilobytes(status, 'RssAnon') * 1024
    sum.residentBytes += kilobytes(status, 'VmRSS') * 1024
    sum.peakBytes += kilobytes(status, 'VmHWM') * 1024
  }
  return sum
}

/** True while the process exists and has not become a zombie. */
export function isAlive(pid: number): boolean {
  const stat = readOrEmpty(`/proc/${pid}/stat`)
  return stat !== '' && stat[stat.lastIndexOf(')') + 2] !== 'Z'
}

/** The process and all its descendants that live now. */
function processTree(pid: number): number[] {
  const members = [pid]
  for (let i = 0; i < members.length; i++) {
    const member = members[i]!
    // A child is listed under the thread that forked it; servers fork from their main thread.
    const children = readOrEmpty(`/proc/${member}/task/${member}/children`).trim()
    if (children !== '') members.push(...children.split(' ').map(Number))
  }
  return members
}

function kilobytes(status: string, key: string): number {
  return Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(status)?.[1] ?? 0)
}

function readOrEmpty(file: string): string {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return ''
  }
}

/**
 * CPU time in seconds of the threads that live now, by the scheduler's own clock: finer than `cpuSeconds` (10 ms), for
 * servers that do next to nothing. Undefined where the kernel keeps no such figures.
 */
export function threadCpuSeconds(pid: number): number | undefined {
  let nanoseconds = 0
  for (const member of processTree(pid)) {
    for (const thread of threadsOf(member)) {
      const used = readOrEmpty(`/proc/${member}/task/${thread}/schedstat`).split(' ')[0]
      if (used === undefined || used === '') return undefined
      nanoseconds += Number(used)
    }
  }
  return nanoseconds / 1e9
}

function threadsOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`)
  } catch {
    return []
  }
}
