/** Where the parts of a packet are, as far as it has any: for mutators that aim, and for checks that ask what a query said. */

const MAX_PARTS = 64

export class Anatomy {
  /** Offset after the question's name and after the question; 0 if there is none or it is broken. */
  nameEnd = 0
  questionEnd = 0
  /** Records found before the first that is broken, at most 64. */
  records = 0
  readonly owner: Uint16Array = new Uint16Array(MAX_PARTS)
  readonly fixed: Uint16Array = new Uint16Array(MAX_PARTS)
  readonly end: Uint16Array = new Uint16Array(MAX_PARTS)
  readonly type: Uint16Array = new Uint16Array(MAX_PARTS)
  readonly section: Uint8Array = new Uint8Array(MAX_PARTS)
  /** True if all that the header counts is there. */
  isWhole = false

  read(bytes: Uint8Array, at: number, length: number): this {
    this.nameEnd = 0
    this.questionEnd = 0
    this.records = 0
    this.isWhole = false
    if (length < 12) return this
    const stop = at + length
    const u16 = (i: number): number => (bytes[i]! << 8) | bytes[i + 1]!
    let i = at + 12
    const questions = u16(at + 4)
    for (let k = 0; k < questions; k++) {
      i = nameEnd(bytes, i, stop)
      if (i < 0 || i + 4 > stop) return this
      if (k === 0) {
        this.nameEnd = i - at
        this.questionEnd = i + 4 - at
      }
      i += 4
    }
    for (let section = 0; section < 3; section++) {
      for (let k = u16(at + 6 + 2 * section); k > 0; k--) {
        const fixed = nameEnd(bytes, i, stop)
        if (fixed < 0 || fixed + 10 > stop) return this
        const end = fixed + 10 + u16(fixed + 8)
        if (end > stop) return this
        if (this.records < MAX_PARTS) {
          const r = this.records++
          this.owner[r] = i - at
          this.fixed[r] = fixed - at
          this.end[r] = end - at
          this.type[r] = u16(fixed)
          this.section[r] = section
        }
        i = end
      }
    }
    this.isWhole = true
    return this
  }
}

/** Offset after a name, pointers not followed; -1 if it does not end or has a label of a reserved kind. */
function nameEnd(bytes: Uint8Array, at: number, stop: number): number {
  for (let i = at; i < stop; ) {
    const size = bytes[i]!
    if (size === 0) return i + 1
    if (size >= 0xc0) return i + 2 <= stop ? i + 2 : -1
    if (size >= 0x40) return -1
    i += size + 1
  }
  return -1
}
