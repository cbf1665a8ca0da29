/** Changes inputs at random, as the fuzzers of the trade do: bits, bytes, chunks, tokens, and pieces of other inputs. */
import type { Random } from '../simulation/random.ts'

const ODD_BYTES = [0, 1, 2, 7, 8, 0x0a, 0x12, 0x1a, 0x22, 0x2a, 0x2e, 0x3f, 0x40, 0x5c, 0x7f, 0x80, 0xc0, 0xff]
const MOST_CHANGES = 6
/** A token that comes this often in a row shows what takes time. */
const MOST_REPEATS = 2000

/** What a mutation may draw from. */
export interface Stock {
  /** Inputs to begin with, and to take pieces of. At least one. */
  seeds: readonly Uint8Array[]
  /** What such inputs are made of. */
  tokens: readonly Uint8Array[]
  /** Longest result. */
  maxBytes: number
}

/** UTF-8 of each text. */
export function bytesOf(texts: readonly string[]): Uint8Array[] {
  return texts.map((text) => Buffer.from(text))
}

/** A mutation of one of the seeds or of `pool`. */
export function mutated(random: Random, stock: Stock, pool: readonly Uint8Array[]): Uint8Array {
  const donors = pool.length > 0 && random.chance(0.6) ? pool : stock.seeds
  let bytes: Uint8Array = random.pick(donors)
  const changes = 1 + random.below(MOST_CHANGES)
  for (let k = 0; k < changes; k++) {
    bytes = change(random, bytes, stock, pool)
    if (bytes.length > stock.maxBytes) bytes = bytes.subarray(0, stock.maxBytes)
  }
  return bytes
}

function change(random: Random, bytes: Uint8Array, stock: Stock, pool: readonly Uint8Array[]): Uint8Array {
  const at = random.below(bytes.length + 1)
  const length = random.below(Math.min(bytes.length - at, random.chance(0.8) ? 8 : 400) + 1)
  switch (random.below(12)) {
    case 0:
      return replaced(bytes, at, (byte) => byte ^ (1 << random.below(8)))
    case 1:
      return replaced(bytes, at, () => random.pick(ODD_BYTES))
    case 2:
      return replaced(bytes, at, (byte) => byte + random.below(9) - 4)
    case 3:
      return replaced(bytes, at, () => random.below(256))
    case 4:
      return spliced(bytes, at, length, EMPTY)
    case 5:
      return spliced(bytes, at, 0, bytes.subarray(at, at + length))
    case 6:
      return spliced(bytes, random.below(bytes.length + 1), 0, bytes.subarray(at, at + length))
    case 7:
      return spliced(bytes, at, 0, randomBytes(random, 1 + random.below(8)))
    case 8:
    case 9:
      return stock.tokens.length === 0
        ? bytes
        : spliced(bytes, at, random.chance(0.5) ? 0 : length, random.pick(stock.tokens))
    case 10:
      return repeatedToken(random, bytes, at, stock)
    default: {
      const other = random.pick(pool.length > 0 && random.chance(0.5) ? pool : stock.seeds)
      const from = random.below(other.length + 1)
      const piece = other.subarray(from, from + 1 + random.below(random.chance(0.8) ? 40 : other.length + 1))
      return spliced(bytes, at, random.chance(0.5) ? 0 : length, piece)
    }
  }
}

const EMPTY: Uint8Array = new Uint8Array(0)

function replaced(bytes: Uint8Array, at: number, by: (byte: number) => number): Uint8Array {
  if (at === bytes.length) return bytes
  const copy = Uint8Array.from(bytes)
  copy[at] = by(copy[at]!)
  return copy
}

function spliced(bytes: Uint8Array, at: number, length: number, piece: Uint8Array): Uint8Array {
  const out = new Uint8Array(bytes.length - length + piece.length)
  out.set(bytes.subarray(0, at))
  out.set(piece, at)
  out.set(bytes.subarray(at + length), at + piece.length)
  return out
}

function repeatedToken(random: Random, bytes: Uint8Array, at: number, { tokens, maxBytes }: Stock): Uint8Array {
  if (tokens.length === 0) return bytes
  const token = random.pick(tokens)
  const most = Math.floor(maxBytes / Math.max(1, token.length))
  const times = Math.min(most, random.chance(0.9) ? 2 + random.below(6) : random.below(MOST_REPEATS))
  return spliced(bytes, at, 0, repeated(token, times))
}

/** `piece` this many times. */
export function repeated(piece: Uint8Array, times: number): Uint8Array {
  const out = new Uint8Array(piece.length * times)
  for (let k = 0; k < times; k++) out.set(piece, k * piece.length)
  return out
}

/** Any bytes. */
export function randomBytes(random: Random, length: number): Uint8Array {
  const out = new Uint8Array(length)
  for (let i = 0; i < length; i++) out[i] = random.below(256)
  return out
}
