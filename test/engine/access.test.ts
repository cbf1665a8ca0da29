import { describe, expect, it } from 'vitest'
import ipaddr from 'ipaddr.js'
import { isAllowed, isLocal, isLoopback } from '../../src/engine/access.ts'
import { EngineUnderTest, settingsWith } from './engine-under-test.ts'

function address(text: string): Uint8Array {
  return Uint8Array.from(ipaddr.parse(text).toByteArray())
}

/** Calls with the address in the middle of other bytes. */
function within<T>(text: string, call: (bytes: Uint8Array, at: number, length: number) => T): T {
  const parsed = address(text)
  const padded = new Uint8Array(parsed.length + 6).fill(0xff)
  padded.set(parsed, 3)
  return call(padded, 3, parsed.length)
}

const settings = settingsWith({
  ownAddresses: [address('10.1.2.3'), address('fd00::5')],
  access: [
    { address: address('192.168.0.0'), length: 16 },
    { address: address('100.64.0.0'), length: 10 },
    { address: address('198.51.100.7'), length: 32 },
    { address: address('fe80::'), length: 10 },
  ],
})

describe('who may ask', () => {
  it.each([
    ['127.0.0.1', true],
    ['127.255.0.9', true],
    ['128.0.0.1', false],
    ['::1', true],
    ['::2', false],
    ['1::1', false],
  ])('%s is loopback: %s', (text, wanted) => {
    expect(within(text, isLoopback)).toBe(wanted)
  })

  it.each([
    ['127.0.0.1', true],
    ['10.1.2.3', true],
    ['10.1.2.4', false],
    ['fd00::5', true],
    ['fd00::6', false],
  ])('%s is local: %s', (text, wanted) => {
    expect(within(text, (...where) => isLocal(settings, ...where))).toBe(wanted)
  })

  it.each([
    ['192.168.255.1', true],
    ['192.169.0.1', false],
    ['100.64.0.1', true],
    ['100.127.255.255', true],
    ['100.128.0.0', false],
    ['198.51.100.7', true],
    ['198.51.100.6', false],
    ['fe80::1', true],
    ['febf::1', true],
    ['fec0::1', false],
    ['2001:db8::1', false],
  ])('%s is allowed: %s', (text, wanted) => {
    expect(within(text, (...where) => isAllowed(settings, ...where))).toBe(wanted)
  })

  it('is everybody of a family with a prefix of no bits', () => {
    const open = settingsWith({ access: [{ address: address('0.0.0.0'), length: 0 }] })
    expect(within('203.0.113.1', (...where) => isAllowed(open, ...where))).toBe(true)
    expect(within('2001:db8::1', (...where) => isAllowed(open, ...where))).toBe(false)
  })
})

describe('a client with an address that nobody knows', () => {
  const UNKNOWN = address('203.0.113.9')

  it('is refused, unless it came to a loopback address: then it is this machine', () => {
    const byname = new EngineUnderTest({ ownAddresses: [], access: [], beforeSync: 'servfail' })
    byname.engine.client(0, UNKNOWN, 0, 4)
    expect(byname.ask('localhost').reply?.rcode).toBe(5)
    byname.engine.client(0, UNKNOWN, 0, 4, true)
    expect(byname.ask('localhost').reply?.rcode).toBe(0)
    // Nothing of that outlives the client.
    byname.engine.client(0, UNKNOWN, 0, 4)
    expect(byname.ask('localhost').reply?.rcode).toBe(5)
  })

  it('gets the larger UDP payload then, as every client of this machine does', () => {
    const byname = new EngineUnderTest({
      maxUdpPayload: { local: 4096, remote: 1232 },
      access: [{ address: UNKNOWN, length: 32 }],
    })
    for (const [isSameMachine, advertised] of [
      [false, 1232],
      [true, 4096],
    ] as const) {
      byname.engine.client(0, UNKNOWN, 0, 4, isSameMachine)
      const { reply } = byname.ask('localhost', 1, { edns: {} })
      expect(reply?.additionals).toMatchObject([{ udpPayloadSize: advertised }])
    }
  })
})
