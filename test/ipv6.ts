/** IPv6 where the machine has it: tests that need it are skipped elsewhere, and say why. */
import { createSocket } from 'node:dgram'
import type { TestContext } from 'vitest'

/** Whether ::1 can be bound. */
export const hasIPv6: boolean = await new Promise((resolve) => {
  const socket = createSocket('udp6')
  socket.once('error', () => {
    socket.close()
    resolve(false)
  })
  socket.bind({ address: '::1', port: 0, exclusive: true }, () => socket.close(() => resolve(true)))
})

/** Skips the test if it is about an address that this machine cannot bind for want of IPv6. */
export function skipWithoutIPv6(context: Pick<TestContext, 'skip'>, address: string = '::1'): void {
  context.skip(address.includes(':') && !hasIPv6, 'this machine cannot bind ::1')
}
