/** The machine that a report is about: its files and programs. */
import { execFile } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import { join } from 'node:path'
import { readBoundedText } from '../../base/bounded-file.ts'

/** A machine, passed in so that tests can have one of their own. None of it throws. */
export interface Host {
  /** A file's text, or why there is none. At most `MOST_BYTES`. */
  read(path: string): { text: string } | { reason: string }
  /** Names in a folder; empty if there is none. */
  list(path: string): string[]
  /** Where a symbolic link leads; null if it is none. */
  link(path: string): string | null
  /** Runs a program to its end, for some seconds at most, and returns what it prints, or why it printed nothing. */
  run(program: string, args: readonly string[], signal: AbortSignal): Promise<{ text: string } | { reason: string }>
}

const MOST_BYTES: number = 8 * 1024 * 1024
const RUN_MS = 5000

/** This machine; files are looked for below `root`. `path` is where programs are looked for, beside the folders of system programs. */
export function thisHost(path: string, root: string = '/'): Host {
  const env = {
    PATH: [path, '/usr/sbin', '/sbin', '/usr/bin', '/bin'].filter((each) => each !== '').join(':'),
    LC_ALL: 'C',
  }
  return {
    read(file) {
      const reading = readBoundedText(join(root, file), MOST_BYTES)
      return 'text' in reading ? reading : { reason: reading.problem.reason }
    },
    list(folder) {
      try {
        return readdirSync(join(root, folder)).toSorted()
      } catch {
        return []
      }
    },
    link(file) {
      try {
        return readlinkSync(join(root, file))
      } catch {
        return null
      }
    },
    run(program, args, signal) {
      return new Promise((resolve) => {
        const options = {
          env,
          signal,
          timeout: RUN_MS,
          maxBuffer: MOST_BYTES,
          encoding: 'utf8',
          killSignal: 'SIGKILL',
        } as const
        execFile(program, args, options, (error, stdout, stderr) => {
          if (error === null) return resolve({ text: stdout })
          if (error.code === 'ENOENT') return resolve({ reason: `${program} is not installed` })
          const said = stderr.replace(/\s+/g, ' ').trim().slice(0, 300)
          resolve({
            reason: error.killed === true ? `${program} did not end in time` : `${program}: ${said || error.message}`,
          })
        })
      })
    },
  }
}

/** A file's text. @throws Error with the reason why there is none */
export function mustRead(host: Host, path: string): string {
  const read = host.read(path)
  if ('reason' in read) throw new Error(`${path}: ${read.reason}`)
  return read.text
}

/** A file's text, '' where there is none. */
export function readOr(host: Host, path: string): string {
  const read = host.read(path)
  return 'text' in read ? read.text : ''
}
