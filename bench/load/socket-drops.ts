/** What the kernel threw away before a server could read it. */
import { readFileSync } from 'node:fs'
import { parseUdpSockets } from '../../src/observe/socket-drops.ts'

/**
 * Datagrams dropped at the sockets that are bound to this UDP port now, since they were opened, mostly because their
 * receive buffers were full (/proc/net/udp). Read it while the server runs: the count goes with the socket.
 */
export function udpSocketDrops(port: number): number {
  const sockets = parseUdpSockets(readFileSync('/proc/net/udp', 'utf8'))
  return sockets.reduce((sum, socket) => sum + (socket.port === port ? socket.drops : 0), 0)
}
