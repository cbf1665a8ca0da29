/**
 * Datagrams to the same socket as one message: the kernel takes it through routing, filters and queues once and cuts it into
 * datagrams at the end (UDP generic segmentation offload, Linux 4.18; udp(7), UDP_SEGMENT). A program that asks for A and
 * AAAA at once gets both replies so, and under load sending is what most of the time goes into.
 *
 * The kernel cuts every so many bytes, so the segments of a message are of one size but for the last, which may be
 * shorter: datagrams of one size to one socket are a message, and one that is alone of its size ends a message of longer
 * ones. Nothing is copied: a message's iovecs point to the slots of the ring that hold its datagrams.
 *
 * ```
 *  slots of the ring   0: to a, 60 B   1: to b, 60 B   2: to a, 48 B   3: to b, 72 B   4: to a, 60 B
 *  messages            to a: 0 4 2, cut every 60 B     to b: 3 1, cut every 72 B
 * ```
 */
import { AF_INET, SOL_UDP, type Syscalls, UDP_SEGMENT } from '../../os/syscalls.ts'
import { type DatagramRing, NAME_STRIDE } from './datagram-ring.ts'

const HEADER = 64
const HEADER_WORDS = 16
const WORD_NAME = 0
const WORD_NAME_LENGTH = 2
const WORD_IOVECS = 4
const WORD_IOVEC_COUNT = 6
const WORD_CONTROL_LENGTH = 10
const IOVEC = 16
const IOVEC_WORDS = 4
const NAME_WORDS = NAME_STRIDE / 4
/** Words of a sockaddr that tell sockets apart: family, port and address; for IPv6 flow and scope as well. */
const WORDS_V4 = 2
const WORDS_V6 = 7
/** A `struct cmsghdr` (length u64, level i32, type i32) and the size as u16, padded to 8. */
const CONTROL = 24
const CONTROL_SHORTS = CONTROL / 2
const CONTROL_USED = 18
const SHORT_LEVEL = 4
const SHORT_TYPE = 6
const SHORT_SIZE = 8
/** Larger ones go alone: a segment must fit the path's MTU, a datagram of its own may be fragmented. 1,280 less 48. */
const MOST_SEGMENT_BYTES = 1232
/** A message with its headers is at most 65,535. */
const MOST_MESSAGE_BYTES = 65_000
/** Places of the tables that find the messages to a socket. */
const PLACES = 128

/** Batches at most that are sent datagram by datagram before messages of several are tried again. */
const MOST_BATCHES_ALONE = 4096

/** Groups datagrams of one batch. */
export class DatagramGroups {
  /** `mmsghdr` structs of the messages. */
  readonly headers: Uint8Array
  readonly #ring: DatagramRing
  readonly #words: Uint32Array
  readonly #iovecWords: Uint32Array
  readonly #controls: Uint16Array
  /** Addresses of names and of slots in the ring, and of the own iovecs: two words each. */
  readonly #names: Uint32Array
  readonly #slots: Uint32Array
  readonly #iovecs: Uint32Array
  /** The message last begun for sockets (and sizes) of a place; −1: none. */
  readonly #places: Int16Array = new Int16Array(PLACES)
  /** By message: its first and last slot, bytes of a segment, and how many there are. */
  readonly #first: Int16Array
  readonly #last: Int16Array
  readonly #segmentBytes: Uint16Array
  readonly #members: Uint8Array
  /** By slot: the next of its message; −1: none. */
  readonly #next: Int16Array
  /** Batches yet to be sent datagram by datagram, and how many it will be after the next refusal: twice as many each time. */
  #batchesAlone = 0
  #nextAlone = 1

