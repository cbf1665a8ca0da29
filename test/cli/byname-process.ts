import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'

/** The launcher, as people start it. */
export const LAUNCHER: string = fileURLToPath(new URL('../../bin/byname', import.meta.url))

/** How a command ended. */
export interface Ended {
  code: number | null
  out: string
  err: string
}

/** Starts `byname` with these arguments; only PATH comes from this process's environment. */
export function startByname(args: readonly string[], env: Record<string, string> = {}): ChildProcess {
  return spawn(LAUNCHER, args, {
    env: { PATH: process.env['PATH'] ?? '', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
}

/** Runs `byname` to its end. */
export async function byname(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const child = startByname(args, env)
  let out = ''
  let err = ''
  child.stdout?.setEncoding('utf8').on('data', (text: string) => (out += text))
  child.stderr?.setEncoding('utf8').on('data', (text: string) => (err += text))
  await once(child, 'close')
  return { code: child.exitCode, out, err }
}
