/** Tables that change while questions come: byname's promise that a push never delays an answer. */
import { Asker } from '../load/ask.ts'
import { type ControlPlane, encodePush } from '../load/control-plane.ts'
import { load, measure } from '../load/dnsperf.ts'
import { addressAt, movedAddressAt, nameAt, writeHitFile } from '../load/names.ts'
import { probe, type ProbeResult } from '../load/probe.ts'
import { memory } from '../load/process-usage.ts'
import { udpSocketDrops } from '../load/socket-drops.ts'
import type { Peer } from '../peers/peer.ts'
import type { Bench, Subject } from './bench.ts'
import { lossFigures, LOSS_METRICS } from './losses.ts'
import { withControlPlane } from './pushed-table.ts'
import type { Scenario } from './scenario.ts'
import { HOSTS, requireAnswers } from './throughput.ts'

const MANY_HOSTS = 100_000
const FEW_HOSTS = 1000
const LOAD_PER_SECOND = 20_000
const PUSHES_PER_SECOND = 20

export const pushSpeed: Scenario = {
  id: 'push-speed',
  title: 'Push of 100,000 names',
  about: 'A table in which every address differs: from handing it to gRPC until a new answer was read. Idle otherwise.',
  needs: ['push'],
  metrics: [
    { key: 'newAnswerMs', title: 'push → new answer', unit: 'ms', better: 'less' },
    { key: 'restAnonymousMb', title: 'anonymous memory before', unit: 'MB', better: 'less' },
    { key: 'peakAnonymousMb', title: 'peak during pushes', unit: 'MB', better: 'less' },
    { key: 'anonymousMb', title: 'after', unit: 'MB', better: 'less' },
  ],
  run: (peer, bench) =>
    withTables(peer, bench, async (subject, plane, tables) => {
      const times: number[] = []
      await bench.pause(2)
      const restBytes = memory(subject.pid).anonymousBytes
      let peakBytes = 0
      const sampler = setInterval(() => (peakBytes = Math.max(peakBytes, memory(subject.pid).anonymousBytes)), 10)
      try {
        for (let i = 1; i <= 6; i++) {
          times.push(await timePush(subject, plane, tables, i, bench))
          await bench.pause(0.5)
        }
      } finally {
        clearInterval(sampler)
      }
      times.sort((a, b) => a - b)
      const after = memory(subject.pid).anonymousBytes
      return {
        newAnswerMs: times[times.length >> 1]!,
        slowestMs: times.at(-1)!,
        restAnonymousMb: restBytes / 2 ** 20,
        anonymousMb: after / 2 ** 20,
        peakAnonymousMb: peakBytes / 2 ** 20,
      }
    }),
}

export const pushUnderLoad: Scenario = {
  id: 'push-load',
  title: 'Push of 100,000 names under 20,000 questions a second',
  about: 'The same questions without and with a push a second in which every address differs.',
  needs: ['push'],
  metrics: [
    { key: 'worstMs', title: 'worst answer', unit: 'ms', better: 'less' },
    { key: 'quietWorstMs', title: 'worst without pushes', unit: 'ms', better: 'less' },
    { key: 'lost', title: 'lost, all rounds', unit: '', better: 'less', isCount: true },
    { key: 'p99Us', title: 'p99', unit: 'µs', better: 'less' },
    { key: 'quietP99Us', title: 'p99 without pushes', unit: 'µs', better: 'less' },
    { key: 'p999Us', title: 'p99.9', unit: 'µs', better: 'less' },
    { key: 'quietP999Us', title: 'p99.9 without pushes', unit: 'µs', better: 'less' },
    ...LOSS_METRICS,
  ],
  run: (peer, bench) =>
    withTables(peer, bench, async (subject, plane, tables) => {
      const quiet = await steadyLoad(subject, bench)
      const dropsBefore = udpSocketDrops(subject.port)
      let pushes = 0
      const timer = setInterval(() => plane.push(tables[++pushes % 2]!), 1000)
      let pushed: ProbeResult
      try {
        pushed = await steadyLoad(subject, bench)
      } finally {
        clearInterval(timer)
      }
      return {
        ...lossFigures(pushed, udpSocketDrops(subject.port) - dropsBefore),
        worstMs: pushed.maxUs / 1000,
        quietWorstMs: quiet.maxUs / 1000,
        quietLost: quiet.lost,
        p99Us: pushed.p99Us ?? Number.NaN,
        quietP99Us: quiet.p99Us ?? Number.NaN,
        p999Us: pushed.p999Us ?? Number.NaN,
        quietP999Us: quiet.p999Us ?? Number.NaN,
        pushes,
        lateSendUs: pushed.lateSendUs ?? Number.NaN,
      }
    }),
}

