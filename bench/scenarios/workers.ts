/** Whether a second worker costs the first one anything. */
import { load, measure } from '../load/dnsperf.ts'
import { writeHitFile } from '../load/names.ts'
import type { Peer } from '../peers/peer.ts'
import type { Bench } from './bench.ts'
import type { Scenario } from './scenario.ts'
import { HOSTS, requireAnswers } from './throughput.ts'

/** Questions a second for each worker: so few that cores are free, so many that batches form. */
const QUERIES_PER_WORKER = 30_000
/**
 * Client sockets for each worker. SO_REUSEPORT deals them out by a hash of their ports: of eight, six and more meet at one
 * worker in 29 runs of 100, which then does three quarters of the work; of 32, three quarters do in one run of 150. They
 * grow with the workers because replies to one client leave together: as many clients for one as for two would have half
 * as many questions each, and the one worker would send more messages.
 */
const CLIENTS_PER_WORKER = 16
/** Below this share of the questions wanted the cores were not free, and the figure says nothing of the workers. */
const LEAST_RATE = 0.95

export const workers: Scenario = {
  id: 'workers',
  title: 'Two workers',
  about:
    'Mesh hits per CPU second, 60,000 questions a second from 32 clients for two workers against 30,000 from 16 for one: while cores are free. “Crowded”: both as fast as it goes, on the cores that the load generator leaves.',
  needs: ['table', 'workers'],
  metrics: [
    { key: 'efficiency', title: 'two against one', unit: '×', better: 'more' },
    { key: 'crowdedEfficiency', title: 'two against one, crowded', unit: '×', better: 'more' },
    { key: 'two', title: 'answers per CPU second, two', unit: '', better: 'more' },
    { key: 'one', title: 'answers per CPU second, one', unit: '', better: 'more' },
  ],
  run: async (peer, bench) => {
    const one = await hits(peer, bench, 1, QUERIES_PER_WORKER)
    const two = await hits(peer, bench, 2, 2 * QUERIES_PER_WORKER)
    const crowdedEfficiency = (await hits(peer, bench, 2)) / (await hits(peer, bench, 1))
    return { efficiency: two / one, crowdedEfficiency, one, two }
  },
}

function hits(peer: Peer, bench: Bench, count: number, queriesPerSecond?: number): Promise<number> {
  return bench.withServer(peer, { hosts: HOSTS, workers: count }, async ({ pid, port }) => {
    const queries = bench.queryFile('mesh', (file) => writeHitFile(file, HOSTS))
    const options = { port, queries, clients: count * CLIENTS_PER_WORKER }
    await load({ ...options, seconds: 1 }, bench.signal)
    const rate = queriesPerSecond === undefined ? {} : { queriesPerSecond }
    const result = await measure(pid, { ...options, seconds: bench.seconds, ...rate }, bench.signal)
    requireAnswers(result, 'NOERROR')
    const reached = result.sent / result.seconds
    if (queriesPerSecond !== undefined && reached < queriesPerSecond * LEAST_RATE)
      throw new Error(`no free cores: ${Math.round(reached)} questions a second of ${queriesPerSecond}`)
    return result.answersPerCpuSecond
  })
}
