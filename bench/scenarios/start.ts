/** From the start of a process to its first answer, on a free machine and within a tenth of a core. */
import { spawnSync } from 'node:child_process'
import type { Scenario } from './scenario.ts'
import { HOSTS } from './throughput.ts'

/** What Kubernetes calls 100m: the smallest limit that sidecars are given. */
const CPU_LIMIT = 0.1
/** Each question is answered in the end, and a start under the limit takes seconds. */
const ASK_EVERY_MS = 25
const NODE_STARTS = 3

export const startUp: Scenario = {
  id: 'start-up',
  title: 'Start-up',
  about: 'From the start of the process to its first answer for the last of 10,000 names of a file.',
  needs: ['table'],
  metrics: [
    { key: 'firstAnswerMs', title: 'first mesh answer', unit: 'ms', better: 'less' },
    { key: 'cpuMs', title: 'CPU time until then', unit: 'ms', better: 'less' },
    { key: 'nodeMs', title: 'Node alone, same minute', unit: 'ms', better: 'less' },
  ],
  run: (peer, bench) => {
    const nodeMs = nodeAlone()
    return bench.withServer(peer, { hosts: HOSTS }, async ({ firstAnswerMs, firstAnswerCpuSeconds }) => ({
      firstAnswerMs,
      cpuMs: firstAnswerCpuSeconds * 1000,
      ...(peer.id.startsWith('byname') && { nodeMs, overNodeMs: firstAnswerMs - nodeMs }),
    }))
  },
}

export const startLimited: Scenario = {
  id: 'start-limited',
  title: 'Start-up within a tenth of a core',
  about: 'The same with a CPU limit of 100m, by a control group.',
  needs: ['table'],
  mostRounds: 3,
  metrics: [
    { key: 'firstAnswerMs', title: 'first mesh answer', unit: 'ms', better: 'less' },
    { key: 'cpuMs', title: 'CPU time until then', unit: 'ms', better: 'less' },
  ],
  run: (peer, bench) =>
    bench.withServer(
      peer,
      { hosts: HOSTS, limits: { cpu: CPU_LIMIT }, askEveryMs: ASK_EVERY_MS },
      async ({ firstAnswerMs, firstAnswerCpuSeconds }) => ({ firstAnswerMs, cpuMs: firstAnswerCpuSeconds * 1000 }),
    ),
}

/** Milliseconds that Node takes to start and end with an empty script: the shortest of a few. */
function nodeAlone(): number {
  const times = Array.from({ length: NODE_STARTS }, () => {
    const startedAt = performance.now()
    spawnSync(process.execPath, ['-e', '0'])
    return performance.now() - startedAt
  })
  return Math.min(...times)
}
