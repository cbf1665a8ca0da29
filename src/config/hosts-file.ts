/** hosts(5) as glibc reads it, from any bytes whatever. */

import { isIP } from 'node:net'
import { isHostName } from './address.ts'

/** What a hosts file says. Names are lower case, without trailing dots; addresses literal, each once, in the file's order. */
export interface HostsFile {
  addresses: Map<string, string[]>
  /** The first name beside an address: what a reverse look-up gives. */
  names: Map<string, string>
}

/** Names beyond are ignored: a hosts file is no zone. */
const MOST_NAMES = 100_000

/** Reads a hosts file. Never throws: lines that mean nothing are ignored, as are addresses that need a zone. */
export function parseHostsFile(text: string): HostsFile {
  const hosts: HostsFile = { addresses: new Map(), names: new Map() }
  for (const line of text.replace(/^\uFEFF/, '').split(/\r?\n|\r/)) {
    const [address, ...words] = line.replace(/#.*/, '').trim().split(/\s+/)
    if (address === undefined || isIP(address) === 0 || address.includes('%')) continue
    for (const word of words) {
      const name = word.toLowerCase().replace(/\.$/, '')
      if (isHostName(name)) addHost(hosts, name, address.toLowerCase())
    }
  }
  return hosts
}

function addHost({ addresses, names }: HostsFile, name: string, address: string): void {
  if (!names.has(address)) names.set(address, name)
  const known = addresses.get(name)
  if (known === undefined) {
    if (addresses.size < MOST_NAMES) addresses.set(name, [address])
  } else if (!known.includes(address)) known.push(address)
}
