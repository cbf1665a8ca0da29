/**
 * What a byname plug-in in AssemblyScript needs. docs/plugins.md describes the interface.
 *
 *   asc examples/block-list.ts --outFile block-list.wasm --runtime stub --optimize --use abort=
 *
 * A plug-in exports byname_configure and byname_query, and byname_reply if it wants to see replies; and it passes on what this
 * file exports for byname. Queries are read and written in place: objects that are made for each query are never given back
 * with `--runtime stub`, and fill the memory in the end.
 */

const BUFFER_BYTES: i32 = 65600
const BUFFER: usize = memory.data(65600, 8)

/** For byname: version of the interface. */
export function byname_abi(): i32 {
  return 1
}

/** For byname: where header and message stand. */
export function byname_buffer(): usize {
  return BUFFER
}

export namespace Action {
  export const pass: i32 = 0
  export const answer: i32 = 1
  export const rewrite: i32 = 2
  export const rcode: i32 = 3
  export const drop: i32 = 4
}

/** What the header says of the query. */
export namespace Header {
  export function messageLength(): u32 {
    return load<u32>(BUFFER, 4)
  }
  export function isReply(): bool {
    return load<u8>(BUFFER, 12) == 1
  }
  export function isTcp(): bool {
    return load<u8>(BUFFER, 13) == 1
  }
  /** 4 or 6. */
  export function family(): i32 {
    return load<u8>(BUFFER, 14)
  }
  /** Where the client's address stands: 4 or 16 bytes. */
  export function address(): usize {
    return BUFFER + 16
  }
  export function port(): i32 {
    return load<u16>(BUFFER, 32)
  }
  export function type(): i32 {
    return load<u16>(BUFFER, 34)
  }
  /** Milliseconds since 1970. */
  export function nowMs(): u64 {
    return load<u64>(BUFFER, 40)
  }
}

/** Where the message stands, as it is on the wire. */
export function message(): usize {
  return BUFFER + load<u16>(BUFFER, 2)
}

/** Where the name of the question stands, in wire format. */
export function questionName(): usize {
  return message() + load<u16>(BUFFER, 38)
}

function questionEnd(): usize {
  return message() + load<u16>(BUFFER, 60)
}

/** Denies the query. `extendedError` as in RFC 8914: 15 blocked, 17 filtered; -1 for none. */
export function deny(rcode: i32, extendedError: i32 = -1): i32 {
  store<u16>(BUFFER, rcode, 52)
  store<u16>(BUFFER, extendedError, 54)
  return Action.rcode
}

/** Turns the query into a reply with one record of the question's name, whose `length` bytes of data are at `data`. */
export function answer(type: i32, ttl: u32, data: usize, length: i32): i32 {
  const at = message()
  const to = questionEnd()
  // QR, RA, NOERROR; one answer.
  store<u8>(at, load<u8>(at, 2) | 0x80, 2)
  store<u8>(at, 0x80, 3)
  memory.fill(at + 6, 0, 6)
  store<u8>(at, 1, 7)
  store<u16>(to, bswap<u16>(<u16>(0xc000 | load<u16>(BUFFER, 38))))
  store<u16>(to, bswap<u16>(<u16>type), 2)
  store<u16>(to, bswap<u16>(1), 4)
  store<u32>(to, bswap<u32>(ttl), 6)
  store<u16>(to, bswap<u16>(<u16>length), 10)
  memory.copy(to + 12, data, length)
  store<u32>(BUFFER, <u32>(to + 12 + length - at), 4)
  return Action.answer
}

/** Gives the question another name: `kept` bytes of its own, then the one at `domain`. Passes the query on if that is too long. */
export function rename(kept: i32, domain: usize): i32 {
  const length = nameLength(domain)
  if (kept + length > 255) return Action.pass
  const tail = load<u32>(questionEnd() - 4)
  const to = questionName() + kept
  memory.copy(to, domain, length)
  store<u32>(to + length, tail)
  memory.fill(message() + 6, 0, 6)
  store<u32>(BUFFER, <u32>(to + length + 4 - message()), 4)
  return Action.rewrite
}

