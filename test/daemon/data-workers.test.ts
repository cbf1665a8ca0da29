/** The control thread's side: workers that die, come back, and end. */
import { Worker } from 'node:worker_threads'
import { afterEach, describe, expect, test } from 'vitest'
import type { EngineSettings } from '../../src/engine/settings.ts'
import { Cell } from '../../src/stats/counters.ts'
import { startThread, type StartThread } from '../../src/daemon/data-thread.ts'
import { DataWorkers } from '../../src/daemon/data-workers.ts'
import { SEED, settingsWith } from '../engine/engine-under-test.ts'
import { type ReceivedQuery, ScriptedResolver } from '../scenario/scripted-resolver.ts'
import { newCompiler, service } from '../table/compiled.ts'
import {
  DataPlane,
  type DataPlaneOptions,
  type DriverKind,
  openDescriptors,
  sys,
  udpServer,
} from '../worker/data-plane.ts'
import { addressesOf, askTcp, TcpClient, UdpClient } from '../worker/dns-client.ts'
import { until } from '../until.ts'

const TABLE = new Map([service('web', 'shop', ['10.0.0.1'])])
const open: { stop?: () => Promise<void>; close?: () => void }[] = []
afterEach(async () => {
  for (const thing of open.splice(0).toReversed()) await (thing.stop?.() ?? thing.close?.())
})

async function start(options: DataPlaneOptions): Promise<DataPlane> {
  const plane = await DataPlane.start({ table: TABLE, ...options })
  open.push(plane)
  return plane
}

async function client(): Promise<UdpClient> {
  const opened = await UdpClient.open()
  open.push(opened)
  return opened
}

/** Settings that make whoever takes them throw. */
function unusable(settings: EngineSettings): EngineSettings {
  return Object.assign({}, settings, { cache: undefined })
}

/** Ends every worker by an error in its own thread: settings that make it throw. Those that follow are the good ones. */
async function crash(plane: DataPlane): Promise<void> {
  const { restarts } = plane.workers
  const good = plane.settings
  plane.workers.configure(unusable(good))
  plane.workers.configure(good)
  await until(() => expect(plane.workers.restarts).toBe(restarts + plane.workers.counters.length))
  await until(async () => expect(await plane.workers.ping(1000)).toEqual(plane.workers.counters.map(() => true)))
}

describe.each<DriverKind>(['batch', 'dgram, descriptors lent', 'dgram, sockets of its own'])('%s', (driver) => {
  test('a worker that dies comes back with its table, its sockets and its counters', async () => {
    const upstream = await ScriptedResolver.start((query) => query.answer('192.0.2.1'))
    open.push(upstream)
    const plane = await start({ driver, withStream: true, settings: { servers: [udpServer(upstream.port)] } })
    const asking = await client()
    await asking.ask(plane.at(), 'web')
    await asking.ask(plane.at(), 'one.example')
    expect(addressesOf(await askTcp(plane.at(), 'web'))).toEqual(['10.0.0.1'])
    const before = plane.counters

    await crash(plane)
    expect(plane.logged.filter((line) => line.startsWith('error a data worker failed'))).toHaveLength(1)
    expect(addressesOf((await asking.ask(plane.at(), 'web')).packet)).toEqual(['10.0.0.1'])
    expect(addressesOf((await asking.ask(plane.at(), 'two.example')).packet)).toEqual(['192.0.2.1'])
    expect(addressesOf(await askTcp(plane.at(), 'web'))).toEqual(['10.0.0.1'])
    expect(plane.counters.requestsOf(0, 0, 1)).toBe(before.requestsOf(0, 0, 1) + 2)
    expect(plane.counters.requestsOf(1, 0, 1)).toBe(2)
    expect(plane.counters.get(Cell.imageGeneration)).toBe(before.get(Cell.imageGeneration))
    // The new worker takes further tables, and the old one keeps no slot of the pool.
    for (let k = 2; k < 8; k++) {
      // As long as the last but one may still be read, there is no room for another.
      const generation = await until(() => plane.publish(new Map([service('web', 'shop', [`10.0.0.${k}`])])))
      await until(() => expect(plane.counters.get(Cell.imageGeneration)).toBe(generation))
    }
    expect(addressesOf((await asking.ask(plane.at(), 'web')).packet)).toEqual(['10.0.0.7'])
  })

  test('what a dying worker had open is closed', async () => {
    const upstream = await ScriptedResolver.start((query) => query.answer('192.0.2.1'))
    open.push(upstream)
    const plane = await start({ driver, settings: { servers: [udpServer(upstream.port)] } })
    const asking = await client()
    const use = async (): Promise<void> => {
      await Promise.all(
        Array.from({ length: 20 }, (_, k) => asking.ask(plane.at(), `n${plane.workers.restarts}x${k}.example`)),
      )
    }
    await use()
    await crash(plane)
    await use()
    const before = openDescriptors()
    for (let n = 0; n < 2; n++) {
      await crash(plane)
      await use()
    }
    // Sockets towards upstream servers are opened as they are needed, up to four each.
    await until(() => expect(openDescriptors()).toBeLessThanOrEqual(before + 4))
  })

  test('connections outlive the data worker; what it held is given up', async () => {
    const upstream = await ScriptedResolver.start(() => {})
    open.push(upstream)
    const plane = await start({
      driver,
      withStream: true,
      settings: { servers: [udpServer(upstream.port)], attemptTimeoutMs: 60_000, deadlineMs: 60_000 },
    })
    const connection = await TcpClient.open(plane.at())
    open.push(connection)
    const lost = connection.ask('silent.example').catch((error: Error) => error.message)
    await until(() => expect(upstream.queries).toHaveLength(1))
    await crash(plane)
    expect(await lost).toBe('the connection was closed')
    expect(addressesOf(await askTcp(plane.at(), 'web'))).toEqual(['10.0.0.1'])
  })

  test('several workers answer side by side', async () => {
    const upstream = await ScriptedResolver.start((query) => query.answer('192.0.2.1'))
    open.push(upstream)
    const plane = await start({
      driver,
      workers: 2,
      withStream: true,
      settings: { servers: [udpServer(upstream.port)] },
    })
    const clients = await Promise.all(Array.from({ length: 40 }, () => client()))
    const answers = clients.flatMap((asking, k) => [
      asking.ask(plane.at(), 'web'),
      asking.ask(plane.at(), `n${k}.example`),
    ])
    for (const { packet } of await Promise.all(answers)) expect(addressesOf(packet)).toHaveLength(1)
    const shares = plane.workers.counters.map((counters) => counters.requestsOf(0, 0, 1))
    expect(shares.reduce((sum, share) => sum + share)).toBe(80)
    // The kernel spreads clients by a hash of their port: that all forty fall to one has odds of 1 to 2 ** 39.
    expect(Math.min(...shares)).toBeGreaterThan(0)
    expect(addressesOf(await askTcp(plane.at(), 'web'))).toEqual(['10.0.0.1'])
    expect(await plane.workers.flush(null, 10_000)).toBe(40)
    expect(await plane.workers.ping(10_000)).toEqual([true, true])
  })
})

