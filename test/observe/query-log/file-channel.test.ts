import { execFileSync } from 'node:child_process'
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Channel } from '../../../src/observe/query-log/channel.ts'
import { fileChannel } from '../../../src/observe/query-log/file-channel.ts'

const FRAME = { start: Buffer.from('<'), stop: Buffer.from('>') }

let folder: string
let path: string
const open: Channel[] = []

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-query-log-'))
  path = join(folder, 'queries')
})

afterEach(async () => {
  for (const channel of open.splice(0)) await channel.close()
  rmSync(folder, { recursive: true })
})

async function begin(frame: typeof FRAME | null = null, maxBytes = 0): Promise<Channel> {
  const channel = await fileChannel({ path, frame, maxBytes })(() => {})
  open.push(channel)
  return channel
}

const text = (name = 'queries'): string => readFileSync(join(folder, name), 'utf8')

describe('a file', () => {
  it('is appended to, and others than owner and group may not read it', async () => {
    writeFileSync(path, 'before\n')
    await (await begin()).write(Buffer.from('after\n'))
    expect(text()).toBe('before\nafter\n')
    unlinkSync(path)
    await begin()
    expect(statSync(path).mode & 0o007).toBe(0)
  })

  it('that was moved away is begun anew when that is asked for, and one that was not goes on', async () => {
    const channel = await begin()
    await channel.write(Buffer.from('a'))
    await channel.reopen()
    renameSync(path, `${path}.old`)
    await channel.write(Buffer.from('b'))
    await channel.reopen()
    await channel.write(Buffer.from('c'))
    expect([text('queries.old'), text()]).toEqual(['ab', 'c'])
    unlinkSync(path)
    await channel.reopen()
    expect(text()).toBe('')
  })

  it('becomes FILE.1 before it is larger than its bound, and what was FILE.1 goes', async () => {
    const channel = await begin(null, 10)
    for (const each of ['aaaa', 'bbbb', 'cccc', 'dddd', 'eeee']) await channel.write(Buffer.from(each))
    expect([text('queries.1'), text()]).toEqual(['ccccdddd', 'eeee'])
    await channel.write(Buffer.alloc(40, 'f'))
    expect([text('queries.1'), text()]).toEqual(['eeee', 'f'.repeat(40)])
  })

  it('that is empty is not put aside for one entry that is larger than its bound', async () => {
    writeFileSync(`${path}.1`, 'before')
    const channel = await begin(null, 10)
    await channel.write(Buffer.alloc(40, 'f'))
    expect([text('queries.1'), text()]).toEqual(['before', 'f'.repeat(40)])
  })

  it('that is just as large as its bound is whole', async () => {
    const channel = await begin(null, 8)
    for (const each of ['aaaa', 'bbbb', 'c']) await channel.write(Buffer.from(each))
    expect([text('queries.1'), text()]).toEqual(['aaaabbbb', 'c'])
  })

  it('with a beginning and an end has both, and is never continued behind its end', async () => {
    writeFileSync(path, '<before>')
    const channel = await begin(FRAME, 6)
    await channel.write(Buffer.from('aa'))
    await channel.reopen()
    await channel.write(Buffer.from('bb'))
    expect([text('queries.1'), text()]).toEqual(['<before>', '<aabb'])
    await channel.write(Buffer.from('cc'))
    await channel.close()
    expect([text('queries.1'), text()]).toEqual(['<aabb>', '<cc>'])
  })

  it('of which a full disk has taken a part has whole entries alone', async () => {
    // The kernel refuses what goes over the limit, as a full disk does.
    const script = `
      import { fileChannel } from ${JSON.stringify(new URL('../../../src/observe/query-log/file-channel.ts', import.meta.url).pathname)}
      process.on('SIGXFSZ', () => {})
      const channel = await fileChannel({ path: ${JSON.stringify(path)}, frame: null, maxBytes: 0 })(() => {})
      await channel.write(Buffer.alloc(1000, 'a'))
      const outcome = await channel.write(Buffer.alloc(2000, 'b')).then(() => 'written', (error) => error.code)
      await channel.close()
      process.stdout.write(outcome)`
    const program = `ulimit -f 4; exec "${process.execPath}" --input-type=module -e "$SCRIPT"`
    const outcome = execFileSync('sh', ['-c', program], {
      env: { PATH: process.env['PATH'], SCRIPT: script },
      encoding: 'utf8',
    })
    expect(outcome).toBe('EFBIG')
    expect(text()).toBe('a'.repeat(1000))
  })

  it.each([
    ['a folder that is not there', () => (path = join(folder, 'no', 'queries')), /ENOENT/],
    ['a folder instead of a file', () => (path = folder), /EISDIR/],
  ])('cannot be in %s', async (_, arrange, reason) => {
    arrange()
    await expect(begin()).rejects.toThrow(reason)
  })

  it('that is always full says so', async () => {
    path = '/dev/full'
    await expect((await begin()).write(Buffer.from('a'))).rejects.toThrow(/ENOSPC/)
  })
})

/** Opens it to read, without waiting for whoever writes. */
function attach(): number {
  return openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
}

describe('a FIFO', () => {
  beforeEach(() => void execFileSync('mkfifo', [path]))

  it('without a reader is not waited for', async () => {
    await expect(begin()).rejects.toThrow(`nobody reads the FIFO ${path}`)
  })

  it('is written as its reader makes room, and a part is no failure', async () => {
    const fd = attach()
    const channel = await begin()
    const entries = Buffer.alloc(300_000, 'x')
    let isDone = false
    const written = channel.write(entries).finally(() => (isDone = true))
    const room = Buffer.alloc(65_536)
    let got = 0
    while (got < entries.length) {
      try {
        got += readSync(fd, room)
      } catch (error) {
        expect(error).toMatchObject({ code: 'EAGAIN' })
      }
      await new Promise<void>((resolve) => setImmediate(resolve))
    }
    await written
    expect([got, isDone]).toEqual([entries.length, true])
    closeSync(fd)
    await expect(channel.write(Buffer.from('a'))).rejects.toThrow(/EPIPE/)
  })

  it('that is full does not keep its channel from being closed', async () => {
    const fd = attach()
    const channel = await begin()
    const written = channel.write(Buffer.alloc(300_000)).catch((error: Error) => error.name)
    await new Promise<void>((resolve) => setImmediate(resolve))
    await channel.close()
    expect(await written).not.toBeUndefined()
    closeSync(fd)
  })
})
