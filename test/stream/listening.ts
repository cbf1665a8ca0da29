/** Servers of tests: on loopback, on a port that stays free when they have stopped. */
import { once } from 'node:events'
import type { Server } from 'node:net'
import { freePort } from '../free-port.ts'

/** Makes a server listen and returns its port. */
export async function listening(server: Server): Promise<number> {
  const port = await freePort()
  server.listen(port, '127.0.0.1')
  await once(server, 'listening')
  return port
}
