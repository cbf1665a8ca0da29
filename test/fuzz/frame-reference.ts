/** Cuts a stream into messages in the simplest way there is, to hold src/dns/frame.ts against (RFC 1035 §4.2.2). */

const HEADER = 12

export class FrameReference {
  #rest: Uint8Array = new Uint8Array(0)
  /** A length below that of a header has come: nothing after it means anything. */
  isMalformed = false

  /** The messages that are complete with these bytes; null if one is malformed. */
  push(chunk: Uint8Array): Uint8Array[] | null {
    const all = new Uint8Array(Buffer.concat([this.#rest, chunk]))
    const messages: Uint8Array[] = []
    let at = 0
    while (all.length - at >= 2) {
      const length = all[at]! * 256 + all[at + 1]!
      if (length < HEADER) {
        this.isMalformed = true
        return null
      }
      if (all.length - at - 2 < length) break
      messages.push(all.slice(at + 2, at + 2 + length))
      at += 2 + length
    }
    this.#rest = all.slice(at)
    return messages
  }
}
