import { createServer, type Server } from 'node:net'
import { afterEach, expect, it } from 'vitest'
import { ClientListeners } from '../../src/stream/clients/client-listeners.ts'

const ANY = { address: '127.0.0.1', port: 0, fd: null }

let servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close()
})

function listeners(): ClientListeners {
  return new ClientListeners(() => {
    const server = createServer()
    servers.push(server)
    return server
  })
}

it('accept nothing more once closed, and may be closed twice', async () => {
  const opened = listeners()
  const { bound, failed } = await opened.open([ANY, ANY])
  expect([bound.length, failed, servers.map(({ listening }) => listening)]).toEqual([2, [], [true, true]])
  opened.close()
  opened.close()
  expect(servers.map(({ listening }) => listening)).toEqual([false, false])
})

it('that are closed while they open do not stay open', async () => {
  const closed = listeners()
  const opening = closed.open([ANY])
  closed.close()
  expect((await opening).bound).toHaveLength(1)
  expect(servers.map(({ listening }) => listening)).toEqual([false])
})

it('that cannot be had are named, and the others are open', async () => {
  const opened = listeners()
  const [busy] = (await opened.open([ANY])).bound
  const { bound, failed } = await opened.open([{ ...ANY, port: busy!.port }, ANY, { ...ANY, address: '192.0.2.1' }])
  expect(bound).toHaveLength(1)
  expect(failed.map(({ code, message }) => [code, message])).toEqual([
    [
      'EADDRINUSE',
      `TCP 127.0.0.1:${busy!.port}: address already in use; stop what listens there or choose another port`,
    ],
    ['EADDRNOTAVAIL', 'TCP 192.0.2.1:0: this machine has no such address'],
  ])
  opened.close()
})
