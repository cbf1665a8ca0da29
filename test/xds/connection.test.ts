import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { connect, createServer, type Socket } from 'node:net'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { afterEach, describe, expect, it } from 'vitest'
import { XdsOrigin } from '../../src/tables/xds-origin.ts'
import { DEFAULT_TIMINGS } from '../../src/xds/ads-stream.ts'
import { plaintext } from '../../src/xds/credentials.ts'
import { buildNode } from '../../src/xds/node.ts'
import type { XdsState } from '../../src/xds/xds-state.ts'
import { WAIT_MS } from '../wait.ts'
import { Inbox } from './inbox.ts'
import { ScriptedAdsServer } from './scripted-ads-server.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

const script = fileURLToPath(new URL('exit-cleanly.ts', import.meta.url))
const run = promisify(execFile)
const log = (): void => {}

describe('a process whose client stops', () => {
  it.each([['connected'], ['connecting']])('exits by itself when stopped while %s', async (when) => {
    const server = await ScriptedAdsServer.start()
    closing.push(() => server.stop())
    server.onStream = (stream) => stream.push({ tables: [Buffer.alloc(5_000_000)] })
    const { stdout } = await run(process.execPath, [script, server.address, when], { timeout: WAIT_MS })
    expect(stdout).toContain('stopped')
  })

  it('exits by itself when stopped while it waits for the next attempt', async () => {
    const { stdout } = await run(process.execPath, [script, '127.0.0.1:1', 'waiting'], { timeout: WAIT_MS })
    expect(stdout).toBe('stopped\n')
  })
})

describe('a connection that went dead without a word', () => {
  it('is given up when its pings get no answer', async () => {
    const server = await ScriptedAdsServer.start()
    closing.push(() => server.stop())
    // A wire in between that a test can cut: nothing passes, nobody is told.
    const wires: Socket[] = []
    const proxy = createServer((near) => {
      const far = connect(server.port, '127.0.0.1')
      wires.push(near, far)
      near.pipe(far).pipe(near)
      for (const socket of [near, far]) socket.on('error', () => {})
    })
    proxy.listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    const address = proxy.address()
    const port = typeof address === 'object' && address !== null ? address.port : 0
    closing.push(() => {
      proxy.close()
      for (const wire of wires) wire.destroy()
    })

    const states: Inbox<XdsState> = new Inbox()

    const client = new XdsOrigin({
      addresses: [`127.0.0.1:${port}`],
      delta: true,
      node: buildNode({
        identity: {
          namespace: 'a',
          domain: 'b',
          pod: '',
          ip: '',
          serviceAccount: '',
          cluster: '',
          network: '',
          labels: {},
        },
        metadata: {},
        ownAddresses: [],
        version: '0',
      }),
      credentials: plaintext,
      sink: { accept: () => ({ accepted: true, changed: true }) },
      log: { debug: log, info: log, warn: log, error: log },
      random: () => 0,
      backoff: { firstMs: 1, mostMs: 1, factor: 1 },
      timings: { keepaliveMs: 50, keepaliveTimeoutMs: 50 },
      onState: (state) => states.put(state),
    })
    closing.push(() => client.stop(1000))
    client.start()
    const stream = await server.streams.next()
    stream.push()
    await states.nextWhere((state) => state.accepted === 1)
    for (const wire of wires) wire.unpipe().pause()
    const lost = await states.nextWhere((state) => !state.connected)
    expect(lost.lastError).toBe('UNAVAILABLE: Connection dropped')
    const again = await server.streams.next()
    again.push()
    await states.nextWhere((state) => state.connected)
  })
})

it('pings every 30 s and waits 10 s for the answer, as istiod allows', () => {
  expect(DEFAULT_TIMINGS).toMatchObject({ keepaliveMs: 30_000, keepaliveTimeoutMs: 10_000 })
})
