import { afterEach, describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { BindError, openListener, type OpenListener } from '../../src/daemon/listener-sockets.ts'
import { chooseDriver, openListeners, overlap } from '../../src/daemon/listeners.ts'
import { openDescriptors, sys } from '../worker/data-plane.ts'

const log = { level: 'info', debug: () => {}, info: () => {}, warn: () => {}, error: () => {} } as const

function configOf(...listen: string[]): Config {
  const flags = [{ path: ['listen'], value: listen, from: 'test' }]
  return loadConfig({ env: {}, flags }).config
}

describe('addresses that cannot be had while the old process listens', () => {
  test.each([
    [['127.0.0.1:53'], ['127.0.0.1:53'], false],
    [['127.0.0.2:53'], ['127.0.0.1:53'], false],
    [['0.0.0.0:53'], ['0.0.0.0:53'], false],
    [['0.0.0.0:53'], ['127.0.0.1:53'], true],
    [['127.0.0.1:53'], ['0.0.0.0:53'], true],
    [['0.0.0.0:53'], ['127.0.0.1:54'], false],
    // Sockets of IPv6 take no IPv4.
    [['[::]:53'], ['127.0.0.1:53'], false],
    [['127.0.0.1:53'], ['[::]:53'], false],
    [['[::1]:53'], ['[::]:53'], true],
    [['127.0.0.1:53', '127.0.0.2:53', '[::]:53'], ['127.0.0.1:53', '[::1]:53'], true],
    [['0.0.0.0:53', '127.0.0.1:53'], ['0.0.0.0:53', '127.0.0.1:53'], false],
  ])('%j beside %j: %s', (wanted, held, expected) => {
    const open = configOf(...held).listen.map(
      ({ address, port, family }): OpenListener => ({
        address,
        port,
        family: family === 6 ? 1 : 0,
        isWildcard: address === '0.0.0.0' || address === '::',
        tcpFd: -1,
        udpFds: [],
        isShared: false,
        isActivated: false,
      }),
    )
    expect(overlap(configOf(...wanted).listen, open)).toBe(expected)
  })
})

describe('the driver', () => {
  test.each([
    ['dgram', sys, { name: 'dgram', why: 'asked for by the configuration' }],
    ['auto', 'koffi is missing', { name: 'dgram', why: 'koffi is missing' }],
    ['auto', sys, { name: 'batch', why: 'batched system calls work here' }],
    ['batch', sys, { name: 'batch', why: 'asked for by the configuration' }],
  ] as const)('where %s is wanted', (wanted, calls, expected) => {
    expect(chooseDriver(wanted, calls)).toEqual(expected)
  })

  test('that is asked for and not to be had is an error with the reason', () => {
    expect(() => chooseDriver('batch', 'koffi is missing')).toThrow(
      'driver: batch is not to be had here: koffi is missing; use auto',
    )
  })
})

describe('sockets of the process before', () => {
  const open: OpenListener[] = []
  afterEach(() => {
    for (const { tcpFd, udpFds } of open.splice(0)) for (const fd of [tcpFd, ...udpFds]) sys.close(fd)
  })

  test('are used where they fit, whatever port they have if any will do, and the others are closed', async () => {
    const before = openDescriptors()
    const lent = ['127.0.0.1', '127.0.0.2', '127.0.0.3'].map((address) => openListener(sys, address, 0, 1)!)
    const [first, second] = lent
    open.push(...(await openListeners(configOf(`127.0.0.1:${first!.port}`, '127.0.0.2:0'), sys, lent, log)))
    expect([open[0], open[1]]).toEqual([first, second])
    expect([open.length, openDescriptors() - before]).toEqual([2, 4])
  })

  test('are all closed where another address cannot be had, and so is what was opened meanwhile', async () => {
    const busy = openListener(sys, '127.0.0.1', 0, 1)!
    open.push(busy)
    const before = openDescriptors()
    const lent = [openListener(sys, '127.0.0.2', 0, 1)!, openListener(sys, '127.0.0.3', 0, 1)!]
    const config = configOf('127.0.0.2:0', '127.0.0.4:0', `127.0.0.1:${busy.port}`)
    await expect(openListeners(config, sys, lent, log)).rejects.toThrow(BindError)
    expect(openDescriptors()).toBe(before)
  })
})
