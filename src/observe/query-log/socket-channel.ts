/** A Unix socket that the query log is written to, plainly or as frame streams (frame-streams.ts). */
import { connect, type Socket } from 'node:net'
import { Control, controlFrame, type ControlFrame, readControlFrame } from '../../querylog/frame-streams.ts'
import type { Channel, OpenChannel } from './channel.ts'

/** The reader may take so long to answer READY, and STOP. */
const ANSWER_MS = 5000
const FINISH_MS = 500

/** Connects to the socket at `path`. `contentType`: of the frames; null where there are none. */
export function socketChannel(path: string, contentType: string | null): OpenChannel {
  return async (lost) => {
    const channel = new SocketChannel(connect({ path }), contentType)
    try {
      await channel.begin()
    } catch (error) {
      channel.destroy()
      throw error
    }
    channel.watch(lost)
    return channel
  }
}

class SocketChannel implements Channel {
  readonly #socket: Socket
  readonly #contentType: string | null
  /** What the reader has sent and nobody has read. */
  #received: Buffer = Buffer.alloc(0)
  #problem = 'the reader has closed the connection'
  #isOver = false
  #isClosing = false
  /** Called at everything that happens to the socket. */
  #look: () => void = () => {}

  constructor(socket: Socket, contentType: string | null) {
    this.#socket = socket
    this.#contentType = contentType
    socket.on('connect', () => this.#look())
    socket.on('data', (chunk: Buffer) => {
      // Without frames there is nothing that a reader could say.
      if (contentType !== null) this.#received = Buffer.concat([this.#received, chunk])
      this.#look()
    })
    socket.on('error', (error) => (this.#problem = error.message))
    socket.on('finish', () => this.#look())
    socket.on('end', () => socket.destroy())
    socket.on('close', () => {
      this.#isOver = true
      this.#look()
    })
  }

  /** Resolves when entries may follow. */
  async begin(): Promise<void> {
    const contentType = this.#contentType
    await this.#until(() => !this.#socket.connecting, ANSWER_MS, 'it does not take the connection')
    if (contentType === null) return
    this.#socket.write(controlFrame(Control.READY, contentType))
    const { type, contentTypes } = await this.#answer(ANSWER_MS)
    if (type !== Control.ACCEPT) throw new Error('the reader answers READY by something else than ACCEPT')
    if (contentTypes.length > 0 && !contentTypes.includes(contentType))
      throw new Error(`the reader takes ${contentTypes.join(', ')} and not ${contentType}`)
    this.#socket.write(controlFrame(Control.START, contentType))
  }

  /** Tells of the connection's end from now on. */
  watch(lost: (reason: string) => void): void {
    this.#look = () => {
      if (this.#isOver && !this.#isClosing) lost(this.#problem)
      // After ACCEPT a reader has nothing to say before FINISH.
      if (this.#received.length > 0 && !this.#isClosing) this.#socket.destroy()
    }
    this.#look()
  }

  write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.write(bytes, (error) => (error ? reject(new Error(this.#problem, { cause: error })) : resolve()))
    })
  }

  async reopen(): Promise<void> {}

  async close(): Promise<void> {
    this.#isClosing = true
    if (!this.#isOver && this.#contentType !== null) {
      this.#socket.write(controlFrame(Control.STOP, null))
      await this.#answer(FINISH_MS).catch(() => {})
    } else if (!this.#isOver) {
      this.#socket.end()
      await this.#until(() => this.#socket.writableFinished, FINISH_MS, '').catch(() => {})
    }
    this.destroy()
  }

  destroy(): void {
    this.#isClosing = true
    this.#socket.destroy()
  }

  /** The next control frame of the reader. */
  async #answer(withinMs: number): Promise<ControlFrame> {
    let frame: ControlFrame | string | null = null
    await this.#until(() => (frame = readControlFrame(this.#received)) !== null, withinMs, 'the reader does not answer')
    return this.#take(frame)
  }

  #take(frame: ControlFrame | string | null): ControlFrame {
    if (frame === null || typeof frame === 'string') throw new Error(frame ?? this.#problem)
    this.#received = this.#received.subarray(frame.length)
    return frame
  }

  /** Resolves as soon as `isTrue`; rejects at the end of the connection, and with `tooLate` after so long. */
  #until(isTrue: () => boolean, withinMs: number, tooLate: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (error: Error | null): void => {
        clearTimeout(timer)
        this.#look = () => {}
        if (error === null) resolve()
        else reject(error)
      }
      const timer = setTimeout(() => settle(new Error(tooLate)), withinMs)
      this.#look = () => {
        if (this.#isOver) settle(new Error(this.#problem))
        else if (isTrue()) settle(null)
      }
      this.#look()
    })
  }
}
