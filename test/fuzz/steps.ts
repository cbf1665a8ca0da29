/**
 * What is done to an engine, one step after the other, as text that can be replayed:
 *
 * ```
 *  q3:0001…     a query of client 3 (harness.ts)          x3:0001…   its first bytes, the datagram was too large
 *  r9.0:0001…   a reply to the message sent last (.1: to the one before), flags 9 (ReplyFlag)
 *  s2.0         the upstream query asked for last fails  e0.0       its socket reports an error
 *  t250         250 ms pass                               z          nothing comes until all is quiet
 *  c17          settings of seed 17                       a1         name table 1
 * ```
 */
import type { Packet } from './packet.ts'

export const ReplyFlag = { ID: 1, SOCKET: 2, CUT: 4, QUESTION: 8 } as const

const HEAD = 12

export interface Step {
  kind: string
  a: number
  b: number
  bytes: Uint8Array
}

const NO_BYTES = new Uint8Array(0)

export function stepText({ kind, a, b, bytes }: Step): string {
  const numbers = kind === 'z' ? '' : kind === 'r' || kind === 's' || kind === 'e' ? `${a}.${b}` : String(a)
  return kind + numbers + (bytes.length > 0 ? `:${Buffer.from(bytes).toString('hex')}` : '')
}

/** Reads steps separated by blanks. A packet alone, of a header at least, is a query of client 0. */
export function parseSteps(text: string): Step[] {
  return text
    .trim()
    .split(/\s+/)
    .map((one) => {
      if (/^([0-9a-f]{2}){12,}$/.test(one))
        return { kind: 'q', a: 0, b: 0, bytes: Uint8Array.from(Buffer.from(one, 'hex')) }
      const match = /^([a-z])(\d+(?:\.\d+)?)?(?:\.(\d+))?(?::([0-9a-f]*))?$/.exec(one)
      if (match === null) throw new Error(`not a step: ${one}`)
      const [a, b] = (match[2] ?? '0').split('.')
      // `t0.25` is a time with a fraction, `r9.1` two numbers.
      const isTime = match[1] === 't'
      return {
        kind: match[1]!,
        a: isTime ? Number(match[2]) : Number(a),
        b: isTime ? 0 : Number(b ?? 0),
        bytes: match[4] === undefined ? NO_BYTES : Uint8Array.from(Buffer.from(match[4], 'hex')),
      }
    })
}

/** The steps since an engine was made, in one stretch of memory. What does not fit any more starts it anew. */
export class StepLog {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #used = 0
  /** True while every step is there. */
  isWhole = true

  constructor(capacity: number) {
    this.#bytes = new Uint8Array(capacity)
    this.#view = new DataView(this.#bytes.buffer)
  }

  clear(): void {
    this.#used = 0
    this.isWhole = true
  }

  add(kind: string, a: number, b: number, packet: Packet | null): void {
    const length = packet === null ? 0 : packet.length
    if (this.#used + HEAD + length > this.#bytes.length) {
      this.#used = 0
      this.isWhole = false
    }
    this.#view.setUint8(this.#used, kind.charCodeAt(0))
    this.#view.setFloat32(this.#used + 1, a)
    this.#view.setUint16(this.#used + 5, b)
    this.#view.setUint32(this.#used + 7, length)
    if (packet !== null) this.#bytes.set(packet.bytes.subarray(0, length), this.#used + HEAD)
    this.#used += HEAD + length
  }

  /** Copies of all steps, oldest first. */
  steps(): Step[] {
    const steps: Step[] = []
    for (let at = 0; at < this.#used; ) {
      const length = this.#view.getUint32(at + 7)
      steps.push({
        kind: String.fromCharCode(this.#bytes[at]!),
        a: this.#view.getFloat32(at + 1),
        b: this.#view.getUint16(at + 5),
        bytes: this.#bytes.slice(at + HEAD, at + HEAD + length),
      })
      at += HEAD + length
    }
    return steps
  }
}