  /** For what is sent from `ring`, without control messages of its own; to one peer, where it has no names. */
  constructor(sys: Syscalls, ring: DatagramRing) {
    const { count } = ring
    const iovecsAt = count * HEADER
    const controlsAt = iovecsAt + count * IOVEC
    const memory = new SharedArrayBuffer(controlsAt + count * CONTROL)
    const base = sys.addressOf(memory)
    this.#ring = ring
    this.headers = Buffer.from(memory, 0, iovecsAt)
    this.#words = new Uint32Array(memory, 0, count * HEADER_WORDS)
    this.#iovecWords = new Uint32Array(memory, iovecsAt, count * IOVEC_WORDS)
    this.#controls = new Uint16Array(memory, controlsAt, count * CONTROL_SHORTS)
    this.#first = new Int16Array(count)
    this.#last = new Int16Array(count)
    this.#segmentBytes = new Uint16Array(count)
    this.#members = new Uint8Array(count)
    this.#next = new Int16Array(count)
    this.#names = addresses(count, (k) => ring.nameAddress(k))
    this.#slots = addresses(count, (k) => ring.slotAddress(k))
    this.#iovecs = addresses(count, (k) => base + BigInt(iovecsAt + k * IOVEC))
    const headers = new BigUint64Array(memory, 0, count * 8)
    for (let k = 0; k < count; k++) {
      headers[k * 8 + 4] = base + BigInt(controlsAt + k * CONTROL)
      const at = k * CONTROL_SHORTS
      this.#controls[at] = CONTROL_USED
      this.#controls[at + SHORT_LEVEL] = SOL_UDP
      this.#controls[at + SHORT_TYPE] = UDP_SEGMENT
    }
  }

  /**
   * Lays the first `count` datagrams of the ring out as messages. Returns how many: `count`, and the ring itself is to be
   * sent, when no two belong together or messages of several were refused of late.
   */
  plan(count: number): number {
    if (count === 1) return count
    if (this.#batchesAlone > 0) {
      this.#batchesAlone--
      return count
    }
    const messages = this.#joinLone(this.#joinEqual(count))
    if (messages < count) this.#layOut(messages)
    return messages
  }

