import type { Native } from '../load/native.ts'
import type { Peer } from './peer.ts'

/** The C responder: no table, no cache, no checks; what UDP sockets allow on this machine. */
export function limitPeer(native: Native): Peer {
  return {
    id: 'limit',
    title: 'the limit (C, no look-up)',
    install: 'apt-get install gcc libc6-dev',
    abilities: ['mesh', 'cache'],
    version: () => (native.responder === undefined ? undefined : 'recvmmsg/sendmmsg, 64 a call'),
    command: ({ port }) => ({ file: native.responder!, args: [String(port)] }),
  }
}
