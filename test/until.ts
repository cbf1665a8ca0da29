/** Waiting for what other processes, threads or the kernel do. */
import { vi } from 'vitest'
import { WAIT_MS } from './wait.ts'

/** Waits until `condition` returns without an error, and returns what it does. @throws what it threw last, after `WAIT_MS` */
export async function until<T>(condition: () => T | Promise<T>): Promise<T> {
  return await vi.waitFor(condition, { timeout: WAIT_MS, interval: 5 })
}
