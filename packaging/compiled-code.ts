/** Compiled code for a staged byname, so that its very first start has it, also where the folder cannot be written. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'

const ANY_PORT = '127.0.0.1:0'
/** Where nobody answers. */
const NOWHERE = '127.0.0.1:9'
const PATIENCE_MS = 60_000

/**
 * Runs what probes, units and operators in a hurry run of the byname that is staged in `root`: each leaves its code in
 * `dist/.cache` (see bin/code-cache.js).
 * @throws Error if one of them fails or leaves nothing.
 */
export async function keepCode(root: string): Promise<void> {
  const scratch = mkdtempSync(join(tmpdir(), 'byname-stage-'))
  const children: ChildProcess[] = []
  const start = (...args: readonly string[]): ChildProcess => {
    const env = { PATH: process.env['PATH'] ?? '' }
    const child = spawn(join(root, 'bin/byname'), args, { stdio: ['ignore', 'ignore', 'pipe'], env, cwd: scratch })
    children.push(child)
    return child
  }
  const complete = async (...args: readonly string[]): Promise<void> => {
    const child = start(...args)
    child.stderr!.pipe(process.stderr)
    const [code] = await once(child, 'exit')
    if (code !== 0) throw new Error(`byname ${args.join(' ')}, run for its code, ended with ${code}`)
  }
  try {
    // It writes automatic addresses beside its files.
    cpSync(join(root, 'config/demo'), join(scratch, 'mesh'), { recursive: true })
    const plane = start('control-plane', '--mesh', join(scratch, 'mesh'), '--listen', ANY_PORT)
    const [serving] = await logged(plane, 'the control plane is serving')
    const settings = [`mesh.source.xds.address=127.0.0.1:${serving!.port}`, `upstream.servers=${NOWHERE}`]
    settings.push(`metrics.listen=${ANY_PORT}`, `admin.listen=${ANY_PORT}`)
    const daemon = start('run', '--listen', ANY_PORT, ...settings.flatMap((setting) => ['--set', setting]))
    const [admin, answering] = await logged(daemon, 'admin endpoint is listening', 'byname is answering')
    if (answering!.driver !== 'batch') throw new Error(`koffi was not staged whole: ${answering!.why}`)
    await complete('version')
    await complete('check')
    await complete('query', 'reviews.default.svc.cluster.local', '--server', answering!.listen![0]!)
    await complete('status', '--admin', `127.0.0.1:${admin!.port}`)
    // A service keeps its code when it has settled.
    await appeared(join(root, 'dist/.cache'), 'run')
  } finally {
    for (const child of children) child.kill('SIGKILL')
    rmSync(scratch, { recursive: true, force: true })
  }
  // Node's own cache of the launcher is for this user alone; the control plane is for those who try things.
  const cache = join(root, 'dist/.cache')
  for (const name of readdirSync(cache)) {
    if (name.startsWith('control-plane') || statSync(join(cache, name)).isDirectory()) {
      rmSync(join(cache, name), { recursive: true })
    }
  }
}

/** A line of the log. */
interface LogLine {
  port?: number
  listen?: string[]
  driver?: string
  why?: string
}

/** Waits for messages in the log of a child; the lines are returned in the order of `messages`. */
async function logged(child: ChildProcess, ...messages: readonly string[]): Promise<LogLine[]> {
  const lines = createInterface({ input: child.stderr!, signal: AbortSignal.timeout(PATIENCE_MS) })
  const found = new Map<string, LogLine>()
  for await (const line of lines) {
    const parsed: LogLine & { msg: string } = JSON.parse(line)
    found.set(parsed.msg, parsed)
    if (messages.every((message) => found.has(message))) return messages.map((message) => found.get(message)!)
  }
  throw new Error(`byname ended, or did not say within ${PATIENCE_MS / 1000} s: ${messages.join(', ')}`)
}

/** Waits for the code of a command. */
async function appeared(cache: string, name: string): Promise<void> {
  const end = Date.now() + PATIENCE_MS
  const isWhole = (file: string): boolean => file.startsWith(`${name}-`) && !file.endsWith('.tmp')
  while (!existsSync(cache) || !readdirSync(cache).some(isWhole)) {
    if (Date.now() > end) throw new Error(`byname ${name} left no code within ${PATIENCE_MS / 1000} s`)
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
}
