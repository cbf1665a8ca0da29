/** What a server takes while nobody asks: memory, start-up, idle CPU. */
import { encodePush } from '../load/control-plane.ts'
import { load } from '../load/dnsperf.ts'
import { addressAt, writeHitFile } from '../load/names.ts'
import { memory, threadCpuSeconds } from '../load/process-usage.ts'
import type { Bench, Subject } from './bench.ts'
import { withControlPlane } from './pushed-table.ts'
import type { Scenario, Values } from './scenario.ts'
import { HOSTS } from './throughput.ts'

const MEGABYTE = 2 ** 20

export const memorySmall: Scenario = memoryBySize(1000)
export const memoryMedium: Scenario = memoryBySize(10_000)
export const memoryLarge: Scenario = memoryBySize(100_000)

export const startUp: Scenario = {
  id: 'start-up',
  title: 'Start-up',
  about: 'From the start of the process to its first answer for the last of 10,000 names.',
  needs: ['table'],
  metrics: [{ key: 'firstAnswerMs', title: 'first mesh answer', unit: 'ms', better: 'less' }],
  run: (peer, bench) => bench.withServer(peer, { hosts: HOSTS }, async ({ firstAnswerMs }) => ({ firstAnswerMs })),
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