  /** Makes a message of those of one size to one socket. Returns how many messages there are. */
  #joinEqual(count: number): number {
    const ring = this.#ring
    const places = this.#places.fill(-1)
    let messages = 0
    for (let k = 0; k < count; k++) {
      const bytes = ring.lengthOf(k)
      const place = (placeOf(ring.nameWords[k * NAME_WORDS]!) ^ (bytes * 5)) & (PLACES - 1)
      const message = places[place]!
      if (message >= 0 && this.#segmentBytes[message] === bytes && this.#takes(message, k, bytes)) {
        this.#append(message, k)
        continue
      }
      places[place] = messages
      this.#begin(messages++, k, bytes)
    }
    return messages
  }

  /** Puts those that are alone of their size behind longer ones to their socket. Returns how many messages are left. */
  #joinLone(count: number): number {
    const { nameWords } = this.#ring
    const places = this.#places.fill(-1)
    let left = count
    for (let message = 0; message < count; message++) {
      const place = placeOf(nameWords[this.#first[message]! * NAME_WORDS]!) & (PLACES - 1)
      const other = places[place]!
      places[place] = message
      if (other < 0) continue
      const isLonger = this.#segmentBytes[message]! > this.#segmentBytes[other]!
      const long = isLonger ? message : other
      const short = isLonger ? other : message
      const slot = this.#first[short]!
      if (this.#members[short]! > 1 || !this.#takes(long, slot, this.#segmentBytes[short]!)) {
        places[place] = long
        continue
      }
      this.#append(long, slot)
      this.#members[short] = 0
      // Its last segment is shorter now: nothing may follow it.
      places[place] = -1
      left--
    }
    if (left < count) this.#closeUp(count)
    return left
  }

  /** Takes out the messages that have nothing in them any more. */
  #closeUp(count: number): void {
    let to = 0
    for (let message = 0; message < count; message++) {
      if (this.#members[message] === 0) continue
      this.#first[to] = this.#first[message]!
      this.#last[to] = this.#last[message]!
      this.#segmentBytes[to] = this.#segmentBytes[message]!
      this.#members[to++] = this.#members[message]!
    }
  }

  #begin(message: number, slot: number, bytes: number): void {
    this.#first[message] = slot
    this.#last[message] = slot
    this.#next[slot] = -1
    this.#segmentBytes[message] = bytes
    this.#members[message] = 1
  }

  #append(message: number, slot: number): void {
    this.#next[this.#last[message]!] = slot
    this.#last[message] = slot
    this.#next[slot] = -1
    this.#members[message]!++
  }

  /** Whether a message may have the datagram of `bytes` in `slot` at its end. */
  #takes(message: number, slot: number, bytes: number): boolean {
    const segmentBytes = this.#segmentBytes[message]!
    if (bytes > segmentBytes || segmentBytes > MOST_SEGMENT_BYTES) return false
    if ((this.#members[message]! + 1) * segmentBytes > MOST_MESSAGE_BYTES) return false
    return isSamePeer(this.#ring.nameWords, this.#first[message]! * NAME_WORDS, slot * NAME_WORDS)
  }

  #layOut(messages: number): void {
    let iovec = 0
    for (let message = 0; message < messages; message++) {
      const members = this.#members[message]!
      this.#layHeader(message, this.#first[message]!, iovec, members)
      if (members > 1) this.#controls[message * CONTROL_SHORTS + SHORT_SIZE] = this.#segmentBytes[message]!
      for (let k = this.#first[message]!; k >= 0; k = this.#next[k]!) this.#layIovec(iovec++, k)
    }
  }

  #layHeader(message: number, slot: number, iovec: number, members: number): void {
    const words = this.#words
    const at = message * HEADER_WORDS
    words[at + WORD_NAME] = this.#names[slot * 2]!
    words[at + WORD_NAME + 1] = this.#names[slot * 2 + 1]!
    words[at + WORD_NAME_LENGTH] = this.#ring.nameLengthOf(slot)
    words[at + WORD_IOVECS] = this.#iovecs[iovec * 2]!
    words[at + WORD_IOVECS + 1] = this.#iovecs[iovec * 2 + 1]!
    words[at + WORD_IOVEC_COUNT] = members
    words[at + WORD_CONTROL_LENGTH] = members > 1 ? CONTROL : 0
  }

  #layIovec(iovec: number, slot: number): void {
    const at = iovec * IOVEC_WORDS
    this.#iovecWords[at] = this.#slots[slot * 2]!
    this.#iovecWords[at + 1] = this.#slots[slot * 2 + 1]!
    this.#iovecWords[at + 2] = this.#ring.lengthOf(slot)
  }

  /** The headers from message k on, for going on after a partial send. */
  headersFrom(k: number): Uint8Array {
    return this.headers.subarray(k * HEADER)
  }

  /** Datagrams in the messages from `from` up to `count`. */
  datagrams(from: number, count: number): number {
    let sum = 0
    for (let message = from; message < count; message++) sum += this.#members[message]!
    return sum
  }

  isGroup(message: number): boolean {
    return this.#members[message]! > 1
  }

  /**
   * The kernel will not have message `from`: there is no checksum offload on the way out, the path's MTU is smaller, or
   * something passing. What is in it and in those after it, up to `count`, becomes a message each, the first of them number
   * 0. Returns how many. The next batches are left alone, more of them each time, and then it is tried again.
   */
  ungroup(from: number, count: number): number {
    this.#batchesAlone = this.#nextAlone
    this.#nextAlone = Math.min(MOST_BATCHES_ALONE, this.#nextAlone * 2)
    const slots: number[] = []
    for (let message = from; message < count; message++) {
      for (let k = this.#first[message]!; k >= 0; k = this.#next[k]!) slots.push(k)
    }
    slots.forEach((slot, message) => this.#begin(message, slot, this.#ring.lengthOf(slot)))
    this.#layOut(slots.length)
    return slots.length
  }

  /** The messages are sent: if none was refused, the next refusal is the first again. */
  sent(): void {
    if (this.#batchesAlone === 0) this.#nextAlone = 1
  }
}

/** Spreads sockets by their port, the upper half of a sockaddr's first word (its low byte comes first). */
function placeOf(word: number): number {
  return (word >>> 24) ^ (word >>> 17)
}

/** Whether two sockaddrs in a ring's `nameWords` are the same socket's. */
function isSamePeer(words: Uint32Array, a: number, b: number): boolean {
  const last = (words[a]! & 0xffff) === AF_INET ? WORDS_V4 : WORDS_V6
  for (let i = 0; i < last; i++) if (words[a + i] !== words[b + i]) return false
  return true
}

function addresses(count: number, of: (k: number) => bigint): Uint32Array {
  const words = new BigUint64Array(count)
  for (let k = 0; k < count; k++) words[k] = of(k)
  return new Uint32Array(words.buffer)
}
