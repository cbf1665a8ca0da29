import { MessageChannel, type MessagePort } from 'node:worker_threads'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type RequestMessage, respond, type ResponseMessage, ThreadRequests } from '../../src/base/thread-requests.ts'

type Sums = {
  add: { payload: [number, number]; response: number }
  later: { payload: null; response: string }
}

let asker: MessagePort
let asked: MessagePort
let requests: ThreadRequests<Sums>
let later: PromiseWithResolvers<string>
/** Messages that the asked thread got. */
let got: RequestMessage<Sums>[]

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
  const { port1, port2 } = new MessageChannel()
  asker = port1
  asked = port2
  later = Promise.withResolvers()
  got = []
  requests = new ThreadRequests((message) => asker.postMessage(message))
  asker.on('message', (message: ResponseMessage) => requests.receive(message))
  asked.on('message', (message: RequestMessage<Sums>) => {
    got.push(message)
    respond<Sums>({ add: ([a, b]) => a + b, later: () => later.promise }, message, (response) =>
      asked.postMessage(response),
    )
  })
})

afterEach(() => {
  vi.useRealTimers()
  asker.close()
  asked.close()
})

test('each request gets its own response, in whatever order they come', async () => {
  const slow = requests.request('later', null, 1000)
  expect(await requests.request('add', [1, 2], 1000)).toBe(3)
  later.resolve('done')
  expect(await slow).toBe('done')
  expect(vi.getTimerCount()).toBe(0)
})

test('a request is rejected at its deadline, and a response that comes later finds nobody', async () => {
  const slow = requests.request('later', null, 1000)
  await vi.waitFor(() => expect(got).toHaveLength(1))
  vi.advanceTimersByTime(999)
  const failed = expect(slow).rejects.toMatchObject({
    code: 'deadline',
    message: 'no response to later within 1000 ms',
  })
  vi.advanceTimersByTime(1)
  await failed
  later.resolve('late')
  expect(await requests.request('add', [2, 2], 1000)).toBe(4)
})

test('all that is under way is rejected when the thread has ended, and a new one can be asked', async () => {
  const failed = [requests.request('later', null, 1000), requests.request('later', null, 1000)].map((request) =>
    expect(request).rejects.toMatchObject({ code: 'gone' }),
  )
  requests.rejectAll()
  await Promise.all(failed)
  expect(vi.getTimerCount()).toBe(0)
  expect(await requests.request('add', [0, 1], 1000)).toBe(1)
})