test.each<DriverKind>(['batch', 'dgram, descriptors lent'])(
  '%s: who leaves its listeners answers what it has taken in, and leaves what comes to whoever else reads them',
  async (driver) => {
    const held = Promise.withResolvers<ReceivedQuery>()
    const upstream = await ScriptedResolver.start(held.resolve)
    open.push(upstream)
    const old = await start({ driver, settings: { servers: [udpServer(upstream.port)] } })
    const asking = await client()
    const slow = asking.ask(old.at(), 'slow.example')
    const query = await held.promise
    old.workers.leaveListeners()
    await old.workers.ping(10_000)
    const answer = asking.ask(old.at(), 'web')
    const lent = old.listeners.map((listener) => ({
      ...listener,
      tcpFd: sys.duplicate(listener.tcpFd),
      udpFds: listener.udpFds.map((fd) => sys.duplicate(fd)),
    }))
    await start({ driver, lent, table: new Map([service('web', 'shop', ['10.0.0.2'])]) })
    expect(addressesOf((await answer).packet)).toEqual(['10.0.0.2'])
    query.answer('192.0.2.1')
    expect(await slow).toMatchObject({ from: old.at() })
    expect(addressesOf((await slow).packet)).toEqual(['192.0.2.1'])
  },
)

test('everything is closed at the end', async () => {
  const upstream = await ScriptedResolver.start((query) => query.answer('192.0.2.1'))
  const once = async (): Promise<void> => {
    const plane = await DataPlane.start({
      table: TABLE,
      withStream: true,
      settings: { servers: [udpServer(upstream.port)] },
    })
    const asking = await UdpClient.open()
    await asking.ask(plane.at(), 'one.example')
    await askTcp(plane.at(), 'web')
    asking.close()
    await plane.stop()
  }
  await once()
  const before = openDescriptors()
  await once()
  await once()
  await until(() => expect(openDescriptors()).toBeLessThanOrEqual(before))
  await upstream.stop()
})

test('a worker that cannot start is said so, and not tried for ever without a pause', async () => {
  const plane = await start({})
  const good = plane.settings
  plane.workers.configure(unusable(good))
  await until(() => expect(plane.workers.restarts).toBe(2))
  plane.workers.configure(good)
  const asking = await client()
  expect(addressesOf((await asking.ask(plane.at(), 'web')).packet)).toEqual(['10.0.0.1'])
  expect(plane.workers.restarts).toBeLessThan(10)
})

