/** Ports for what must know its port before it listens, or listens at the same one again after a pause. */
import { BindError, probeListener } from '../src/daemon/listener-sockets.ts'

/** Below those that the system gives to sockets that ask for any port (from 32,768 on Linux), above those with names. */
const FIRST = 16_000
/** Test files run side by side in processes with numbers from 1: each has so many ports to itself. */
const PORTS_EACH = 300
const PROCESSES = 50

const first = FIRST + (Number(process.env['VITEST_POOL_ID'] ?? 0) % PROCESSES) * PORTS_EACH
let given = process.pid % PORTS_EACH

/**
 * A port of `address` that is free over UDP and TCP, and stays so until somebody asks for it by its number: neither the
 * system nor a test file that runs at the same time gives it to anybody.
 */
export async function freePort(address: string = '127.0.0.1'): Promise<number> {
  for (let tries = 0; tries < PORTS_EACH; tries++) {
    const port = first + (given++ % PORTS_EACH)
    try {
      await probeListener(address, port, 1)
      return port
    } catch (error) {
      if (!(error instanceof BindError)) throw error
    }
  }
  throw new Error(`none of the ports ${first} to ${first + PORTS_EACH - 1} of ${address} is free`)
}
