/** Servers of tests: on loopback, on a port that is free. */
import type { Server } from 'node:net'

/** Makes a server listen and returns its port. */
export function listening(server: Server): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  server.once('error', reject)
  server.listen(0, '127.0.0.1', () => {
    const address = server.address()
    if (address !== null && typeof address === 'object') resolve(address.port)
    else reject(new Error('not listening on a port'))
  })
  return promise
}
