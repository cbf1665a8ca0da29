/** The bench's own C programs: compiled where gcc is present, done without where it is not. */
import { execFileSync, spawnSync } from 'node:child_process'
import { join } from 'node:path'

export interface Native {
  /** `responder.c`: upstream and limit. */
  responder?: string
  /** `probe.c`: latency at a steady rate. */
  probe?: string
}

/** Compiles into `folder`. Without gcc both are absent; a program that does not compile throws. */
export function compileNative(folder: string): Native {
  if (spawnSync('gcc', ['--version']).error !== undefined) return {}
  const compile = (name: string): string => {
    const file = join(folder, name)
    execFileSync('gcc', ['-O2', '-Wall', '-o', file, join(import.meta.dirname, `${name}.c`)])
    return file
  }
  return { responder: compile('responder'), probe: compile('probe') }
}
