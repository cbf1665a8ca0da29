import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import type { Listener } from './sources.ts'

/** A socket of /proc/net/udp or udp6. */
export interface UdpSocketRow {
  /** As `comparableAddress` writes it. */
  address: string
  port: number
  inode: number
  /** Datagrams that the kernel threw away since the socket was opened, mostly because its receive buffer was full. */
  drops: number
}

/**
 * Rows of /proc/net/udp or /proc/net/udp6 (proc(5)); lines that do not look like one are left out. Columns:
 * ```
 *  sl  local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode ref pointer drops
 *  0   1             2           3  4                 5           6        7   8       9     10  11      12
 * ```
 */
export function parseUdpSockets(text: string): UdpSocketRow[] {
  const rows: UdpSocketRow[] = []
  for (const line of text.split('\n')) {
    const fields = line.trim().split(/\s+/)
    const local = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/i.exec(fields[1] ?? '')
    const inode = Number(fields[9])
    const drops = Number(fields[12])
    if (!local || !Number.isInteger(inode) || !Number.isInteger(drops)) continue
    rows.push({ address: local[1]!.toLowerCase(), port: Number.parseInt(local[2]!, 16), inode, drops })
  }
  return rows
}

/**
 * A literal address in the form of /proc/net/udp: 8 or 32 hex digits, in 32-bit words of the machine's byte order
 * (every machine byname is built for is little-endian). Null if it is no address.
 */
export function comparableAddress(address: string): string | null {
  const bytes = address.includes(':') ? ipv6Bytes(address) : ipv4Bytes(address)
  if (!bytes) return null
  let text = ''
  for (let at = 0; at < bytes.length; at += 4) {
    for (let i = 3; i >= 0; i--) text += bytes[at + i]!.toString(16).padStart(2, '0')
  }
  return text
}

function ipv4Bytes(address: string): number[] | null {
  const bytes = address.split('.').map((part) => (/^\d{1,3}$/.test(part) ? Number(part) : 256))
  return bytes.length === 4 && bytes.every((byte) => byte < 256) ? bytes : null
}

function ipv6Bytes(address: string): number[] | null {
  // The URL parser knows all the ways to write one and returns the shortest, in hex groups only. It takes no zone.
  const url = URL.parse(`http://[${address.split('%')[0]}]`)
  if (!url) return null
  const [head = '', tail] = url.hostname.slice(1, -1).split('::')
  const first = hexGroups(head)
  const last = hexGroups(tail ?? '')
  const words = [...first, ...Array.from({ length: 8 - first.length - last.length }, () => 0), ...last]
  return words.flatMap((word) => [word >> 8, word & 255])
}

function hexGroups(part: string): number[] {
  return part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16))
}

/**
 * Sums the drops of the listeners' sockets over their lives: a socket that was closed and opened anew (a worker that
 * owned it was restarted) starts from 0, and the sum must not fall.
 */
export class SocketDrops {
  #total = 0
  #seen = new Map<number, number>()

  /** Takes in the tables of now and returns datagrams dropped so far. */
  update(tables: readonly string[], listeners: readonly Listener[]): number {
    const wanted = new Set<string>()
    for (const { proto, address, port } of listeners) {
      if (proto === 'udp') wanted.add(`${comparableAddress(address)}:${port}`)
    }
    const seen = new Map<number, number>()
    for (const row of tables.flatMap(parseUdpSockets)) {
      if (!wanted.has(`${row.address}:${row.port}`)) continue
      seen.set(row.inode, row.drops)
      const before = this.#seen.get(row.inode) ?? 0
      // Less than before: an inode number used again.
      this.#total += row.drops >= before ? row.drops - before : row.drops
    }
    if (tables.length > 0) this.#seen = seen
    return this.#total
  }

  /** Datagrams dropped as of the last update. */
  get total(): number {
    return this.#total
  }
}

/**
 * The kernel's tables of UDP sockets in this network namespace; none on machines without /proc. Below self, as /proc/net is hidden
 * where processes alone are shown (ProcSubset=pid of systemd).
 */
export function readSocketTables(): Promise<string[]> {
  const readings = ['/proc/self/net/udp', '/proc/self/net/udp6'].map((path) =>
    readBoundedText(path, MAX_FILE_BYTES.kernelTable),
  )
  return Promise.resolve(
    readings.flatMap((reading) => ('text' in reading && reading.text !== '' ? [reading.text] : [])),
  )
}
