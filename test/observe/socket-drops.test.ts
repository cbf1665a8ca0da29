import { createSocket } from 'node:dgram'
import { once } from 'node:events'
import { expect, test } from 'vitest'
import { comparableAddress, parseUdpSockets, readSocketTables, SocketDrops } from '../../src/observe/socket-drops.ts'
import type { Listener } from '../../src/observe/sources.ts'

const HEADER =
  '   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops             \n'
const row = (address: string, port: number, inode: number, drops: number): string =>
  `  427: ${address}:${port.toString(16).toUpperCase().padStart(4, '0')} ${'0'.repeat(address.length)}:0000 07 00000000:00000000 00:00000000 00000000  1337        0 ${inode} 2 00000000c3c5e1e5 ${drops}        \n`

const V4: Listener = { proto: 'udp', address: '127.0.0.1', port: 15053 }
const V6: Listener = { proto: 'udp', address: '::1', port: 15053 }

test('a table is read by its columns', () => {
  expect(parseUdpSockets(HEADER + row('0100007F', 15053, 4711, 12))).toEqual([
    { address: '0100007f', port: 15053, inode: 4711, drops: 12 },
  ])
})

test('lines of another kind are left out', () => {
  expect(parseUdpSockets(`${HEADER}\n  1: xyz\nnot: a line at all\n${row('0100007F', 1, 2, 3).slice(0, 60)}`)).toEqual(
    [],
  )
  expect(parseUdpSockets('')).toEqual([])
})

test.each([
  ['an address of nine digits', row('00100007F', 53, 2, 3)],
  ['a port of five digits', row('0100007F', 0x12345, 2, 3)],
  ['no inode', row('0100007F', 53, Number.NaN, 3)],
  ['no count of drops', row('0100007F', 53, 2, Number.NaN)],
])('a line with %s is left out', (_, line) => {
  expect(parseUdpSockets(HEADER + line + row('0100007F', 53, 4, 5)).map(({ inode }) => inode)).toEqual([4])
})

test.each([
  ['127.0.0.1', '0100007f'],
  ['0.0.0.0', '00000000'],
  ['10.96.0.10', '0a00600a'],
  ['::', '0'.repeat(32)],
  ['::1', '00000000000000000000000001000000'],
  ['2001:db8::ff00:42:8329', 'b80d012000000000 00ff000029834200'.replace(' ', '')],
  ['fe80::1%eth0', '000080fe000000000000000001000000'],
  ['::ffff:127.0.0.1', '0000000000000000ffff00000100007f'],
  ['2001:db8:1:2:3:4:5:6', 'b80d0120020001000400030006000500'],
])("%s is %s in the kernel's table", (address, expected) => {
  expect(comparableAddress(address)).toBe(expected)
})

test.each(['', 'localhost', '1.2.3', '1.2.3.256', '1.2.3.4x', 'x1.2.3.4', '1.2.3.4.5', ':::', 'x::y'])(
  '%j is no address',
  (address) => {
    expect(comparableAddress(address)).toBeNull()
  },
)

test('drops of the listeners are summed, those of other sockets are not', () => {
  const v4 = HEADER + row('0100007F', 15053, 1, 5) + row('0100007F', 15053, 2, 6) + row('0100007F', 53, 3, 100)
  const v6 = HEADER + row('00000000000000000000000001000000', 15053, 4, 7)
  const drops = new SocketDrops()
  expect(drops.update([v4, v6], [V4, V6, { ...V4, proto: 'tcp', port: 53 }])).toBe(18)
  expect(drops.update([v4, v6], [V4, V6])).toBe(18)
})

test('the sum does not fall when a socket is closed and opened anew', () => {
  const drops = new SocketDrops()
  drops.update([HEADER + row('0100007F', 15053, 1, 5)], [V4])
  expect(drops.update([HEADER], [V4])).toBe(5)
  expect(drops.update([HEADER + row('0100007F', 15053, 2, 1)], [V4])).toBe(6)
  // An inode number used again, with a smaller count.
  expect(drops.update([HEADER + row('0100007F', 15053, 2, 0)], [V4])).toBe(6)
  expect(drops.update([], [V4])).toBe(6)
  expect(drops.update([HEADER + row('0100007F', 15053, 2, 3)], [V4])).toBe(9)
  // Without tables nothing is known to be closed: what was counted is not counted again.
  expect(drops.update([], [V4])).toBe(9)
  expect(drops.update([HEADER + row('0100007F', 15053, 2, 4)], [V4])).toBe(10)
  expect(drops.update([HEADER + row('0100007F', 15053, 2, 1)], [V4])).toBe(11)
  expect(drops.total).toBe(11)
})

test("a socket of this process is found in the machine's own tables", async (context) => {
  const tables = await readSocketTables()
  if (tables.length === 0) context.skip('no /proc/net/udp here')
  const socket = createSocket('udp4')
  try {
    socket.bind(0, '127.0.0.1')
    await once(socket, 'listening')
    const { port } = socket.address()
    const rows = (await readSocketTables()).flatMap(parseUdpSockets)
    expect(rows.filter((each) => each.port === port && each.address === comparableAddress('127.0.0.1'))).toHaveLength(1)
  } finally {
    socket.close()
  }
})
