/** resolv.conf(5) as glibc reads it, from any bytes whatever. */

import { isIP, isIPv4 } from 'node:net'
import { isHostName, isLinkLocal, type ServerAddress, socketText } from './address.ts'

/** What a resolv.conf says. */
export interface ResolvConf {
  /** At most 32, in the file's order, each once. Empty if the file names none. */
  servers: ServerAddress[]
  /** Servers that cannot be asked, and are none of `servers`: what is to be said of each, in one line. */
  leftOut: string[]
  /** Search domains, lower case, without trailing dots. */
  search: string[]
  options: ResolvOptions
}

/** The options that matter to a forwarder; undefined where the file does not say. */
interface ResolvOptions {
  ndots?: number
  /** Per attempt. */
  timeoutSeconds?: number
  /** Rounds through all servers. */
  attempts?: number
  rotate: boolean
  useTcp: boolean
  edns0: boolean
}

/** Counters and labels have this many slots; glibc itself takes three. */
const MOST_SERVERS = 32
/** glibc's caps (resolv/resolv.h). */
const MOST_NDOTS = 15
const MOST_TIMEOUT = 30
const MOST_ATTEMPTS = 5

/**
 * Reads resolv.conf. Never throws: lines that mean nothing are ignored, and an empty text gives no servers. With the
 * option `use-vc` the servers' transport is TCP. The last `search` or `domain` line wins.
 */
export function parseResolvConf(text: string): ResolvConf {
  const addresses = new Set<string>()
  const leftOut = new Set<string>()
  let search: string[] = []
  const options: ResolvOptions = { rotate: false, useTcp: false, edns0: false }
  for (const line of text.replace(/^\uFEFF/, '').split(/\r?\n|\r/)) {
    const [keyword, ...words] = wordsOf(line)
    if (keyword === 'nameserver') {
      const address = serverAddress(words[0] ?? '')
      if (address === null) continue
      if (isLinkLocal(address))
        leftOut.add(`${address} is an address of one link; name its interface, as in ${address}%eth0`)
      else if (addresses.size < MOST_SERVERS) addresses.add(address)
    } else if (keyword === 'search') search = words.flatMap(searchDomain)
    else if (keyword === 'domain') search = words.slice(0, 1).flatMap(searchDomain)
    else if (keyword === 'options') for (const word of words) readOption(word, options)
  }
  const transport = options.useTcp ? 'tcp' : 'udp'
  const scheme = options.useTcp ? 'tcp://' : ''
  const servers = [...addresses].map(
    (address): ServerAddress => ({ label: `${scheme}${socketText(address, 53)}`, transport, address, port: 53 }),
  )
  return { servers, leftOut: [...leftOut], search: [...new Set(search)], options }
}

/** Words of a line up to a comment: # and ; begin one at the start of a word. */
function wordsOf(line: string): string[] {
  const words = line.split(/[ \t\v\f]+/).filter((word) => word !== '')
  const comment = words.findIndex((word) => word.startsWith('#') || word.startsWith(';'))
  return comment < 0 ? words : words.slice(0, comment)
}

function serverAddress(word: string): string | null {
  if (isIP(word) === 0) return null
  // The unspecified address means this machine, and a reply to it would come from another address than was asked.
  if (/^[0.]+$/.test(word)) return '127.0.0.1'
  if (/^[0:.]+$/.test(word)) return '::1'
  return isIPv4(word) ? word : word.toLowerCase().replace(/%.*$/, () => word.slice(word.indexOf('%')))
}

function searchDomain(word: string): string[] {
  return isHostName(word) ? [word.toLowerCase().replace(/\.$/, '')] : []
}

function readOption(word: string, options: ResolvOptions): void {
  const [, name, digits] = /^([a-z0-9-]+)(?::(\d{1,9}))?$/.exec(word) ?? []
  const number = digits === undefined ? null : Number(digits)
  if (name === 'rotate') options.rotate = true
  else if (name === 'use-vc') options.useTcp = true
  else if (name === 'edns0') options.edns0 = true
  else if (number === null) return
  else if (name === 'ndots') options.ndots = Math.min(number, MOST_NDOTS)
  // Zero would mean no time and no try at all: glibc takes one second, and at least one try.
  else if (name === 'timeout') options.timeoutSeconds = Math.max(1, Math.min(number, MOST_TIMEOUT))
  else if (name === 'attempts') options.attempts = Math.max(1, Math.min(number, MOST_ATTEMPTS))
}
