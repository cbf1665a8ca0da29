/** Limits of a process's control group, and how often they were felt: cgroup v2 (cgroup-v2.rst) and v1 alike. */
import { type Host, readOr } from './host.ts'

/** What a control group allows and has. Null: no limit, or not to be known. */
export interface CgroupState {
  version: 1 | 2
  path: string
  memory: { limitBytes: number | null; bytes: number | null; peakBytes: number | null; kills: number | null }
  cpu: {
    /** CPUs that it may use on average. */
    limit: number | null
    /** Periods in which it wanted to run, those in which it was stopped, and for how long in all. */
    periods: number | null
    throttledPeriods: number | null
    throttledSeconds: number | null
  }
  processes: { limit: number | null; count: number | null }
  /** What the kernel's files say, by name. */
  files: Record<string, string>
}

const ROOT = '/sys/fs/cgroup'
const V2_FILES = [
  'memory.max',
  'memory.high',
  'memory.current',
  'memory.peak',
  'memory.swap.max',
  'memory.events',
].concat(['memory.pressure', 'cpu.max', 'cpu.weight', 'cpu.stat', 'cpu.pressure', 'pids.max', 'pids.current'])
const V1_FILES: Readonly<Record<string, readonly string[]>> = {
  memory: [
    'memory.limit_in_bytes',
    'memory.usage_in_bytes',
    'memory.max_usage_in_bytes',
    'memory.failcnt',
    'memory.oom_control',
  ],
  cpu: ['cpu.cfs_quota_us', 'cpu.cfs_period_us', 'cpu.stat', 'cpu.shares'],
  pids: ['pids.max', 'pids.current'],
}
/** Without a limit v1 shows the largest multiple of a page. */
const V1_NO_LIMIT = 2 ** 62

/** Reads the control group of a process (`self` for this one). Null where the machine has none to be seen. */
export function readCgroup(host: Host, pid: number | 'self'): CgroupState | null {
  const lines = readOr(host, `/proc/${pid}/cgroup`).split('\n')
  const pathOf = (controller: string): string | undefined =>
    lines.map((line) => line.split(':')).find(([, names]) => names?.split(',').includes(controller))?.[2]
  const unified = lines.find((line) => line.startsWith('0::'))?.slice(3)
  if (unified !== undefined) {
    const files = readFirst(host, [`${ROOT}${unified}`, `${ROOT}/unified${unified}`, ROOT], V2_FILES)
    if (Object.keys(files).length > 0 && pathOf('memory') === undefined) return ofVersion2(unified, files)
  }
  const files = Object.entries(V1_FILES).reduce<Record<string, string>>((all, [controller, names]) => {
    const path = pathOf(controller) ?? '/'
    const mount = controller === 'cpu' ? ['cpu', 'cpu,cpuacct'] : [controller]
    const folders = mount.flatMap((name) => [`${ROOT}/${name}${path}`, `${ROOT}/${name}`])
    return { ...all, ...readFirst(host, folders, names) }
  }, {})
  return Object.keys(files).length === 0 ? null : ofVersion1(pathOf('memory') ?? '/', files)
}

/** In a container the path is the host's, and the folder is mounted at the top: the first folder that has any of the files. */
function readFirst(host: Host, folders: readonly string[], names: readonly string[]): Record<string, string> {
  for (const folder of folders) {
    if (folder.includes('..')) continue
    const found = names.flatMap((name) => {
      const read = host.read(`${folder}/${name}`)
      return 'text' in read ? [[name, read.text.trim()]] : []
    })
    if (found.length > 0) return Object.fromEntries(found)
  }
  return {}
}

function ofVersion2(path: string, files: Record<string, string>): CgroupState {
  const [quota, period] = (files['cpu.max'] ?? '').split(' ')
  const throttledMicroseconds = keyed(files['cpu.stat'], 'throttled_usec')
  return {
    version: 2,
    path,
    memory: {
      limitBytes: numberIn(files['memory.max']),
      bytes: numberIn(files['memory.current']),
      peakBytes: numberIn(files['memory.peak']),
      kills: keyed(files['memory.events'], 'oom_kill'),
    },
    cpu: {
      limit: ratio(numberIn(quota), numberIn(period)),
      periods: keyed(files['cpu.stat'], 'nr_periods'),
      throttledPeriods: keyed(files['cpu.stat'], 'nr_throttled'),
      throttledSeconds: throttledMicroseconds === null ? null : throttledMicroseconds / 1e6,
    },
    processes: { limit: numberIn(files['pids.max']), count: numberIn(files['pids.current']) },
    files,
  }
}

function ofVersion1(path: string, files: Record<string, string>): CgroupState {
  const limit = numberIn(files['memory.limit_in_bytes'])
  const quota = numberIn(files['cpu.cfs_quota_us'])
  const throttledNanoseconds = keyed(files['cpu.stat'], 'throttled_time')
  return {
    version: 1,
    path,
    memory: {
      limitBytes: limit !== null && limit < V1_NO_LIMIT ? limit : null,
      bytes: numberIn(files['memory.usage_in_bytes']),
      peakBytes: numberIn(files['memory.max_usage_in_bytes']),
      kills: keyed(files['memory.oom_control'], 'oom_kill'),
    },
    cpu: {
      limit: quota === null || quota < 0 ? null : ratio(quota, numberIn(files['cpu.cfs_period_us'])),
      periods: keyed(files['cpu.stat'], 'nr_periods'),
      throttledPeriods: keyed(files['cpu.stat'], 'nr_throttled'),
      throttledSeconds: throttledNanoseconds === null ? null : throttledNanoseconds / 1e9,
    },
    processes: { limit: numberIn(files['pids.max']), count: numberIn(files['pids.current']) },
    files,
  }
}

/** `max` and what is not there are null. */
function numberIn(text: string | undefined): number | null {
  return text !== undefined && /^-?\d+$/.test(text.trim()) ? Number(text) : null
}

/** The number behind a word at the start of a line. */
function keyed(text: string | undefined, word: string): number | null {
  const line = text?.split('\n').find((each) => each.startsWith(`${word} `))
  return line === undefined ? null : numberIn(line.slice(word.length + 1))
}

function ratio(part: number | null, whole: number | null): number | null {
  return part === null || whole === null || whole <= 0 ? null : part / whole
}
