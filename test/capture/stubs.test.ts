import { expect, test } from 'vitest'
import { findStubs } from '../../src/capture/stubs.ts'

const SOCKETS = `   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
  123: 3500007F:0035 00000000:0000 07 00000000:00000000 00:00000000 00000000   991        0 18221 2 0000000000000000 0
  124: 0101007F:14E9 00000000:0000 07 00000000:00000000 00:00000000 00000000   108        0 18222 2 0000000000000000 0
   sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   12: 00000000000000000000000001000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000   113        0 7 2 0 0
`
const ANY = SOCKETS.replace('3500007F:0035', '00000000:0035').replace('991', '  0')

test.each([
  [SOCKETS, '127.0.0.53', 991, '18221'],
  [SOCKETS, '::1', 113, '7'],
  [SOCKETS, '127.0.0.1', null, ''],
  [ANY, '127.0.0.1', 0, '18221'],
  [ANY.replaceAll('00000000:0035', '00000000:0036'), '127.0.0.1', null, ''],
  // A socket of IPv6 on all addresses takes IPv4 as well.
  ['1: 00000000000000000000000000000000:0035 0:0 07 0:0 00:0 0 77 0 1', '127.0.0.1', 77, '1'],
])('whose sockets a stub has (%#)', (sockets, address, uid, inode) => {
  expect(findStubs([address], sockets)).toEqual([{ address, uid, inode }])
})

test('a name server elsewhere is no stub', () => {
  expect(findStubs(['10.96.0.10', 'fd00::10'], SOCKETS)).toEqual([])
})
