/** Does what a plan says (resolver-plan.ts), below a root folder: `/`, or a test's own. */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { dirname, join } from 'node:path'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import type { Action, MachineFiles } from './resolver-plan.ts'

/** As everybody must read resolv.conf. */
const MODE = 0o644
const RUN_MS = 60_000

/** Not all of it was done. The message is one line with the remedy. */
export class ResolverError extends Error {
  readonly code = 'RESOLVER'
  override readonly name = 'ResolverError'
}

/** The files below `root`. */
export function filesBelow(root: string): MachineFiles {
  return {
    read: (path) => {
      const reading = readBoundedText(below(root, path), MAX_FILE_BYTES.resolvConf)
      return 'text' in reading ? reading.text : null
    },
    link: (path) => {
      try {
        return readlinkSync(join(root, path))
      } catch {
        return null
      }
    },
    list: (folder) => {
      try {
        return readdirSync(join(root, folder))
      } catch {
        return []
      }
    },
  }
}

/** A symbolic link to an absolute path leads below the root as well. */
function below(root: string, path: string): string {
  const at = join(root, path)
  if (root === '/') return at
  try {
    const target = readlinkSync(at)
    return target.startsWith('/') ? below(root, target) : join(dirname(at), target)
  } catch {
    return at
  }
}

/** Does one action. @throws ResolverError */
export function perform(action: Action, root: string, env: Readonly<Record<string, string | undefined>>): void {
  try {
    switch (action.kind) {
      case 'write':
        return writeAside(join(root, action.path), action.text)
      case 'remove':
        return rmSync(join(root, action.path), { force: true })
      case 'replace':
        return replace(join(root, action.path), action.text, join(root, action.keep))
      case 'restore':
        return renameSync(join(root, action.keep), join(root, action.path))
      default:
        return run(action, env)
    }
  } catch (error) {
    throw error instanceof ResolverError ? error : new ResolverError(explain(action, error))
  }
}

/** The action as a line for people. */
export function actionText(action: Action): string {
  switch (action.kind) {
    case 'write':
      return `write ${action.path}:\n${indented(action.text)}`
    case 'remove':
      return `remove ${action.path}`
    case 'replace':
      return `keep ${action.path} as ${action.keep}, and put in its place:\n${indented(action.text)}`
    case 'restore':
      return `put ${action.keep} back as ${action.path}`
    default:
      return commandText(action)
  }
}

/** As a command for a shell. */
export function commandText({ program, args, input }: Action & { kind: 'run' }): string {
  const command = [program, ...args].join(' ')
  return input === '' ? command : `printf '${input.replaceAll('\n', String.raw`\n`)}' | ${command}`
}

function indented(text: string): string {
  return text.trimEnd().replaceAll(/^/gm, '  ')
}

/** A second name for what is there, whatever it is, then another file under the first: a reader sees one or the other. */
function replace(path: string, text: string, keep: string): void {
  if (isThere(path)) {
    rmSync(keep, { force: true })
    linkSync(path, keep)
  }
  try {
    writeAside(path, text)
  } catch (error) {
    rmSync(keep, { force: true })
    throw error
  }
}

/** Writes beside the file and renames, so that a symbolic link at the path is replaced, not followed. */
function writeAside(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true })
  const beside = `${path}.${randomBytes(8).toString('hex')}.tmp`
  writeFileSync(beside, text, { flag: 'wx', mode: MODE })
  try {
    // Whatever the umask: every program reads it.
    chmodSync(beside, MODE)
    renameSync(beside, path)
  } catch (error) {
    rmSync(beside, { force: true })
    throw error
  }
}

function isThere(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false }) !== undefined
}

function run(action: Action & { kind: 'run' }, env: Readonly<Record<string, string | undefined>>): void {
  const { program, args, input } = action
  const path = [env['PATH'], '/usr/sbin', '/sbin', '/usr/bin', '/bin'].filter(Boolean).join(':')
  const ended = spawnSync(program, args, { input, env: { PATH: path }, encoding: 'utf8', timeout: RUN_MS })
  if (ended.status === 0) return
  const isMissing = ended.error !== undefined && 'code' in ended.error && ended.error.code === 'ENOENT'
  const why = isMissing ? `${program} is not installed` : (ended.error?.message ?? ended.stderr.trim())
  throw new ResolverError(`${commandText(action)}: ${why.replaceAll(/\s*\n\s*/g, ' ')}`)
}

function explain(action: Action, error: unknown): string {
  const code = error instanceof Error && 'code' in error ? String(error.code) : String(error)
  const path = 'path' in action ? action.path : ''
  const remedy: Record<string, string> = {
    EBUSY:
      'is mounted (as in a container): whoever starts the container says what stands in it (docker --dns, dnsPolicy)',
    EXDEV:
      'is mounted (as in a container): whoever starts the container says what stands in it (docker --dns, dnsPolicy)',
    EROFS: 'is on a file system that is mounted read-only',
    EACCES: 'may not be changed by this user; run it as root',
    EPERM: isRoot()
      ? 'may not be changed, perhaps by its immutable attribute: chattr -i takes it off'
      : 'may not be changed by this user; run it as root',
  }
  return `${path} ${remedy[code] ?? `cannot be changed (${code})`}`
}

function isRoot(): boolean {
  return process.getuid?.() === 0
}

/** Whether systemd runs this machine; without it the operator restarts what is to be restarted. */
export function hasSystemd(root: string): boolean {
  return statSync(join(root, '/run/systemd/system'), { throwIfNoEntry: false })?.isDirectory() ?? false
}
