/** hosts(5) as glibc reads it, from any bytes whatever. */

import { isIP } from 'node:net'
import { isHostName } from './address.ts'

/** What a hosts file says. Names are lower case, without trailing dots; addresses literal, each once, in the file's order. */
export interface HostsFile {
  addresses: Map<string, string[]>
  /** The first name beside an address: what a reverse look-up gives. */
  names: Map<string, string>
}

/** Between white space as C has it. What Unicode adds to that is a part of a word, and makes it none. */
const WORD = /[^ \t\v\f]+/g
/** Names beyond are ignored: a hosts file is no zone. */
const MOST_NAMES = 100_000

/** Reads a hosts file. Never throws: lines that mean nothing are ignored, as are addresses with a zone. */
export function parseHostsFile(text: string): HostsFile {
  // Sets, because a name may have as many addresses as the file has lines.
  const addresses = new Map<string, Set<string>>()
  const names = new Map<string, string>()
  for (const line of text.replace(/^\uFEFF/, '').split(/\r?\n|\r/)) {
    const [address = '', ...words] = line.replace(/#.*/s, '').match(WORD) ?? []
    if (isIP(address) === 0 || address.includes('%')) continue
    for (const word of words.filter(isHostName)) {
      const name = word.toLowerCase().replace(/\.$/, '')
      if (addresses.size === MOST_NAMES && !addresses.has(name)) continue
      const literal = address.toLowerCase()
      addresses.set(name, (addresses.get(name) ?? new Set()).add(literal))
      if (!names.has(literal)) names.set(literal, name)
    }
  }
  return { addresses: new Map([...addresses].map(([name, literals]) => [name, [...literals]])), names }
}
