/** What the bench must know of a DNS server to measure it. */
import { spawnSync } from 'node:child_process'
import { accessSync, constants } from 'node:fs'
import { join } from 'node:path'
import type { Command } from '../load/servers.ts'

/**
 * mesh: answers the names of the mesh; table: from a table of its own. cache: answers repeated questions without asking.
 * forward: asks upstream. tcp: keeps a connection for many queries. push: takes tables from a control plane.
 * workers: spreads over threads as `Task.workers` says.
 */
export type Ability = 'mesh' | 'table' | 'cache' | 'forward' | 'tcp' | 'push' | 'workers'

/** What a scenario wants of a server. */
export interface Task {
  /** Its own, empty, removed afterwards. */
  folder: string
  /** Of 127.0.0.1, UDP and TCP. */
  port: number
  /** It answers for this many names of `MESH_PATTERN`; 0 for none. */
  hosts: number
  /** Port of the responder on 127.0.0.1: its only upstream. */
  upstreamPort: number
  workers: number
  /** Port of a control plane on 127.0.0.1, in place of `hosts`. */
  controlPlanePort?: number
  /** Ports free for whatever else it listens on. */
  sparePorts: number[]
}

export interface Peer {
  /** Short, for `--only` and as key in the results. */
  id: string
  title: string
  /** How to get it. */
  install: string
  abilities: readonly Ability[]
  /** Its version, or undefined if it is not installed. */
  version(): string | undefined
  /** It takes its table from a control plane alone, also where the task names hosts. */
  isTablePushed?: true
  /** Starts what it needs beside it, in this process; called once it runs. What is returned ends that. */
  companion?(task: Task): () => void
  /** Writes its configuration into the task's folder and says how to start it in the foreground. */
  command(task: Task): Command
}

/** Servers live in sbin, which not every user's PATH holds. */
export function findProgram(name: string): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/usr/local/sbin', '/usr/local/bin']
  return folders.map((folder) => join(folder, name)).find(isExecutable)
}

/** First thing that looks like a version in what `name ...args` prints, or undefined if there is no such program. */
export function programVersion(name: string, args: string[]): string | undefined {
  const file = findProgram(name)
  if (file === undefined) return undefined
  const { stdout, stderr } = spawnSync(file, args, { encoding: 'utf8', timeout: 10_000 })
  return /\d+\.\d+(\.\d+)?/.exec(`${stdout}${stderr}`)?.[0] ?? 'unknown'
}

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK)
    return true
  } catch {
    return false
  }
}
