/** Whether a second worker costs the first one anything. */
import { load, measure } from '../load/dnsperf.ts'
import { writeHitFile } from '../load/names.ts'
import type { Peer } from '../peers/peer.ts'
import type { Bench } from './bench.ts'
import type { Scenario } from './scenario.ts'
import { HOSTS, requireAnswers } from './throughput.ts'

export const workers: Scenario = {
  id: 'workers',
  title: 'Two workers',
  about:
    'Mesh hits per CPU second with two workers against one. Throughput would show the cores that the load generator leaves.',
  needs: ['table', 'workers'],
  metrics: [
    { key: 'efficiency', title: 'two against one', unit: '×', better: 'more' },
    { key: 'two', title: 'answers per CPU second, two', unit: '', better: 'more' },
    { key: 'one', title: 'answers per CPU second, one', unit: '', better: 'more' },
  ],
  run: async (peer, bench) => {
    const one = await hits(peer, bench, 1)
    const two = await hits(peer, bench, 2)
    return { efficiency: two / one, one, two }
  },
}

function hits(peer: Peer, bench: Bench, count: number): Promise<number> {
  return bench.withServer(peer, { hosts: HOSTS, workers: count }, async ({ pid, port }) => {
    const queries = bench.queryFile('mesh', (file) => writeHitFile(file, HOSTS))
    await load({ port, queries, seconds: 1 }, bench.signal)
    const result = await measure(pid, { port, queries, seconds: bench.seconds }, bench.signal)
    requireAnswers(result, 'NOERROR')
    return result.answersPerCpuSecond
  })
}
