/** The targets by name. */
import { EngineTarget } from './engine-target.ts'
import { FramingTarget } from './framing-target.ts'
import type { FuzzTarget, TargetOptions } from './target.ts'

export function openTarget(name: string, options: TargetOptions): FuzzTarget {
  if (name === 'engine') return new EngineTarget(options)
  if (name === 'framing') return new FramingTarget(options)
  throw new Error(`no target ${name}: engine, framing or sockets`)
}
