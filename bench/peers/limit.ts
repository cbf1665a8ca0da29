import type { Native } from '../load/native.ts'
import type { Peer } from './peer.ts'

/** The C responder: no table, no cache, no checks; what UDP sockets allow on this machine. */
export function limitPeer(native: Native): Peer {
  return responderPeer(native, 'limit', 'the limit (C, no look-up)', 'recvmmsg/sendmmsg, 64 a call', [])
}

/** The same with the calls that byname makes: replies to one client leave as one message. */
export function segmentLimitPeer(native: Native): Peer {
  const title = 'the limit with UDP_SEGMENT'
  return responderPeer(native, 'limit-segment', title, 'recvmmsg/sendmmsg, 64 a call, UDP_SEGMENT', ['segment'])
}

function responderPeer(native: Native, id: string, title: string, version: string, options: string[]): Peer {
  return {
    id,
    title,
    install: 'apt-get install gcc libc6-dev',
    abilities: ['mesh', 'cache'],
    version: () => (native.responder === undefined ? undefined : version),
    command: ({ port }) => ({ file: native.responder!, args: [String(port), ...options] }),
  }
}
