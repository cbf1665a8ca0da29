/**
 * Sockets that the service manager opened (socket activation, sd_listen_fds(3)): it keeps them while the daemon is restarted,
 * and what is asked meanwhile waits in them. They are used where they fit an address of the configuration.
 */
import type { Config } from '../config/schema.ts'
import { addressText } from '../dns/address.ts'
import { socketText } from '../config/address.ts'
import { isWildcard, socketAddress } from '../os/socket-address.ts'
import { AF_INET, type SocketDescription, type Syscalls } from '../os/syscalls.ts'
import type { LentEndpoint } from './handover.ts'
import { BUFFER_BYTES, type OpenListener } from './listener-sockets.ts'

const FIRST_FD = 3
/** More than any unit has; a larger number is nobody's. */
const MAX_FDS = 1024
const VARIABLES = ['LISTEN_FDS', 'LISTEN_PID', 'LISTEN_FDNAMES', 'LISTEN_PIDFDID'] as const

/** A descriptor that this process was started with. */
export interface PassedSocket {
  fd: number
  /** FileDescriptorName= of its unit; the unit's name if there is none, '' if it is not told. */
  name: string
}

/** What this process was started with. */
export interface Passed {
  sockets: PassedSocket[]
  /** One line, if something was meant for another process or makes no sense. */
  problem: string | null
}

/** Sockets in the places that they were passed for. */
export interface Activation {
  /** Each has the sockets that were passed, UDP, TCP (else −1) or both; the others are to be opened. */
  listeners: OpenListener[]
  endpoints: LentEndpoint[]
  /** A line for each socket that is of no use. Those of IP are closed here; the service manager keeps them. */
  problems: string[]
}

/** Reads what the service manager says of the descriptors, and takes it away from `env` and this process's environment. */
export function takePassed(env: NodeJS.ProcessEnv, pid: number): Passed {
  const { LISTEN_FDS: count, LISTEN_PID: owner, LISTEN_FDNAMES: names = '' } = env
  for (const name of VARIABLES) {
    delete env[name]
    delete process.env[name]
  }
  if (count === undefined && owner === undefined) return { sockets: [], problem: null }
  if (owner !== String(pid)) {
    const problem = `LISTEN_FDS is for process ${owner ?? '(none named)'}, and this is ${pid}: sockets of the service manager are not used; have it start byname itself, without a program between`
    return { sockets: [], problem }
  }
  const number = /^\d{1,9}$/.test(count ?? '') ? Number(count) : -1
  if (number < 0 || number > MAX_FDS)
    return { sockets: [], problem: `LISTEN_FDS=${count ?? ''} is no number of sockets; they are not used` }
  const each = names.split(':')
  const sockets = Array.from({ length: number }, (_, k) => ({ fd: FIRST_FD + k, name: each[k] ?? '' }))
  return { sockets, problem: null }
}

/** Finds the place of each socket: `metrics` and `admin` by name and address, all others by an address of `listen`. */
export function placeSockets(passed: readonly PassedSocket[], config: Config, sys: Syscalls): Activation {
  const activation: Activation = { listeners: [], endpoints: [], problems: [] }
  for (const socket of passed) {
    const problem = place(socket, sys.describe(socket.fd), config, sys, activation)
    if (problem !== null) activation.problems.push(problem)
  }
  return activation
}

/** Returns why the socket has no place; null if it has one. */
function place(
  { fd, name }: PassedSocket,
  described: SocketDescription | null,
  config: Config,
  sys: Syscalls,
  { listeners, endpoints }: Activation,
): string | null {
  if (described === null) return `descriptor ${fd} of the service manager (${name}) is no socket of UDP or TCP over IP`
  const refuse = (why: string): string => {
    sys.close(fd)
    return `socket ${textOf(described)} of the service manager (${name || `descriptor ${fd}`}) ${why}`
  }
  if (described.kind === 'connection') return refuse('is a connection, not a listener; set Accept=no')
  if (name === 'metrics' || name === 'admin') {
    const { listen } = config[name]
    if (described.kind !== 'listener') return refuse('is not for HTTP; set ListenStream=')
    if (listen === null || !isAt(described, listen))
      return refuse(`is not where ${name}.listen is (${listen?.text ?? 'off'}); nobody answers there`)
    if (endpoints.some((other) => other.name === name)) return refuse('is the second one of its name; it is not used')
    endpoints.push({ name, address: listen.address, port: listen.port, fd })
    return null
  }
  const listen = config.listen.find((each) => isAt(described, each))
  if (listen === undefined)
    return refuse('is no address of listen, and nobody answers there; make listen and the socket unit agree')
  if (described.isDualStack && isWildcard(listen.address))
    return refuse('takes IPv4 as well; set BindIPv6Only=ipv6-only, and name 0.0.0.0 beside it')
  const listener = listenerAt(listen.address, listen.port, listeners)
  if (described.kind === 'listener' && listener.tcpFd >= 0) return refuse('is the second one there; it is not used')
  const { family } = described
  const isUdp = described.kind === 'datagrams'
  sys.adopt(fd, {
    family,
    packetInfo: isUdp && listener.isWildcard,
    bufferBytes: isUdp ? BUFFER_BYTES : 0,
  })
  if (isUdp) listener.udpFds.push(fd)
  else listener.tcpFd = fd
  listener.isActivated = listener.udpFds.length > 0
  return null
}

function listenerAt(address: string, port: number, listeners: OpenListener[]): OpenListener {
  const known = listeners.find((other) => other.address === address && other.port === port)
  if (known !== undefined) return known
  const made: OpenListener = {
    address,
    port,
    family: address.includes(':') ? 1 : 0,
    isWildcard: isWildcard(address),
    tcpFd: -1,
    udpFds: [],
    isShared: false,
    isActivated: false,
  }
  listeners.push(made)
  return made
}

function isAt({ name }: SocketDescription, { address, port }: { address: string; port: number }): boolean {
  try {
    return Buffer.compare(socketAddress(address, port).bytes, name) === 0
  } catch {
    // An interface that is not there has no sockets.
    return false
  }
}

/** `udp 127.0.0.1:53` */
function textOf({ kind, family, name }: SocketDescription): string {
  const view = Buffer.from(name)
  const address = family === AF_INET ? view.subarray(4, 8) : view.subarray(8, 24)
  return `${kind === 'datagrams' ? 'udp' : 'tcp'} ${socketText(addressText(address), view.readUInt16BE(2))}`
}
