/**
 * A file of the query log. It has whole entries alone: what a full disk has cut off is cut off altogether. When it has reached
 * its bound it becomes FILE.1, and a new one begins. A FIFO is written without waiting for its reader.
 */
import { constants } from 'node:fs'
import { type FileHandle, open, rename, stat } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'
import { describeError } from '../../base/log.ts'
import type { Channel, OpenChannel } from './channel.ts'

/** Who is asked for is private: others than owner and group do not read it. */
const MODE = 0o640
/** A FIFO or terminal that is full is tried again after so long. */
const FULL_PAUSE_MS = 20
const FLAGS: number = constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK
const STANDARD_OUTPUT = '/dev/stdout'

/** What a file is to be like. */
export interface FileOptions {
  path: string
  /** What stands at its beginning and its end; with them a file is begun anew, as nothing can follow an end. */
  frame: { start: Uint8Array; stop: Uint8Array } | null
  /** 0: no bound. */
  maxBytes: number
}

/** Opens a file to append to it. */
export function fileChannel(options: FileOptions): OpenChannel {
  return async () => {
    const channel = new FileChannel(options)
    try {
      await channel.open()
      return channel
    } catch (error) {
      await channel.close()
      throw error
    }
  }
}

/** Opens this process's standard output, which is nobody's to move away. */
export function standardOutputChannel(frame: FileOptions['frame']): OpenChannel {
  return async () => {
    const channel = new FileChannel({ path: STANDARD_OUTPUT, frame, maxBytes: 0 })
    try {
      // Opened once more, it does not wait for its reader, and whoever else has it does as before.
      await channel.open()
      return channel
    } catch {
      await channel.close()
      // A socket, or a pipe that another user has opened, cannot be.
      return new StreamChannel(process.stdout, frame)
    }
  }
}

class FileChannel implements Channel {
  readonly #options: FileOptions
  #handle: FileHandle | null = null
  /** It is a file on a disk, and not a FIFO or a device. */
  #isRegular = false
  /** Bytes of whole entries in it. */
  #bytes = 0
  readonly #closing: AbortController = new AbortController()

  constructor(options: FileOptions) {
    this.#options = options
  }

  async open(): Promise<void> {
    const { path, frame } = this.#options
    const isOwn = path !== STANDARD_OUTPUT
    if (frame !== null && isOwn && (await isFilled(path))) await rename(path, `${path}.1`)
    const handle = await open(path, FLAGS | (isOwn ? constants.O_CREAT : 0), MODE).catch((error: unknown) => {
      throw isNobodyThere(error) ? new Error(`nobody reads the FIFO ${path}`) : error
    })
    this.#handle = handle
    const found = await handle.stat()
    this.#isRegular = found.isFile() && isOwn
    this.#bytes = found.size
    if (frame !== null) await this.#writeAll(handle, frame.start)
  }

  async write(bytes: Uint8Array): Promise<void> {
    const { maxBytes } = this.#options
    const isFull = maxBytes > 0 && this.#bytes > 0 && this.#bytes + bytes.length > maxBytes
    if (isFull && this.#isRegular) await this.#turnOver()
    await this.#writeAll(this.#handle!, bytes)
  }

  async reopen(): Promise<void> {
    if (!this.#isRegular) return
    const [own, there] = await Promise.all([this.#handle!.stat(), stat(this.#options.path).catch(() => null)])
    if (there !== null && there.ino === own.ino && there.dev === own.dev) return
    await this.#end()
    await this.open()
  }

  async close(): Promise<void> {
    this.#closing.abort()
    await this.#end().catch(() => {})
  }

  async #turnOver(): Promise<void> {
    const { path } = this.#options
    await this.#end()
    await rename(path, `${path}.1`)
    await this.open()
  }

  async #end(): Promise<void> {
    const handle = this.#handle
    const { frame } = this.#options
    this.#handle = null
    if (handle === null) return
    try {
      if (frame !== null) await handle.write(frame.stop)
    } finally {
      await handle.close()
    }
  }

  async #writeAll(handle: FileHandle, bytes: Uint8Array): Promise<void> {
    try {
      for (let at = 0; at < bytes.length; ) at += await this.#writeSome(handle, bytes.subarray(at))
      this.#bytes += bytes.length
    } catch (error) {
      if (this.#isRegular) await this.#cutOff(handle)
      throw error
    }
  }

  async #writeSome(handle: FileHandle, bytes: Uint8Array): Promise<number> {
    try {
      return (await handle.write(bytes)).bytesWritten
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && error.code === 'EAGAIN')) throw error
      await pause(FULL_PAUSE_MS, undefined, { signal: this.#closing.signal })
      return 0
    }
  }

  /** Takes back a part of an entry; somebody else may have made the file shorter meanwhile. */
  async #cutOff(handle: FileHandle): Promise<void> {
    const { size } = await handle.stat()
    if (size > this.#bytes) await handle.truncate(this.#bytes).catch(() => {})
  }
}

/** A stream that is this process's own, and stays open. */
class StreamChannel implements Channel {
  readonly #stream: NodeJS.WritableStream
  readonly #frame: FileOptions['frame']
  #hasBegun = false

  constructor(stream: NodeJS.WritableStream, frame: FileOptions['frame']) {
    this.#stream = stream
    this.#frame = frame
    // The write that fails says so, too; without a listener it would end the process.
    stream.on('error', ignore)
  }

  async write(bytes: Uint8Array): Promise<void> {
    if (!this.#hasBegun && this.#frame !== null) await this.#write(this.#frame.start)
    this.#hasBegun = true
    await this.#write(bytes)
  }

  async reopen(): Promise<void> {}

  async close(): Promise<void> {
    if (this.#hasBegun && this.#frame !== null) await this.#write(this.#frame.stop).catch(ignore)
    this.#stream.off('error', ignore)
  }

  #write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#stream.write(bytes, (error) => (error ? reject(error) : resolve()))
    })
  }
}

function ignore(): void {}

async function isFilled(path: string): Promise<boolean> {
  const found = await stat(path).catch(() => null)
  return found !== null && found.isFile() && found.size > 0
}

/** A FIFO without a reader. */
function isNobodyThere(error: unknown): boolean {
  return describeError(error).includes('ENXIO')
}
