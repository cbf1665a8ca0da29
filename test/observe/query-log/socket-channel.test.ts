import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer, type Server, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Channel } from '../../../src/observe/query-log/channel.ts'
import { socketChannel } from '../../../src/observe/query-log/socket-channel.ts'
import { Control, controlFrame, readControlFrame } from '../../../src/querylog/frame-streams.ts'

const CONTENT = 'protobuf:dnstap.Dnstap'

let folder: string
let path: string
let server: Server
let reader: Socket | null
let received: string
/** What the reader does with what comes. */
let react: (chunk: Buffer, reader: Socket) => void
const lost: string[] = []
const open: Channel[] = []

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'byname-query-log-'))
  path = join(folder, 'socket')
  received = ''
  reader = null
  lost.length = 0
  react = () => {}
  server = createServer({ allowHalfOpen: true }, (socket) => {
    reader = socket
    socket.on('error', () => {})
    socket.on('data', (chunk: Buffer) => {
      received += chunk.toString('latin1')
      react(chunk, socket)
    })
    socket.on('end', () => socket.end())
  })
  server.listen(path)
  await once(server, 'listening')
})

afterEach(async () => {
  for (const channel of open.splice(0)) await channel.close()
  reader?.destroy()
  server.close()
  rmSync(folder, { recursive: true })
})

async function begin(contentType: string | null): Promise<Channel> {
  const channel = await socketChannel(path, contentType)((reason) => void lost.push(reason))
  open.push(channel)
  return channel
}

/** A reader as the protocol has it. */
function accept(chunk: Buffer, socket: Socket): void {
  const frame = readControlFrame(chunk)
  if (frame === null || typeof frame === 'string') return
  if (frame.type === Control.READY) socket.write(controlFrame(Control.ACCEPT, CONTENT))
  if (frame.type === Control.STOP) socket.write(controlFrame(Control.FINISH, null))
}

/** Waits until something is so; every event of the reader is a reason to look. */
async function until(isTrue: () => boolean): Promise<void> {
  while (!isTrue()) await new Promise<void>((resolve) => setImmediate(resolve))
}

const latin = (...frames: Buffer[]): string => Buffer.concat(frames).toString('latin1')

describe('a socket without frames', () => {
  it('gets what is written, and the end', async () => {
    const channel = await begin(null)
    await channel.write(Buffer.from('one\n'))
    await channel.write(Buffer.from('two\n'))
    await channel.close()
    await until(() => received === 'one\ntwo\n')
    expect(lost).toEqual([])
  })

  it('says when its reader goes', async () => {
    await begin(null)
    await until(() => reader !== null)
    reader!.destroy()
    await until(() => lost.length > 0)
    expect(lost).toEqual(['the reader has closed the connection'])
  })

  it('that nobody listens on cannot be opened', async () => {
    path = join(folder, 'nobody')
    await expect(begin(null)).rejects.toThrow(/ENOENT/)
  })
})

describe('frame streams', () => {
  it('begin and end as the protocol says', async () => {
    react = accept
    const channel = await begin(CONTENT)
    await channel.write(Buffer.from('data'))
    await channel.close()
    expect(received).toBe(
      latin(
        controlFrame(Control.READY, CONTENT),
        controlFrame(Control.START, CONTENT),
        Buffer.from('data'),
        controlFrame(Control.STOP, null),
      ),
    )
    expect(lost).toEqual([])
  })

  it('take an answer that comes byte by byte', async () => {
    react = (chunk, socket) => {
      const frame = readControlFrame(chunk)
      if (frame === null || typeof frame === 'string' || frame.type !== Control.READY) return
      for (const byte of controlFrame(Control.ACCEPT, CONTENT)) socket.write(Buffer.of(byte))
    }
    await begin(CONTENT)
    await until(() => received.endsWith(latin(controlFrame(Control.START, CONTENT))))
  })

  it.each([
    ['takes something else', controlFrame(Control.ACCEPT, 'text/plain'), /takes text\/plain and not protobuf/],
    ['answers something else', controlFrame(Control.FINISH, null), /by something else than ACCEPT/],
    ['speaks something else', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), /does not speak frame streams/],
  ])('are not begun with a reader that %s', async (_, answer, reason) => {
    react = (_chunk, socket) => void socket.write(answer)
    await expect(begin(CONTENT)).rejects.toThrow(reason)
  })

  it('are not begun with a reader that goes', async () => {
    react = (_chunk, socket) => void socket.destroy()
    await expect(begin(CONTENT)).rejects.toThrow('the reader has closed the connection')
  })

  it('end at once where the reader has gone', async () => {
    react = accept
    const channel = await begin(CONTENT)
    reader!.destroy()
    await until(() => lost.length > 0)
    await channel.close()
    await expect(channel.write(Buffer.from('x'))).rejects.toThrow(lost[0]!)
  })
})