/** Bytes of the name at `name`, its root included. */
export function nameLength(name: usize): i32 {
  let at = name
  while (load<u8>(at) != 0) at += load<u8>(at) + 1
  return <i32>(at - name) + 1
}

/** How many bytes of `name` stand before `domain`: 0 if they are one name. -1 if the name is not at or below the domain. */
export function bytesAbove(name: usize, domain: usize): i32 {
  const length = nameLength(domain)
  let left = nameLength(name)
  let at = name
  while (left > length) {
    const label = <i32>load<u8>(at) + 1
    at += label
    left -= label
  }
  if (left != length) return -1
  for (let i = 0; i < length; i++) if (lower(load<u8>(at + i)) != lower(load<u8>(domain + i))) return -1
  return <i32>(at - name)
}

// @ts-ignore: decorator
@inline
function lower(byte: u8): u8 {
  return byte >= 65 && byte <= 90 ? byte | 32 : byte
}

/** Reads a configuration: words between white space. */
export namespace Config {
  let at: usize = 0
  let end: usize = 0
  /** The word read last. */
  export let word: usize = 0
  export let length: i32 = 0

  export function begin(bytes: i32): void {
    at = BUFFER
    end = BUFFER + bytes
  }

  /** Reads the next word; false at the end. */
  export function next(): bool {
    while (at < end && load<u8>(at) <= 32) at++
    word = at
    while (at < end && load<u8>(at) > 32) at++
    length = <i32>(at - word)
    return length > 0
  }

  /** Writes the word, a name such as `ads.example`, in wire format. Returns its bytes, 0 if it is none. */
  export function toName(to: usize): i32 {
    let count = length
    if (count > 0 && load<u8>(word + count - 1) == 46) count--
    if (count == 0 || count > 253) return 0
    let label = 0
    let written = 1
    for (let i = 0; i <= count; i++) {
      if (i < count && load<u8>(word + i) != 46) {
        store<u8>(to + written++, load<u8>(word + i))
        continue
      }
      const bytes = written - label - 1
      if (bytes == 0 || bytes > 63) return 0
      store<u8>(to + label, bytes)
      label = written++
    }
    store<u8>(to + label, 0)
    return label + 1
  }

  /** The word up to `bytes` as a number; -1 if it is none. */
  export function toNumber(from: i32 = 0): i32 {
    if (from >= length || length - from > 9) return -1
    let value = 0
    for (let i = from; i < length; i++) {
      const digit = <i32>load<u8>(word + i) - 48
      if (digit < 0 || digit > 9) return -1
      value = value * 10 + digit
    }
    return value
  }

  /** Writes the word, an IPv4 address, as four bytes. Returns how many of its characters that took, 0 if it is none. */
  export function toAddress(to: usize): i32 {
    let part = 0
    let value = 0
    let digits = 0
    for (let i = 0; i <= length; i++) {
      const digit = i < length ? <i32>load<u8>(word + i) - 48 : -1
      if (digit >= 0 && digit <= 9 && digits < 3) {
        value = value * 10 + digit
        digits++
        continue
      }
      if (digits == 0 || value > 255) return 0
      store<u8>(to + part++, value)
      if (part == 4) return i
      if (i == length || load<u8>(word + i) != 46) return 0
      value = 0
      digits = 0
    }
    return 0
  }
}

// @ts-ignore: decorator
@external("byname", "log")
export declare function logBytes(text: usize, length: i32): void
// @ts-ignore: decorator
@external("byname", "counter")
export declare function counter(id: i32, delta: i32): void
// @ts-ignore: decorator
@external("byname", "counter_name")
declare function nameBytes(id: i32, text: usize, length: i32): void
// @ts-ignore: decorator
@external("byname", "random")
export declare function random(): u32

/** Names a counter, while the plug-in is configured. */
export function nameCounter(id: i32, name: string): void {
  const bytes = String.UTF8.encode(name)
  nameBytes(id, changetype<usize>(bytes), bytes.byteLength)
}

/** Writes a line to byname's log. */
export function log(text: string): void {
  const bytes = String.UTF8.encode(text)
  logBytes(changetype<usize>(bytes), bytes.byteLength)
}
