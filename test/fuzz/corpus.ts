/** Packets to begin with, and those that reached something new: what mutators spoil and splice. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Random } from '../simulation/random.ts'

const FOLDER: string = join(import.meta.dirname, 'corpus')
/** Found ones beyond replace others. */
const MAX_FOUND = 4096

/** A line of a corpus file: what is before the comment, and the comment. */
export interface CorpusLine {
  text: string
  comment: string
}

/** The lines of `corpus/NAME.hex`: one packet (or sequence of steps, see steps.ts) a line, `#` and a comment behind it. */
export function readCorpus(name: string): CorpusLine[] {
  const lines = readFileSync(join(FOLDER, `${name}.hex`), 'utf8').split('\n')
  return lines.flatMap((line) => {
    const [text = '', comment = ''] = line.split('#')
    return text.trim() === '' ? [] : [{ text: text.trim(), comment: comment.trim() }]
  })
}

/** Packets as `main.ts --save` writes them. */
export function parseFound(text: string): { queries: Uint8Array[]; replies: Uint8Array[] } {
  const [queries = '', replies = ''] = text.replace('# queries\n', '').split('# replies\n')
  return { queries: hexPackets(queries), replies: hexPackets(replies) }
}

function hexPackets(lines: string): Uint8Array[] {
  return lines.split('\n').flatMap((line) => (line === '' ? [] : [Uint8Array.from(Buffer.from(line, 'hex'))]))
}

export class Corpus {
  readonly #seeds: Uint8Array[]
  readonly #found: Uint8Array[] = []
  readonly #random: Random

  constructor(seeds: readonly Uint8Array[], random: Random) {
    this.#seeds = [...seeds]
    this.#random = random
  }

  /** Of the packets in a corpus file. */
  static of(name: string, random: Random): Corpus {
    return new Corpus(
      readCorpus(name).map(({ text }) => Uint8Array.from(Buffer.from(text, 'hex'))),
      random,
    )
  }

  get size(): number {
    return this.#seeds.length + this.#found.length
  }

  get found(): readonly Uint8Array[] {
    return this.#found
  }

  pick(): Uint8Array {
    const k = this.#random.below(this.size)
    return k < this.#seeds.length ? this.#seeds[k]! : this.#found[k - this.#seeds.length]!
  }

  /** Keeps a packet that reached something new. */
  add(packet: Uint8Array): void {
    if (this.#found.length < MAX_FOUND) this.#found.push(packet)
    else this.#found[this.#random.below(MAX_FOUND)] = packet
  }
}
