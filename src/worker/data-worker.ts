/**
 * Thread entry of a data worker: builds an engine, puts a driver before it and reads the control thread's mail. It never
 * touches a console: with the batch driver its event loop does not turn.
 */
import { type MessagePort, parentPort } from 'node:worker_threads'
import { collectBuffers, collectGarbage } from '../base/garbage.ts'
import { printable } from '../base/printable.ts'
import { type RequestHandlers, respond } from '../base/thread-requests.ts'
import { Engine } from '../engine/engine.ts'
import { explainQuery } from '../engine/explain.ts'
import type { EngineSettings } from '../engine/settings.ts'
import { loadSyscalls, type Syscalls } from '../os/syscalls.ts'
import { QueryTap } from '../querylog/query-tap.ts'
import { WorkerCounters } from '../stats/counters.ts'
import { Image } from '../table/image.ts'
import { BatchDriver } from './batch/batch-driver.ts'
import { DgramDriver } from './dgram/dgram-driver.ts'
import type { Driver, DriverContext } from './driver.ts'
import type { FromWorker, ToWorker, WorkerRequests, WorkerStart } from './mailbox.ts'
import { randomNumbers } from './random-numbers.ts'
import { StreamWorkerLink } from './stream-worker-link.ts'

/** Memory of plug-ins that may be garbage at a time: a worker that waits collects none by itself, and V8 waits for much more. */
const MOST_DISCARDED_BYTES = 32 * 1024 * 1024

function main(start: WorkerStart, control: MessagePort): void | Promise<void> {
  const post = (message: FromWorker): void => control.postMessage(message)
  const counters = new WorkerCounters(start.counters)
  const sys = syscallsFor(start.driver)
  const random = randomNumbers(sys)
  const waiters = Math.min(16_384, start.settings.maxInFlight) * 2
  let discardedBytes = 0
  const driver = makeDriver(start, sys, control, counters, random, waiters)
  /** The driver's clock counts from boot, the control thread's from 1970. */
  const localSettings = (settings: EngineSettings): EngineSettings => ({
    ...settings,
    startedAtMs: driver.now() - (Date.now() - start.startedAtEpochMs),
    ...(settings.loopProbe && { loopProbe: { ...settings.loopProbe, sends: start.index === 0 } }),
  })
  const engine = new Engine({
    settings: localSettings(start.settings),
    outlet: driver,
    counters,
    random,
    seed: start.seed,
    now: driver.now(),
    onLoop: (server, from) => post({ kind: 'loop', server, from }),
    tap: new QueryTap(start.queryRing, random, Date.now),
    onStormsOff: (domain, why) => post({ kind: 'stormsOff', domain, why }),
    onRuleMatch: (match) => post({ kind: 'ruleMatch', match }),
    pluginEvents: {
      wallClock: Date.now,
      log: (plugin, text) => {
        const fields = { plugin, text: printable(new TextDecoder().decode(text)) }
        post({ kind: 'log', level: 'info', fields, message: 'a plug-in says' })
      },
      switchedOff: (id, why) => post({ kind: 'pluginOff', id, why }),
      discarded: (bytes) => {
        discardedBytes += bytes
        if (discardedBytes < MOST_DISCARDED_BYTES) return
        discardedBytes = 0
        collectBuffers()
      },
    },
  })
  const stream = new StreamWorkerLink(waiters, () => post({ kind: 'streamWanted' }))
  const handlers: RequestHandlers<WorkerRequests> = {
    ping: () => true,
    collect: () => {
      collectGarbage()
      return true
    },
    flush: (name) => flush(engine, name),
    explain: ({ query, from, plugins }) => explainQuery(engine, query, from, plugins),
  }
  const adopt = (buffer: SharedArrayBuffer): void => {
    const image = new Image(buffer)
    engine.adopt(image)
    post({ kind: 'adopted', generation: image.generation })
  }
  const context: DriverContext = {
    engine,
    stream,
    log: (level, fields, message) => post({ kind: 'log', level, fields, message }),
    receive: (message: ToWorker) => {
      switch (message.kind) {
        case 'image':
          return adopt(message.image)
        case 'settings': {
          driver.configure(message.settings)
          return engine.configure(localSettings(message.settings))
        }
        case 'stream':
          return stream.attach(message.port)
        case 'request':
          return respond(handlers, message, post)
        case 'leaveListeners':
          return driver.leaveListeners()
        case 'drain':
          return driver.drain(message.deadlineMs)
      }
    },
  }
  if (start.image !== null) adopt(start.image)
  post({ kind: 'ready' })
  const done = driver.run(context)
  const end = (): void => {
    stream.port?.close()
    control.close()
  }
  return done === undefined ? end() : done.then(end)
}

/** Null for the driver that makes none. */
function syscallsFor(driver: WorkerStart['driver']): Syscalls | null {
  if (driver === 'dgram') return null
  const sys = loadSyscalls()
  // The control thread has tried it: that it fails here is a bug, and the thread's end says so.
  if (typeof sys === 'string') throw new Error(sys)
  return sys
}

function makeDriver(
  start: WorkerStart,
  sys: Syscalls | null,
  control: MessagePort,
  counters: WorkerCounters,
  random: () => number,
  waiters: number,
): Driver {
  const { listeners, settings } = start
  if (sys === null) return new DgramDriver({ counters, listeners, control, random, settings, waiters })
  const openedFds = new Int32Array(start.openedFds)
  return new BatchDriver({
    sys,
    counters,
    listeners,
    control,
    wakeFd: start.wakeFd,
    knockFds: start.knockFds,
    openedFds,
    random,
    settings,
    waiters,
  })
}

function flush(engine: Engine, name: Uint8Array | null): number {
  if (engine.cache === null) return 0
  return name === null ? engine.cache.flush() : engine.cache.flushName(name)
}

if (parentPort !== null) {
  const control = parentPort
  control.once('message', (start: WorkerStart) => void main(start, control))
}
