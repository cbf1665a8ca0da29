/** A set of labels that is asked with the bytes of a name: no string is made. */
import { finishHash, hashBytes, LOWER } from './name.ts'

/** Labels in lower case. Never changes. */
export class LabelSet {
  /** Each label with its length before it, one after the other. */
  readonly #bytes: Uint8Array
  /** Offset + 1 by hash slot; at most half full. */
  readonly #slots: Uint32Array

  /** `text`: labels of ASCII characters between spaces or ends of lines. */
  constructor(text: string) {
    const labels = text.split(/\s+/).filter((label) => label !== '')
    this.#bytes = new TextEncoder().encode(
      labels.map((label) => `${String.fromCharCode(label.length)}${label}`).join(''),
    )
    this.#slots = new Uint32Array(2 ** Math.ceil(Math.log2(labels.length * 2 + 1)))
    const mask = this.#slots.length - 1
    for (let at = 0; at < this.#bytes.length; at += this.#bytes[at]! + 1) {
      let slot = hashOf(this.#bytes, at) & mask
      while (this.#slots[slot] !== 0) slot = (slot + 1) & mask
      this.#slots[slot] = at + 1
    }
  }

  /** True if it has the label whose length byte is at `at`, whatever its case. */
  has(name: Uint8Array, at: number): boolean {
    const bytes = this.#bytes
    const mask = this.#slots.length - 1
    const size = name[at]! + 1
    for (let slot = hashOf(name, at) & mask; this.#slots[slot] !== 0; slot = (slot + 1) & mask) {
      const from = this.#slots[slot]! - 1
      let k = 0
      while (k < size && bytes[from + k] === LOWER[name[at + k]!]) k++
      if (k === size) return true
    }
    return false
  }
}

function hashOf(bytes: Uint8Array, at: number): number {
  return finishHash(hashBytes(0, bytes, at, bytes[at]! + 1))
}
