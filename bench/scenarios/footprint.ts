/** What a server takes while nobody asks: memory, start-up, idle CPU. */
import { encodePush } from '../load/control-plane.ts'
import { load } from '../load/dnsperf.ts'
import { addressAt, writeHitFile } from '../load/names.ts'
import { memory, type Memory, threadCpuSeconds } from '../load/process-usage.ts'
import type { Bench, Subject } from './bench.ts'
import { withControlPlane } from './pushed-table.ts'
import type { Scenario, Values } from './scenario.ts'
import { HOSTS } from './throughput.ts'

const MEGABYTE = 2 ** 20
const MANY_HOSTS = 100_000

export const memorySmall: Scenario = memoryBySize(1000)
export const memoryMedium: Scenario = memoryBySize(10_000)
export const memoryLarge: Scenario = memoryBySize(100_000)

/** byname has settled by then (src/daemon/settling.ts). */
const REST_SECONDS = 30

/** All servers of a round start at once: what a process takes does not depend on the others, and each waits for long. */
export const rest: Scenario = {
  id: 'rest',
  title: 'Memory at rest',
  about:
    '30 seconds after the start, nobody has asked but for the first answer. byname has its table over xDS but for one from a file.',
  needs: ['table'],
  mostRounds: 2,
  metrics: [
    { key: 'anonymousMb10k', title: 'anonymous, 10,000 names', unit: 'MB', better: 'less' },
    { key: 'residentMb10k', title: 'resident, 10,000', unit: 'MB', better: 'less' },
    { key: 'anonymousMb100k', title: 'anonymous, 100,000', unit: 'MB', better: 'less' },
    { key: 'anonymousMbFile', title: 'anonymous, 100,000 from a file', unit: 'MB', better: 'less' },
  ],
  run: async (peer, bench) => {
    const atRest = async ({ pid }: Subject): Promise<Memory> => {
      await bench.pause(REST_SECONDS)
      return memory(pid)
    }
    const fromFile = (hosts: number): Promise<Memory> => bench.withServer(peer, { hosts }, atRest)
    const pushed = (hosts: number): Promise<Memory> =>
      peer.abilities.includes('push')
        ? withControlPlane(peer, bench, encodePush(hosts, 'a'), addressAt(0), atRest)
        : fromFile(hosts)
    const large = pushed(MANY_HOSTS)
    const hasFileToo = peer.abilities.includes('push') && peer.isTablePushed !== true
    const [small, many, file] = await Promise.all([pushed(HOSTS), large, hasFileToo ? fromFile(MANY_HOSTS) : large])
    return {
      anonymousMb10k: small.anonymousBytes / MEGABYTE,
      residentMb10k: small.residentBytes / MEGABYTE,
      anonymousMb100k: many.anonymousBytes / MEGABYTE,
      anonymousMbFile: file.anonymousBytes / MEGABYTE,
    }
  },
}

export const idle: Scenario = {
  id: 'idle',
  title: 'Idle',
  about: 'CPU time of a server that nobody asks, 10,000 names loaded.',
  needs: ['table'],
  metrics: [{ key: 'cpuPercent', title: 'of one core', unit: '%', better: 'less' }],
  run: (peer, bench) =>
    bench.withServer(peer, { hosts: HOSTS }, async ({ pid }) => {
      // Start-up work (compilers, first collections) ends.
      await bench.pause(3)
      const before = threadCpuSeconds(pid)
      const startedAt = performance.now()
      await bench.pause(Math.max(bench.seconds * 2, 5))
      const after = threadCpuSeconds(pid)
      if (before === undefined || after === undefined) throw new Error('the kernel keeps no /proc/PID/schedstat')
      return { cpuPercent: ((after - before) / ((performance.now() - startedAt) / 1000)) * 100 }
    }),
}

function memoryBySize(hosts: number): Scenario {
  const count = hosts.toLocaleString('en')
  return {
    id: `memory-${hosts / 1000}k`,
    title: `Memory with ${count} names`,
    about: `After a second of questions to ${count} names of its own.`,
    needs: ['table'],
    metrics: [
      { key: 'anonymousMb', title: 'anonymous (RssAnon)', unit: 'MB', better: 'less' },
      { key: 'residentMb', title: 'resident (VmRSS)', unit: 'MB', better: 'less' },
      { key: 'peakMb', title: 'peak (VmHWM)', unit: 'MB', better: 'less' },
    ],
    run: (peer, bench) => {
      const use = ({ pid, port }: Subject): Promise<Values> => memoryInUse(pid, port, hosts, bench)
      // The way tables come in production: what parsing a large file leaves behind is not the table's memory.
      if (peer.abilities.includes('push'))
        return withControlPlane(peer, bench, encodePush(hosts, 'a'), addressAt(0), use)
      return bench.withServer(peer, { hosts }, use)
    },
  }
}

async function memoryInUse(pid: number, port: number, hosts: number, bench: Bench): Promise<Values> {
  const queries = bench.queryFile(`mesh-${hosts}`, (file) => writeHitFile(file, hosts))
  await load({ port, queries, seconds: 1 }, bench.signal)
  const used = memory(pid)
  return {
    anonymousMb: used.anonymousBytes / MEGABYTE,
    residentMb: used.residentBytes / MEGABYTE,
    peakMb: used.peakBytes / MEGABYTE,
  }
}
