/** The kernel's sockets of DNS: who listens on port 53 and on byname's, and what waits there. */
import { type Host, readOr } from './host.ts'

/** A socket of /proc/net. */
export interface SocketRow {
  protocol: string
  local: string
  remote: string
  state: string
  receiveQueueBytes: number
  sendQueueBytes: number
  uid: number
  inode: string
  /** Of UDP: datagrams that the kernel threw away. */
  drops: number | null
}

const TABLES = ['udp', 'udp6', 'tcp', 'tcp6'] as const
/** States of include/net/tcp_states.h; UDP uses the first and the seventh. */
const STATES = [
  '',
  'ESTABLISHED',
  'SYN_SENT',
  'SYN_RECV',
  'FIN_WAIT1',
  'FIN_WAIT2',
  'TIME_WAIT',
  'CLOSE',
  'CLOSE_WAIT',
].concat(['LAST_ACK', 'LISTEN', 'CLOSING'])
const MOST_ROWS = 2000

/** Sockets whose own or other port is one of `ports`, and how many more there are. @throws Error where /proc has no tables */
export function readSockets(host: Host, ports: ReadonlySet<number>): { rows: SocketRow[]; left: number } {
  const rows: SocketRow[] = []
  let isThere = false
  let left = 0
  for (const protocol of TABLES) {
    const text = readOr(host, `/proc/self/net/${protocol}`)
    isThere ||= text !== ''
    for (const line of text.split('\n').slice(1)) {
      const row = rowOf(protocol, line, ports)
      if (row === null) continue
      if (rows.length < MOST_ROWS) rows.push(row)
      else left++
    }
  }
  if (!isThere) throw new Error('/proc/self/net has no tables of sockets')
  return { rows, left }
}

/** `sl: local remote st tx:rx tr:tm retrnsmt uid timeout inode …`, proc(5). */
function rowOf(protocol: string, line: string, ports: ReadonlySet<number>): SocketRow | null {
  const fields = line.trim().split(/\s+/)
  const [local, remote] = [endOf(fields[1]), endOf(fields[2])]
  if (local === null || remote === null || (!ports.has(local.port) && !ports.has(remote.port))) return null
  const [send, receive] = (fields[4] ?? '').split(':').map((hex) => Number.parseInt(hex, 16))
  return {
    protocol,
    local: local.text,
    remote: remote.text,
    state: STATES[Number.parseInt(fields[3] ?? '', 16)] ?? '?',
    receiveQueueBytes: receive ?? 0,
    sendQueueBytes: send ?? 0,
    uid: Number(fields[7]),
    inode: fields[9] ?? '',
    drops: protocol.startsWith('udp') ? Number(fields[12]) : null,
  }
}

/** Words of 32 bits in the machine's order, which is little-endian on all that byname is built for. */
function endOf(text: string | undefined): { port: number; text: string } | null {
  const [, hex, portHex] = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/i.exec(text ?? '') ?? []
  if (hex === undefined || portHex === undefined) return null
  const bytes = Buffer.from(hex, 'hex')
  bytes.swap32()
  const port = Number.parseInt(portHex, 16)
  if (bytes.length === 4) return { port, text: `${bytes.join('.')}:${port}` }
  const groups = Array.from({ length: 8 }, (_, group) => bytes.readUInt16BE(2 * group).toString(16)).join(':')
  return { port, text: `[${URL.parse(`http://[${groups}]`)?.hostname.slice(1, -1) ?? groups}]:${port}` }
}
