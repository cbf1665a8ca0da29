/** The driver is chosen by what the calls do, not by whether koffi loads: on the real kernel, with calls that are refused. */
import { expect, test } from 'vitest'
import { ConfigError } from '../../src/config/config-error.ts'
import { chooseDriver } from '../../src/daemon/listeners.ts'
import { AF_INET, EACCES, EAGAIN, EINTR, ENOSYS, EPERM, type Syscalls } from '../../src/os/syscalls.ts'
import { tryBatchCalls } from '../../src/worker/batch/batch-trial.ts'
import { skipWithoutIPv6 } from '../ipv6.ts'
import { openDescriptors, sys } from './data-plane.ts'

const EMFILE = 24
const EADDRNOTAVAIL = 99

const REFUSED: [what: string, refusing: Partial<Syscalls>, why: RegExp][] = [
  ['recvmmsg', { recvmmsg: () => -ENOSYS }, /^recvmmsg gives ENOSYS: refused by a seccomp filter/],
  ['sendmmsg', { sendmmsg: () => -EPERM }, /^sendmmsg gives EPERM: refused by a seccomp filter/],
  ['poll', { poll: () => -EACCES }, /^poll gives EACCES: refused by a seccomp filter/],
  ['connect', { connect: () => -EPERM }, /^connect gives EPERM: refused by a seccomp filter/],
  ['eventfd', { eventfd: () => -EMFILE }, /^eventfd gives EMFILE$/],
  ['writing to an eventfd', { wake: () => {} }, /^poll does not see what was written to an eventfd$/],
  ['any socket', { openDatagram: () => -EMFILE }, /^a socket on 127\.0\.0\.1 gives EMFILE$/],
  ['what arrives', { recvmmsg: () => 1 }, /^recvmmsg does not bring what sendmmsg sent$/],
]

test('here the calls work, and the trial leaves nothing open', () => {
  const before = openDescriptors()
  expect(tryBatchCalls(sys)).toBeNull()
  expect(openDescriptors()).toBe(before)
  expect(chooseDriver('auto', sys)).toEqual({ name: 'batch', why: 'batched system calls work here' })
  expect(chooseDriver('batch', sys)).toEqual({ name: 'batch', why: 'asked for by the configuration' })
})

test.each(REFUSED)(
  'refused: %s. `auto` takes the other driver and says why, `batch` is an error',
  (_what, refusing, why) => {
    const before = openDescriptors()
    const refused = { ...sys, ...refusing }
    expect(chooseDriver('auto', refused)).toEqual({ name: 'dgram', why: expect.stringMatching(why) })
    const problem = expect.stringMatching(
      new RegExp(`^driver: batch is not to be had here: ${why.source.slice(1).replace('$', '')}`),
    )
    expect(() => chooseDriver('batch', refused)).toThrow(
      expect.toSatisfy((error: unknown) => error instanceof ConfigError && problem.asymmetricMatch(error.problems[0])),
    )
    expect(openDescriptors()).toBe(before)
  },
)

test('the other driver is not tried when it is asked for', () => {
  const untouchable = new Proxy(sys, { get: () => expect.unreachable('a system call') })
  expect(chooseDriver('dgram', untouchable)).toEqual({ name: 'dgram', why: 'asked for by the configuration' })
})

test('a machine without IPv4 is tried over IPv6', (context) => {
  skipWithoutIPv6(context)
  const families: number[] = []
  const openDatagram: Syscalls['openDatagram'] = (family, address, options) => {
    families.push(family)
    return family === AF_INET ? -EADDRNOTAVAIL : sys.openDatagram(family, address, options)
  }
  expect(tryBatchCalls({ ...sys, openDatagram })).toBeNull()
  expect(families).toHaveLength(2)
})

test.each<[what: string, quirk: Partial<Syscalls>]>([
  ['a datagram that a firewall swallows', { sendmmsg: () => 1 }],
  [
    'a signal while the datagram is waited for',
    { poll: (fds, count, ms) => (ms > 0 ? -EINTR : sys.poll(fds, count, ms)) },
  ],
  [
    'a datagram that comes late',
    { poll: (fds, count, ms) => (ms > 0 ? 0 : sys.poll(fds, count, ms)), recvmmsg: () => -EAGAIN },
  ],
])('%s says nothing against the calls', (_what, quirk) => {
  expect(tryBatchCalls({ ...sys, ...quirk })).toBeNull()
})
