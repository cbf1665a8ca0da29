import { afterEach, expect, it } from 'vitest'
import { DataWorkerLink, type LinkListener, type StreamClient } from '../../src/stream/data-worker-link.ts'
import { until } from '../until.ts'
import { framed, query } from './dns-messages.ts'
import { ScriptedDataWorker } from './scripted-data-worker.ts'

const CLIENT: StreamClient = { address: Uint8Array.of(127, 0, 0, 1), port: 4711, isSameMachine: true }

let link: DataWorkerLink
afterEach(() => link.close())

/** A link to the worker, and what the listener was told. */
function linked(worker: ScriptedDataWorker): string[] {
  const told: string[] = []
  const listener: LinkListener = {
    replies: (connection, settled, frames) => void told.push(`replies ${connection} ${settled} ${frames.length}`),
    repliesEnd: () => void told.push('end'),
    askUpstream: ({ token }) => void told.push(`ask ${token}`),
    lost: ({ generation }) => void told.push(`lost ${generation}`),
  }
  link = new DataWorkerLink({ port: worker.port, wakeFd: -1 }, listener)
  return told
}

function ask(connection: number): void {
  link.queries(connection, CLIENT, framed(query(connection, 'a.example.')))
}

it('what a turn brings is one message', async () => {
  const worker = new ScriptedDataWorker()
  linked(worker)
  for (const connection of [1, 2, 1]) ask(connection)
  await until(() => expect(worker.queries).toHaveLength(3))
  expect([worker.messages, worker.reads.map(({ connection }) => connection)]).toEqual([1, [1, 2, 1]])
})

it('what is much is posted before the turn ends, and all of it comes', async () => {
  const worker = new ScriptedDataWorker()
  linked(worker)
  const large = framed(new Uint8Array(0xffff))
  for (let n = 1; n <= 5; n++) link.queries(n, CLIENT, large)
  await until(() => expect(worker.queries).toHaveLength(5))
  // Each two are more than 128 KiB.
  expect(worker.messages).toBe(3)
})

it('what the worker before had not been sent is lost with it, and not for its successor', async () => {
  const told = linked(new ScriptedDataWorker())
  ask(1)
  const successor = new ScriptedDataWorker()
  link.replace({ port: successor.port, wakeFd: -1 })
  expect([link.isUp, link.generation, told]).toEqual([true, 1, ['lost 1']])
  ask(2)
  await until(() => expect(successor.queries).toHaveLength(1))
  expect(successor.reads).toEqual([{ connection: 2, count: 1 }])
})

it('without a worker nothing is sent, and one that comes later has only what is asked then', async () => {
  const told = linked(new ScriptedDataWorker())
  link.close()
  link.close()
  expect([link.isUp, told]).toEqual([false, ['lost 1']])
  link.upstreamReply({ kind: 'upstreamReply', token: 7, reply: null, failure: 'network' })
  const successor = new ScriptedDataWorker()
  link.replace({ port: successor.port, wakeFd: -1 })
  ask(3)
  await until(() => expect(successor.queries).toHaveLength(1))
  expect([successor.upstreamReplies, link.generation]).toEqual([[], 1])
})

it('messages that have come together are handed over together', async () => {
  const worker = new ScriptedDataWorker()
  const told = linked(worker)
  worker.reply({ connection: 1, messages: [], settled: 2 }, { connection: 2, messages: [query(1, 'a.')] })
  worker.ask({ token: 9, server: 's', transport: 'tcp', query: query(1, 'a.'), timeoutMs: 1, attemptMs: 1 })
  worker.reply({ connection: 3, messages: [], settled: 1 })
  await until(() => expect(told.at(-1)).toBe('end'))
  expect(told).toEqual(['replies 1 2 0', expect.stringMatching(/^replies 2 1 /), 'ask 9', 'replies 3 1 0', 'end'])
})
