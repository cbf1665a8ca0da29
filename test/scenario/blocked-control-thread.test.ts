/** Nothing that the control thread does delays an answer: here it is the test's own thread, which does nothing but count. */
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Worker } from 'node:worker_threads'
import { expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { runDaemon, type StartedDaemon } from '../../src/daemon/daemon.ts'
import { nameTableToJson } from '../../src/table/nds.ts'
import { addressesOf, askTcp, UdpClient } from '../worker/dns-client.ts'
import { services } from './scenario.ts'
import { until } from '../until.ts'

const ANSWERS = 200
const MOST_MS = 15_000

test.each(['batch', 'dgram'])(
  'driver %s: answers go on over UDP and TCP while the control thread is blocked',
  async (driver) => {
    const folder = mkdtempSync(join(tmpdir(), 'byname-blocked-'))
    const table = join(folder, 'table.json')
    const file = join(folder, 'byname.yaml')
    writeFileSync(table, nameTableToJson(services({ web: '10.0.0.1' })))
    const config = {
      driver,
      listen: ['127.0.0.1:0'],
      mesh: { source: { table } },
      upstream: { resolvConf: join(folder, 'resolv.conf') },
      metrics: { listen: '' },
      admin: { listen: '' },
      log: { level: 'error' },
    }
    writeFileSync(file, JSON.stringify(config))
    writeFileSync(config.upstream.resolvConf, '')
    const ending = new AbortController()
    const starting = Promise.withResolvers<StartedDaemon>()
    const ended = runDaemon({
      ...loadConfig({ file, env: {} }),
      signal: ending.signal,
      env: {},
      onStarted: starting.resolve,
    })
    const at = (await starting.promise).listen[0]!
    const client = await UdpClient.open()
    await until(async () => expect(addressesOf((await client.ask(at, 'web')).packet)).toEqual(['10.0.0.1']))
    expect(addressesOf(await askTcp(at, 'web'))).toEqual(['10.0.0.1'])
    client.close()

    const counts = new Int32Array(new SharedArrayBuffer(8))
    const asker = new Worker(new URL('asker.ts', import.meta.url), { workerData: { at, counts } })
    await once(asker, 'online')
    // The first answers show that it is up.
    await until(() => expect(Math.min(Atomics.load(counts, 0), Atomics.load(counts, 1))).toBeGreaterThan(0))

    const before = [Atomics.load(counts, 0), Atomics.load(counts, 1)]
    const startedAt = performance.now()
    let blockedMs = 0
    // No event of this thread is handled in here.
    while (
      blockedMs < MOST_MS &&
      (blockedMs < 500 || counts.some((_, k) => Atomics.load(counts, k) - before[k]! < ANSWERS))
    ) {
      blockedMs = performance.now() - startedAt
    }
    expect(Atomics.load(counts, 0) - before[0]!).toBeGreaterThanOrEqual(ANSWERS)
    expect(Atomics.load(counts, 1) - before[1]!).toBeGreaterThanOrEqual(ANSWERS)

    await asker.terminate()
    ending.abort()
    await ended
    rmSync(folder, { recursive: true })
  },
)
