/** byname's own processes on this machine, as /proc shows them. */
import { type Host, readOr } from './host.ts'

/** A process of byname's. */
export interface BynameProcess {
  pid: number
  /** What `ps` calls it: `S (sleeping)`, `T (stopped)`. */
  state: string
  arguments: string[]
  /** Variables of its environment, none if they may not be read. */
  environment: Record<string, string>
  uid: number | null
  memoryBytes: number | null
  mostMemoryBytes: number | null
  openFiles: number | null
  openFilesLimit: number | null
  threads: ThreadTime[]
}

/** A thread and the processor time that it has used. */
export interface ThreadTime {
  id: number
  name: string
  seconds: number
}

const MOST_PROCESSES = 16
const MOST_THREADS = 256
/** USER_HZ, which is 100 on every machine that byname is built for. */
const TICKS_A_SECOND = 100
/** Commands that serve. */
const SERVICES: ReadonlySet<string> = new Set(['run', 'demo', 'control-plane'])

/** Processes of byname that serve in this process's network namespace, as far as they can be seen. `self`: this process, left out. */
export function findProcesses(host: Host, self: number): BynameProcess[] {
  const namespace = host.link('/proc/self/ns/net')
  const found: BynameProcess[] = []
  for (const name of host.list('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === self || found.length >= MOST_PROCESSES) continue
    const written = listOfNuls(readOr(host, `/proc/${name}/cmdline`))
    // A title that the launcher has set is one text.
    const words = written[0]?.startsWith('byname ') ? written[0].split(' ') : written
    const at = words.findIndex((word) => /(^|\/)byname(\.c?js)?$/.test(word))
    const isRun = at === 0 || /(^|\/)(?:node|nodejs|sh)$/.test(words[0] ?? '')
    if (at < 0 || !isRun || !words.slice(at + 1).some((word) => SERVICES.has(word))) continue
    const other = host.link(`/proc/${name}/ns/net`)
    if (namespace !== null && other !== null && other !== namespace) continue
    found.push(processOf(host, Number(name), words))
  }
  return found
}

function processOf(host: Host, pid: number, words: string[]): BynameProcess {
  const status = readOr(host, `/proc/${pid}/status`)
  const line = (key: string): string | undefined => new RegExp(`^${key}:\\s*(.*)$`, 'm').exec(status)?.[1]
  const kibibytes = (key: string): number | null => {
    const number = /^(\d+) kB$/.exec(line(key) ?? '')?.[1]
    return number === undefined ? null : Number(number) * 1024
  }
  const files = host.list(`/proc/${pid}/fd`).length
  const limit = /^Max open files\s+(\d+)/m.exec(readOr(host, `/proc/${pid}/limits`))?.[1]
  const variables = listOfNuls(readOr(host, `/proc/${pid}/environ`)).map((each) => each.split(/=(.*)/s, 2))
  return {
    pid,
    state: line('State') ?? '?',
    arguments: words,
    environment: Object.fromEntries(variables.map(([key, value]) => [key ?? '', value ?? ''])),
    uid: Number(line('Uid')?.split(/\s+/)[1] ?? Number.NaN),
    memoryBytes: kibibytes('VmRSS'),
    mostMemoryBytes: kibibytes('VmHWM'),
    openFiles: files === 0 ? null : files,
    openFilesLimit: limit === undefined ? null : Number(limit),
    threads: threadTimes(host, pid),
  }
}

/** Times of a process's threads so far. */
export function threadTimes(host: Host, pid: number): ThreadTime[] {
  return host
    .list(`/proc/${pid}/task`)
    .slice(0, MOST_THREADS)
    .flatMap((id) => {
      // The name is in parentheses and may hold any others; user and system time are the 14th and 15th field.
      const [, name, rest] = /^\d+ \(([^]*)\) (.*)$/.exec(readOr(host, `/proc/${pid}/task/${id}/stat`).trim()) ?? []
      if (name === undefined || rest === undefined) return []
      const fields = rest.split(' ')
      return [{ id: Number(id), name, seconds: (Number(fields[11]) + Number(fields[12])) / TICKS_A_SECOND }]
    })
}

function listOfNuls(text: string): string[] {
  return text.split('\0').filter((each) => each !== '')
}
