/**
 * Room for a batch of datagrams, laid out once for recvmmsg and sendmmsg in shared memory that never moves:
 *
 * ```
 *  headers   count × mmsghdr (64)     words: the same as 32-bit numbers
 *  iovecs    count × iovec (16)
 *  names     count × 32               sockaddr of the other side
 *  controls  count × 64               packet info, where asked for
 *  bytes     count × slotBytes        the datagrams: slot k begins at k × slotBytes
 * ```
 */
import type { Syscalls } from '../../os/syscalls.ts'

const HEADER = 64
const HEADER_WORDS = 16
const WORD_NAME_LENGTH = 2
const WORD_CONTROL_LENGTH = 10
const WORD_FLAGS = 12
const WORD_RECEIVED = 14
const IOVEC = 16
const IOVEC_WORDS = 4
const WORD_IOVEC_LENGTH = 2
/** Bytes of a name's place; a sockaddr_in6 has 28. */
export const NAME_STRIDE = 32
/** Bytes of a control message's place; packet info takes 32 or 40. */
export const CONTROL_STRIDE = 64

/** One ring of buffers and the structs that point to them. */
export class DatagramRing {
  readonly count: number
  readonly slotBytes: number
  readonly bytes: Uint8Array
  readonly headers: Uint8Array
  readonly names: Uint8Array
  readonly nameWords: Uint32Array
  readonly controls: Uint8Array
  readonly #words: Uint32Array
  readonly #iovecWords: Uint32Array
  readonly #base: bigint
  readonly #nameBytes: number
  readonly #controlBytes: number

  /** `nameBytes`: length of addresses, 0 for connected sockets; `controlBytes`: 0 where no packet info is asked for. */
  constructor(sys: Syscalls, count: number, slotBytes: number, nameBytes: number, controlBytes: number) {
    const iovecsAt = count * HEADER
    const namesAt = iovecsAt + count * IOVEC
    const controlsAt = namesAt + count * NAME_STRIDE
    const bytesAt = controlsAt + count * CONTROL_STRIDE
    const memory = new SharedArrayBuffer(bytesAt + count * slotBytes)
    const base = sys.addressOf(memory)
    this.#base = base
    this.count = count
    this.slotBytes = slotBytes
    this.headers = Buffer.from(memory, 0, iovecsAt)
    this.#words = new Uint32Array(memory, 0, count * HEADER_WORDS)
    this.#iovecWords = new Uint32Array(memory, iovecsAt, count * IOVEC_WORDS)
    this.names = new Uint8Array(memory, namesAt, count * NAME_STRIDE)
    this.nameWords = new Uint32Array(memory, namesAt, (count * NAME_STRIDE) / 4)
    this.controls = new Uint8Array(memory, controlsAt, count * CONTROL_STRIDE)
    this.bytes = new Uint8Array(memory, bytesAt, count * slotBytes)
    this.#nameBytes = nameBytes
    this.#controlBytes = controlBytes
    const headers = new BigUint64Array(memory, 0, count * 8)
    const iovecs = new BigUint64Array(memory, iovecsAt, count * 2)
    for (let k = 0; k < count; k++) {
      iovecs[k * 2] = base + BigInt(bytesAt + k * slotBytes)
      iovecs[k * 2 + 1] = BigInt(slotBytes)
      if (nameBytes > 0) headers[k * 8] = base + BigInt(namesAt + k * NAME_STRIDE)
      headers[k * 8 + 2] = base + BigInt(iovecsAt + k * IOVEC)
      headers[k * 8 + 3] = 1n
      if (controlBytes > 0) headers[k * 8 + 4] = base + BigInt(controlsAt + k * CONTROL_STRIDE)
    }
    this.resetLengths(count)
  }

  /** Makes the first `count` headers ready to receive: the kernel has overwritten their lengths. */
  resetLengths(count: number): void {
    const words = this.#words
    for (let k = 0; k < count; k++) {
      words[k * HEADER_WORDS + WORD_NAME_LENGTH] = this.#nameBytes
      words[k * HEADER_WORDS + WORD_CONTROL_LENGTH] = this.#controlBytes
    }
  }

  /** What the last `setLengths` of slot k said. */
  lengthOf(k: number): number {
    return this.#iovecWords[k * IOVEC_WORDS + WORD_IOVEC_LENGTH]!
  }

  nameLengthOf(k: number): number {
    return this.#words[k * HEADER_WORDS + WORD_NAME_LENGTH]!
  }

  /** Where slot k is in memory. */
  slotAddress(k: number): bigint {
    return this.#base + BigInt(this.bytes.byteOffset + k * this.slotBytes)
  }

  /** Where the name of slot k is in memory. */
  nameAddress(k: number): bigint {
    return this.#base + BigInt(this.names.byteOffset + k * NAME_STRIDE)
  }

  received(k: number): number {
    return this.#words[k * HEADER_WORDS + WORD_RECEIVED]!
  }

  flags(k: number): number {
    return this.#words[k * HEADER_WORDS + WORD_FLAGS]!
  }

  controlLength(k: number): number {
    return this.#words[k * HEADER_WORDS + WORD_CONTROL_LENGTH]!
  }

  /** Sets how much of slot k is to be sent, to a name of `nameBytes` with `controlBytes` of control message. */
  setLengths(k: number, bytes: number, nameBytes: number, controlBytes: number): void {
    this.#iovecWords[k * IOVEC_WORDS + WORD_IOVEC_LENGTH] = bytes
    const at = k * HEADER_WORDS
    this.#words[at + WORD_NAME_LENGTH] = nameBytes
    this.#words[at + WORD_CONTROL_LENGTH] = controlBytes
  }

  /** The headers from slot k on, for going on after a partial send. */
  headersFrom(k: number): Uint8Array {
    return this.headers.subarray(k * HEADER)
  }

  /** Messages of a ring are datagrams, from `from` up to `count`. */
  datagrams(from: number, count: number): number {
    return count - from
  }
}
