/** `/debug/events` and what it tells, of a real daemon. */
import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import dnsPacket from 'dns-packet'
import { afterEach, expect, test } from 'vitest'
import type { Overview } from '../../src/observe/last-hour.ts'
import { DaemonProcess } from './daemon-process.ts'

let daemon: DaemonProcess | null = null
/** The process that answers now. */
let pid = 0
afterEach(async () => {
  if (daemon === null) return
  try {
    process.kill(pid, 'SIGTERM')
  } catch {
    // It has ended.
  }
  await daemon.stop()
  daemon = null
})

async function start(config: object = {}): Promise<DaemonProcess> {
  daemon = await DaemonProcess.start({ config: { upstream: { servers: [] }, ...config } })
  pid = daemon.child.pid!
  return daemon
}

/** A follower of the events. */
async function follow(from: DaemonProcess): Promise<{ next: () => Promise<Overview>; end: () => Promise<void> }> {
  const { body } = await from.get('admin', '/debug/events')
  const reader = body!.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  return {
    next: async () => {
      for (;;) {
        const [, data, rest] = /data: (.*)\n\n([^]*)$/.exec(text) ?? []
        if (data !== undefined) {
          text = rest!
          const overview: Overview = JSON.parse(data)
          return overview
        }
        const { value, done } = await reader.read()
        if (done) throw new Error('the stream has ended')
        text += value
      }
    },
    end: async () => {
      while (!(await reader.read()).done);
    },
  }
}

test('a follower does not hold up the end', async () => {
  const follower = await follow(await start())
  expect((await follower.next()).status.pid).toBe(pid)
  const ended = follower.end()
  // The test fails if the stream breaks off instead, or the process has to be killed.
  expect(await daemon!.end()).toEqual([0, null])
  await ended
})

test('after a handover a follower that comes back is told by the new process', async () => {
  const follower = await follow(await start())
  expect((await follower.next()).status.pid).toBe(pid)
  const ended = follower.end()
  process.kill(pid, 'SIGUSR2')
  pid = Number((await daemon!.line('handed over'))['pid'])
  await ended
  await daemon!.line('byname has stopped')
  expect((await (await follow(daemon!)).next()).status.pid).toBe(pid)
})

test('a name that fails is shown with the server that did not answer, and the sentence begins with it', async () => {
  const silent = createSocket('udp4').bind(0, '127.0.0.1')
  await once(silent, 'listening')
  const server = `127.0.0.1:${silent.address().port}`
  const upstream = { servers: [server], deadlineMs: 1000, attemptTimeoutMs: 100 }
  const follower = await follow(await start({ upstream }))
  const client = createSocket('udp4')
  const { address, port } = daemon!.at()
  const query = dnsPacket.encode({ type: 'query', id: 1, flags: 256, questions: [{ name: 'lost.example', type: 'A' }] })
  client.send(query, port, address)
  await once(client, 'message')
  client.close()
  let overview = await follower.next()
  while (!overview.failures.queries.some(({ reason }) => reason !== null)) overview = await follower.next()
  expect(overview.failures.queries[0]).toMatchObject({
    name: 'lost.example.',
    type: 1,
    rcode: 'SERVFAIL',
    source: 'upstream',
  })
  expect(overview.failures.queries[0]!.reason).toMatch(new RegExp(`${server}: \\d+ timeouts?`))
  expect(overview.status.health).toMatchObject({ state: 'failing' })
  expect(overview.status.health.sentence).toMatch(new RegExp(`^resolver ${server} fails: \\d+ timeouts?`))
  expect(overview.top?.failing.names).toMatchObject([{ name: 'lost.example.', share: 1 }])
  // Not before: probes of a port that is closed fail otherwise.
  silent.close()
})
