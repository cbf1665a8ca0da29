/**
 * The shared buffers that images are written to: two in alternation, a third while a worker lags behind. A new buffer for
 * each push would be simpler, but a worker that allocates nothing never collects the old ones (measured: 3 GB after 100 pushes of
 * 30 MB). A slot is rewritten only when no reader can still look at it.
 *
 * ```
 *  free ──acquire──▶ writing ──published──▶ newest ──a newer one published──▶ superseded
 *   ▲                   │                                                         │
 *   └──────abandon──────┘            every reader past it, nobody retains it      │
 *   └─────────────────────────────────────────────────────────────────────────────┘
 * ```
 */

const MAX_SLOTS = 3
const MIN_BYTES = 65_536
/** A slot this much larger than its next image, and not small anyway, is given back: its old pages would stay resident. */
const SHRINK_FACTOR = 4
const SHRINK_MIN_BYTES = 1_048_576

/** A buffer that its holder may write to until it is published or abandoned. */
export interface ImageSlot {
  buffer: SharedArrayBuffer
  /** Of the image in it or about to be: rising by one with each `acquire`. */
  generation: number
}

interface PoolSlot extends ImageSlot {
  state: 'free' | 'writing' | 'published'
  /** Readers other than workers (a file being written). */
  retained: number
}

/** Belongs to the control thread. Workers are named by number; one that starts anew has a new number or went first. */
export class ImagePool {
  private readonly slots: PoolSlot[] = []
  /** The oldest generation that each worker may still read. */
  private readonly workers: Map<number, number> = new Map()
  private lastGeneration = 0
  private newest = 0

  /**
   * A slot of at least `minBytes` that nobody reads, or null while all are read: try again after the next
   * acknowledgement or release. What its bytes are is unspecified. Pages that are never touched cost no memory.
   */
  acquire(minBytes: number): ImageSlot | null {
    let slot = this.slots.find((candidate) => this.isFree(candidate) && fits(candidate.buffer.byteLength, minBytes))
    slot ??= this.slots.find((candidate) => this.isFree(candidate))
    if (slot === undefined) {
      if (this.slots.length === MAX_SLOTS) return null
      slot = { buffer: new SharedArrayBuffer(sizeFor(minBytes)), generation: 0, state: 'free', retained: 0 }
      this.slots.push(slot)
    } else if (!fits(slot.buffer.byteLength, minBytes)) slot.buffer = new SharedArrayBuffer(sizeFor(minBytes))
    slot.state = 'writing'
    slot.generation = ++this.lastGeneration
    return slot
  }

  /** Gives a slot that is being written a buffer of at least `minBytes`, doubled at least, with its first `usedBytes`. */
  enlarge(slot: ImageSlot, minBytes: number, usedBytes: number): void {
    const old = slot.buffer
    slot.buffer = new SharedArrayBuffer(sizeFor(Math.max(minBytes, old.byteLength * 2)))
    new Uint8Array(slot.buffer).set(new Uint8Array(old, 0, usedBytes))
  }

  /** The image of this generation is complete; workers that start from now on get it. */
  published(generation: number): void {
    const slot = this.slots.find((candidate) => candidate.generation === generation)
    if (slot?.state !== 'writing') throw new Error(`generation ${generation} is not being written`)
    slot.state = 'published'
    this.newest = generation
  }

  /** A slot that was acquired will not be published. */
  abandon(generation: number): void {
    const slot = this.slots.find((candidate) => candidate.generation === generation)
    if (slot?.state === 'writing') slot.state = 'free'
  }

  /** A worker starts and will be given the newest image, or one that comes later. */
  workerStarted(worker: number): void {
    this.workers.set(worker, this.newest)
  }

  /** The worker reads the image of this generation and none before it any more. */
  acknowledged(worker: number, generation: number): void {
    const before = this.workers.get(worker)
    // A late message of a worker that is gone must not keep its images for ever.
    if (before === undefined || generation <= before) return
    this.workers.set(worker, generation)
    this.dropSpares()
  }

  /** The worker's thread has ended: it reads nothing any more. */
  workerGone(worker: number): void {
    this.workers.delete(worker)
    this.dropSpares()
  }

  /** Keeps the image of this generation from being rewritten until `release`, e.g. while it is written to a file. False if it is gone already. */
  retain(generation: number): boolean {
    const slot = this.slots.find((candidate) => candidate.generation === generation && candidate.state === 'published')
    if (slot === undefined || this.isFree(slot)) return false
    slot.retained++
    return true
  }

  /** Ends one `retain`. */
  release(generation: number): void {
    const slot = this.slots.find((candidate) => candidate.generation === generation && candidate.retained > 0)
    if (slot === undefined) return
    slot.retained--
    this.dropSpares()
  }

  /** Bytes of all slots, touched or not. */
  get bytes(): number {
    return this.slots.reduce((sum, slot) => sum + slot.buffer.byteLength, 0)
  }

  private isFree(slot: PoolSlot): boolean {
    if (slot.state === 'free') return true
    if (slot.state === 'writing' || slot.retained > 0 || slot.generation === this.newest) return false
    for (const oldest of this.workers.values()) if (oldest <= slot.generation) return false
    return true
  }

  /** Keeps one free slot for the next push and gives up others: the third was for a worker that lagged. */
  private dropSpares(): void {
    const free = this.slots.filter((slot) => this.isFree(slot))
    for (const slot of free.slice(1)) this.slots.splice(this.slots.indexOf(slot), 1)
  }
}

function fits(bytes: number, minBytes: number): boolean {
  return bytes >= minBytes && (bytes <= SHRINK_MIN_BYTES || bytes <= minBytes * SHRINK_FACTOR)
}

/** The next of 1, 1.25, 1.5, 1.75 times a power of two: growth by steps, with little that is never used. */
function sizeFor(minBytes: number): number {
  if (minBytes <= MIN_BYTES) return MIN_BYTES
  const step = 2 ** Math.max(14, Math.ceil(Math.log2(minBytes)) - 3)
  return Math.ceil(minBytes / step) * step
}