export const pushChurn: Scenario = {
  id: 'push-churn',
  title: 'Twenty pushes a second of 1,000 names, one changed',
  about: 'Mesh hits as fast as they go, without and with pushes.',
  needs: ['push'],
  metrics: [
    { key: 'share', title: 'answers per CPU second left', unit: '%', better: 'more' },
    { key: 'answersPerCpuSecond', title: 'with pushes', unit: '', better: 'more' },
    { key: 'quietAnswersPerCpuSecond', title: 'without', unit: '', better: 'more' },
  ],
  run: async (peer, bench) => {
    const tables = Array.from({ length: 50 }, (_, version) =>
      encodePush(FEW_HOSTS, `churn-${version}`, (n) => (n === version ? movedAddressAt(n) : addressAt(n))),
    )
    return await withControlPlane(peer, bench, tables[0]!, movedAddressAt(0), async ({ pid, port }, plane) => {
      const queries = bench.queryFile('mesh-1000', (file) => writeHitFile(file, FEW_HOSTS))
      const hits = { port, queries, seconds: bench.seconds }
      await load({ ...hits, seconds: 1 }, bench.signal)
      const quiet = await measure(pid, hits, bench.signal)
      let pushes = 0
      const timer = setInterval(() => plane.push(tables[++pushes % tables.length]!), 1000 / PUSHES_PER_SECOND)
      const pushed = await measure(pid, hits, bench.signal).finally(() => clearInterval(timer))
      requireAnswers(quiet, 'NOERROR')
      requireAnswers(pushed, 'NOERROR')
      return {
        share: (pushed.answersPerCpuSecond / quiet.answersPerCpuSecond) * 100,
        answersPerCpuSecond: pushed.answersPerCpuSecond,
        quietAnswersPerCpuSecond: quiet.answersPerCpuSecond,
        pushes,
      }
    })
  },
}

/** A server that gets two tables in turn: `tables[0]` first, with the usual addresses, `tables[1]` with every host moved. */
function withTables<T>(
  peer: Peer,
  bench: Bench,
  use: (subject: Subject, plane: ControlPlane, tables: readonly [Buffer, Buffer]) => Promise<T>,
): Promise<T> {
  const tables = [encodePush(MANY_HOSTS, 'a'), encodePush(MANY_HOSTS, 'b', movedAddressAt)] as const
  return withControlPlane(peer, bench, tables[0], addressAt(0), (subject, plane) => use(subject, plane, tables))
}

/** Pushes `tables[turn % 2]` and waits for its answer. Resolves with the milliseconds it took. */
async function timePush(
  { port }: Subject,
  plane: ControlPlane,
  tables: readonly [Buffer, Buffer],
  turn: number,
  bench: Bench,
): Promise<number> {
  const expected = turn % 2 === 0 ? addressAt(0) : movedAddressAt(0)
  const asker = new Asker(port, nameAt(0))
  try {
    const startedAt = performance.now()
    plane.push(tables[turn % 2]!)
    await asker.until((reply) => reply.address === expected, 1, 20_000, bench.signal)
    return performance.now() - startedAt
  } finally {
    asker.close()
  }
}

function steadyLoad({ port }: Subject, bench: Bench): Promise<ProbeResult> {
  const queries = bench.queryFile('mesh', (file) => writeHitFile(file, HOSTS))
  const options = { port, queries, queriesPerSecond: LOAD_PER_SECOND, seconds: bench.seconds, warmupSeconds: 1 }
  return probe(bench.native, options, bench.signal)
}
