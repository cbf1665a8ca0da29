/**
 * Ends the process when a packet takes too long, and says which one it was: a thread of its own, because the one that
 * hangs cannot. Both share the packet's memory and a count of packets.
 */
import { Worker, isMainThread, workerData } from 'node:worker_threads'
import { writeSync } from 'node:fs'

const LOOK_MS = 1000
/** What has not moved on for so long hangs, on however busy a machine. */
const HANG_LOOKS = 30

interface Watched {
  packet: SharedArrayBuffer
  /** Packets begun, and the length of the one in hand. */
  progress: SharedArrayBuffer
  about: string
}

export class Watchdog {
  readonly #progress: Int32Array
  readonly #worker: Worker

  /** `about`: what the message says before the packet. */
  constructor(packet: SharedArrayBuffer, about: string) {
    const progress = new SharedArrayBuffer(8)
    this.#progress = new Int32Array(progress)
    const watched: Watched = { packet, progress, about }
    this.#worker = new Worker(new URL(import.meta.url), { workerData: watched })
    this.#worker.unref()
  }

  /** Another packet, which had this length when the last one ended. */
  tick(length: number): void {
    this.#progress[0]!++
    this.#progress[1] = length
  }

  async stop(): Promise<void> {
    await this.#worker.terminate()
  }
}

function watch({ packet, progress, about }: Watched): void {
  const cells = new Int32Array(progress)
  let last = -1
  let looks = 0
  setInterval(() => {
    const now = Atomics.load(cells, 0)
    looks = now === last ? looks + 1 : 0
    last = now
    if (looks < HANG_LOOKS) return
    const bytes = Buffer.from(packet).subarray(0, 600).toString('hex')
    writeSync(2, `${about}: packet ${now} hangs; the packet in hand begins with ${bytes}\n`)
    process.kill(process.pid, 'SIGKILL')
  }, LOOK_MS)
}

function isWatched(data: unknown): data is Watched {
  return typeof data === 'object' && data !== null && 'progress' in data
}

if (!isMainThread && isWatched(workerData)) watch(workerData)
