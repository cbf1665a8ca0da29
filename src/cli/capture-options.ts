import { existsSync } from 'node:fs'
import type { BackendName } from '../capture/capture.ts'
import { CaptureError, hasIpv6, type Machine } from '../capture/machine.ts'
import type { CaptureOptions } from '../capture/plan.ts'
import { findStubs, isLoopback } from '../capture/stubs.ts'
import { parsePrefix } from '../config/address.ts'
import { parseResolvConf } from '../config/resolv-conf.ts'
import { type CommandArguments, type CommandOption, UsageError } from './arguments.ts'
import { readInput } from './input-file.ts'

const DEFAULT_PORT = 15_053
/** Istio's user for whatever must pass its capture, and so byname's. */
const DEFAULT_OWNER = 1337
const RESOLV_CONF = '/etc/resolv.conf'
const BACKENDS: readonly string[] = ['iptables', 'nftables', 'iptables-nft', 'iptables-legacy']

/** The options that say what is captured. */
export const CAPTURE_OPTIONS: Readonly<Record<string, CommandOption>> = {
  backend: { value: 'NAME', help: `${BACKENDS.join(', ')} (default: the machine's)` },
  port: { value: 'PORT', help: `where byname listens on loopback (default ${DEFAULT_PORT})` },
  'all-dns': { help: 'capture all of port 53, not only what goes to the name servers of resolv.conf' },
  'resolv-conf': { value: 'FILE', help: `whose name servers are meant (default ${RESOLV_CONF})` },
  uid: { value: 'N', isMultiple: true, help: `user whose queries pass: byname's (default ${DEFAULT_OWNER})` },
  gid: { value: 'N', isMultiple: true, help: `group whose queries pass (default ${DEFAULT_OWNER})` },
  exclude: { value: 'ADDR|CIDR', isMultiple: true, help: 'queries to it pass' },
  'exclude-interface': { value: 'NAME', isMultiple: true, help: 'queries out through it pass' },
  'no-ipv6': { help: 'leave IPv6 alone' },
}

/** `--backend`. @throws UsageError */
export function readBackend(given: CommandArguments): BackendName | 'iptables' | null {
  const name = given.text('backend')
  switch (name) {
    case undefined:
      return null
    case 'iptables':
    case 'nftables':
    case 'iptables-nft':
    case 'iptables-legacy':
      return name
    default:
      throw new UsageError(`--backend ${name}: there are ${BACKENDS.join(', ')}`)
  }
}

/** What to capture, for whom. @throws UsageError, ConfigError (resolv.conf cannot be read) */
export function readCaptureOptions(given: CommandArguments, machine: Machine): CaptureOptions {
  const servers = readNameservers(given.text('resolv-conf') ?? RESOLV_CONF, given.has('all-dns'))
  return {
    port: given.has('port') ? readNumber(given.text('port')!, '--port', 1, 65_535) : DEFAULT_PORT,
    uids: [...new Set([...readOwners(given, 'uid'), ...stubOwners(given, servers, machine)])],
    gids: readOwners(given, 'gid'),
    nameservers: given.has('all-dns') ? null : servers,
    exemptPrefixes: [...new Set(given.texts('exclude').map(readPrefix))],
    exemptInterfaces: [...new Set(given.texts('exclude-interface').map(readInterface))],
    hasIpv6: !given.has('no-ipv6') && hasIpv6(machine),
  }
}

/** Users of the stubs that byname would ask. @throws CaptureError if all DNS is captured, a stub's is not to be known, and none is named */
function stubOwners(given: CommandArguments, servers: readonly string[], machine: Machine): number[] {
  // What they ask is captured only if more than they are. An application may share a stub's user, in a pod.
  if (!servers.some(isLoopback) || (!given.has('all-dns') && servers.every(isLoopback))) return []
  const sockets = ['/proc/net/udp', '/proc/net/udp6'].map((path) => machine.read(path) ?? '').join('\n')
  const stubs = findStubs(servers, sockets).map(({ address, uid, inode }) => ({
    address,
    uid: uid === 0 ? (machine.userOfSocket(inode) ?? 0) : uid,
  }))
  const ofRoot = stubs.find(({ uid }) => uid === 0)
  if (ofRoot !== undefined && given.has('all-dns') && !given.has('uid') && !given.has('force'))
    throw new CaptureError(
      `the resolver at ${ofRoot.address} (resolv.conf) runs as root, or in another container, and what it asks as whichever user would come back to it: exempt its user with --uid, beside byname's, or leave out --all-dns`,
    )
  return stubs.flatMap(({ uid }) => (uid === null || uid === 0 ? [] : [uid]))
}

function readOwners(given: CommandArguments, option: 'uid' | 'gid'): number[] {
  if (!given.has(option)) return [DEFAULT_OWNER]
  // The last one means "nobody" to the kernel.
  return [...new Set(given.texts(option).map((text) => readNumber(text, `--${option}`, 0, 2 ** 32 - 2)))]
}

function readNumber(text: string, option: string, least: number, most: number): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : -1
  if (number < least || number > most) throw new UsageError(`${option} ${text}: give a number from ${least} to ${most}`)
  return number
}

function readPrefix(text: string): string {
  const prefix = parsePrefix(text)
  if ('reason' in prefix) throw new UsageError(`--exclude: ${prefix.reason}`)
  if (prefix.value.length === 0) throw new UsageError(`--exclude ${text}: nothing would be captured`)
  return prefix.value.text
}

/** A name that both back ends take as it is: none of their wildcards, quotes and spaces. */
function readInterface(text: string): string {
  if (!/^[\w.:@-]{1,15}$/.test(text))
    throw new UsageError(`--exclude-interface ${text}: give the name of one interface`)
  return text
}

/** `isOptional`: a file that is not there, or names none, is as good. */
function readNameservers(file: string, isOptional: boolean): string[] {
  const text = isOptional && !existsSync(file) ? '' : readInput(file)
  const addresses = parseResolvConf(text).servers.map(({ address }) => address.replace(/%.*$/, ''))
  if (addresses.length === 0 && !isOptional)
    throw new UsageError(
      `${file} names no name server; name another file with --resolv-conf, or capture with --all-dns`,
    )
  return [...new Set(addresses)]
}