test('a listener that only gives errors ends its worker, with a word in the log, instead of spinning; a good one is served again', async () => {
  const plane = await start({})
  const [listener] = plane.listeners
  const [good] = listener!.udpFds
  // It is readable, and no socket: the next worker gets it.
  const bad = sys.eventfd()
  open.push({ close: () => sys.close(bad) })
  sys.wake(bad)
  listener!.udpFds[0] = bad
  plane.workers.configure(unusable(plane.settings))
  plane.workers.configure(plane.settings)
  const { address, port } = plane.at()
  const said = `error a data worker failed recvmmsg on ${address} port ${port} gives ENOTSOCK, 1000 times in a row`
  await until(() => expect(plane.logged).toContain(said))
  listener!.udpFds[0] = good!
  const asking = await client()
  expect(addressesOf((await asking.ask(plane.at(), 'web')).packet)).toEqual(['10.0.0.1'])
})

/** Starts threads but where `fails` says so, as Node fails where the kernel gives no thread. */
function starting(fails: (index: number, tries: number) => boolean): StartThread {
  let tries = 0
  return (index) => {
    if (fails(index, ++tries)) throw new Error('Worker initialization failure: EAGAIN')
    return startThread(index)
  }
}

describe.each<DriverKind>(['batch', 'dgram, descriptors lent'])('%s: threads that cannot be started', (driver) => {
  test('are tried again, said so and counted; no image waits for one that is not there', async () => {
    let isShort = false
    const plane = await start({ driver, withStream: true, startThread: starting(() => isShort) })
    isShort = true
    const before = openDescriptors()
    plane.workers.configure(unusable(plane.settings))
    plane.workers.configure(plane.settings)
    const said =
      'error a data worker cannot be started (Worker initialization failure: EAGAIN): raise the limit of threads'
    await until(() => expect(plane.logged.filter((line) => line.startsWith(said)).length).toBeGreaterThan(1))
    expect(plane.workers.restarts).toBeGreaterThan(2)
    expect(await plane.workers.ping(10_000)).toEqual([false])
    expect(openDescriptors()).toBeLessThanOrEqual(before)
    for (let k = 2; k < 9; k++) plane.publish(new Map([service('web', 'shop', [`10.0.0.${k}`])]))
    isShort = false
    const asking = await client()
    expect(addressesOf((await asking.ask(plane.at(), 'web')).packet)).toEqual(['10.0.0.8'])
    expect(addressesOf(await askTcp(plane.at(), 'web'))).toEqual(['10.0.0.8'])
  })

  test('at the start do not keep the others from answering, over TCP as well', async () => {
    const plane = await start({
      driver,
      workers: 2,
      withStream: true,
      startThread: starting((index, tries) => index === 0 && tries < 3),
    })
    for (let k = 0; k < 4; k++) expect(addressesOf(await askTcp(plane.at(), 'web'))).toEqual(['10.0.0.1'])
    await until(async () => expect(await plane.workers.ping(10_000)).toEqual([true, true]))
    for (let k = 0; k < 4; k++) expect(addressesOf(await askTcp(plane.at(), 'web'))).toEqual(['10.0.0.1'])
    expect(plane.workers.restarts).toBe(1)
  })

  test('at the start end it where there is none at all', async () => {
    const line = 'a data worker cannot be started (Worker initialization failure: EAGAIN): raise the limit of threads'
    await expect(DataPlane.start({ driver, workers: 2, startThread: starting(() => true) })).rejects.toThrow(line)
  })
})

test('a script that is missing ends the start with its name', async () => {
  await expect(
    DataPlane.start({
      workers: 2,
      startThread: () => new Worker(new URL('missing.js', import.meta.url)),
    }),
  ).rejects.toThrow(/^a data worker ended before it was ready: Cannot find module .*missing\.js/)
})

test('a request is answered by whoever is there, and those that die while they are asked count as silent', async () => {
  const plane = await start({ workers: 2 })
  plane.workers.configure(unusable(plane.settings))
  const answers = plane.workers.ping(60_000)
  plane.workers.configure(plane.settings)
  expect(await answers).toEqual([false, false])
})

test('no descriptor left to wake a worker by: the start fails and says so, instead of a worker that hears nothing', async () => {
  const EMFILE = 24
  const log = { info: () => {}, warn: () => {}, error: () => {} }
  const workers = new DataWorkers({
    knockFds: () => [],
    onStreamWanted: () => {},
    count: 2,
    driver: 'batch',
    sys: { ...sys, eventfd: () => -EMFILE },
    listeners: () => [],
    settings: settingsWith({}),
    startedAtEpochMs: 0,
    seed: SEED,
    log,
    images: newCompiler().pool,
    startThread,
    onAdopted: () => {},
    onRestarted: () => {},
  })
  await expect(workers.start()).rejects.toThrow('no eventfd for data worker 0 (EMFILE)')
  expect(await workers.stop(1000)).toEqual({ overdue: 0 })
})
