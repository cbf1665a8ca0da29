/** All kinds of input, each with its part of the corpus: `corpus-inputs/TARGET/*`, one input a file. */
import { readdirSync, readFileSync } from 'node:fs'
import { ConfigTarget } from './inputs-config.ts'
import { HostsFileTarget } from './inputs-hosts.ts'
import { ImageTarget } from './inputs-image.ts'
import { MeshTarget } from './inputs-mesh.ts'
import { NameTableTarget } from './inputs-nds.ts'
import { ResolvConfTarget } from './inputs-resolv.ts'
import { RuleFileTarget } from './inputs-rules.ts'
import type { FuzzTarget } from './inputs-target.ts'
import { XdsTarget } from './inputs-xds.ts'

const CORPUS = new URL('corpus-inputs/', import.meta.url)

/** In the order in which they are fuzzed. */
export const TARGET_NAMES = ['nds', 'image', 'config', 'mesh', 'resolv', 'hosts', 'rules', 'xds'] as const

/** One of them. */
export type TargetName = (typeof TARGET_NAMES)[number]

/** The target, its corpus loaded; images are made from `seed`. */
export function targetOf(name: TargetName, seed: number): FuzzTarget {
  return TARGETS[name](
    corpusOf(name).map(({ bytes }) => bytes),
    seed,
  )
}

const TARGETS: Readonly<Record<TargetName, (seeds: Uint8Array[], seed: number) => FuzzTarget>> = {
  nds: (seeds) => new NameTableTarget(seeds),
  image: (seeds, seed) => new ImageTarget(seeds, seed),
  config: (seeds) => new ConfigTarget(seeds),
  mesh: (seeds) => new MeshTarget(seeds),
  resolv: (seeds) => new ResolvConfTarget(seeds),
  hosts: (seeds) => new HostsFileTarget(seeds),
  rules: (seeds) => new RuleFileTarget(seeds),
  xds: (seeds) => new XdsTarget(seeds),
}

/** Inputs that once showed a bug, or are worth to begin with. */
export function corpusOf(name: TargetName): { file: string; bytes: Uint8Array }[] {
  const folder = new URL(`${name}/`, CORPUS)
  let files: string[]
  try {
    files = readdirSync(folder)
  } catch {
    return []
  }
  return files.toSorted().map((file) => ({ file, bytes: Uint8Array.from(readFileSync(new URL(file, folder))) }))
}
