import { hashBytes } from '../../src/dns/name.ts'
import { wire } from './messages.ts'

const LETTERS = Buffer.from('abcdefghijklmnopqrstuvwxyz012345')
const MOST_LETTERS = 12

/** Two names below `parent`, of the same length or not, whose hashes are the same under `seed`. */
export function collidingNames(seed: number, parent: string, areOfOneLength: boolean): [string, string] {
  const below = wire(`${'a'.repeat(MOST_LETTERS)}.${parent}`)
  const known = new Map<number, string>()
  // What labels have in common makes their hashes differ: they must look like any.
  for (let k = 1; ; k++) {
    const length = areOfOneLength ? MOST_LETTERS : MOST_LETTERS - (k & 1)
    const bytes = below.subarray(MOST_LETTERS - length)
    bytes[0] = length
    let mixed = Math.imul(k, 0x9e3779b1)
    for (let i = 1; i <= length; i++) {
      mixed = Math.imul(mixed ^ (mixed >>> 15), 0x85ebca6b)
      bytes[i] = LETTERS[mixed >>> 27]!
    }
    // Without the root, which no hash of a name in a table has; where one has it, it changes nothing.
    const hash = hashBytes(seed, bytes, 0, bytes.length - 1)
    const name = `${Buffer.from(bytes.subarray(1, length + 1)).toString()}.${parent}`
    const other = known.get(hash)
    if (other !== undefined && other !== name && (other.length === name.length) === areOfOneLength) return [other, name]
    known.set(hash, name)
  }
}
