/** Limits of CPU time and memory, as a container has them: a control group (cgroups(7), version 1 or 2) below this process's own. */
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import type { Command } from './servers.ts'

export interface Limits {
  /** Of one core: 0.1 is what Kubernetes calls 100m. */
  cpu?: number
  memoryBytes?: number
}

/** The kernel gives the share anew so often: the default, and what Kubernetes uses. */
const PERIOD_US = 100_000
const ROOT = '/sys/fs/cgroup'
/** A group that has just lost its processes may be busy for a moment. */
const REMOVALS = 50
const REMOVAL_PAUSE_MS = 20

/** Made for one server; removed once that has ended. */
export class ControlGroup {
  /** Of each hierarchy. */
  readonly #folders: string[] = []
  readonly #memoryFolder: string

  /** Throws in one line where such groups cannot be made. */
  constructor(limits: Limits, name: string) {
    const { cpu, memoryBytes } = limits
    this.#memoryFolder = ''
    try {
      if (cpu !== undefined) {
        const { folder, isV2 } = this.#make('cpu', name)
        const quota = Math.round(cpu * PERIOD_US)
        if (isV2) writeFileSync(`${folder}/cpu.max`, `${quota} ${PERIOD_US}`)
        else {
          writeFileSync(`${folder}/cpu.cfs_period_us`, String(PERIOD_US))
          writeFileSync(`${folder}/cpu.cfs_quota_us`, String(quota))
        }
      }
      if (memoryBytes !== undefined) {
        const { folder, isV2 } = this.#make('memory', name)
        this.#memoryFolder = folder
        writeFileSync(`${folder}/${isV2 ? 'memory.max' : 'memory.limit_in_bytes'}`, String(memoryBytes))
      }
    } catch (error) {
      for (const folder of this.#folders) rmdirSync(folder)
      throw new Error(`no control group (root and a writable ${ROOT} are needed): ${String(error)}`, { cause: error })
    }
  }

  /** `command`, begun in the group. */
  limit({ file, args, ...rest }: Command): Command {
    const enter = this.#folders.map((folder) => `echo $$ >${folder}/cgroup.procs && `).join('')
    return { file: '/bin/sh', args: ['-c', `${enter}exec "$@"`, 'sh', file, ...args], ...rest }
  }

  /** What the kernel counts against the limit of memory: anonymous memory, page cache and what it holds itself. */
  memoryBytes(): number {
    const file = ['memory.usage_in_bytes', 'memory.current'].map((name) => `${this.#memoryFolder}/${name}`)
    return Number(readFileSync(file.find((each) => existsSync(each))!, 'utf8'))
  }

  /** After the end of all that ran in it. */
  async remove(): Promise<void> {
    for (const folder of this.#folders) {
      for (let left = REMOVALS; left > 0; left--) {
        try {
          rmdirSync(folder)
          break
        } catch {
          await delay(REMOVAL_PAUSE_MS)
        }
      }
    }
  }

  #make(controller: 'cpu' | 'memory', name: string): { folder: string; isV2: boolean } {
    const groups = readFileSync('/proc/self/cgroup', 'utf8').split('\n')
    const v1 = groups.find((line) => line.split(':')[1]?.split(',').includes(controller))
    const isV2 = v1 === undefined
    // In version 2 only groups without processes of their own have children with limits: the root is the one exception.
    const above = isV2 ? ROOT : `${ROOT}/${controller}${v1.slice(v1.indexOf('/'))}`
    if (isV2) writeFileSync(`${ROOT}/cgroup.subtree_control`, `+${controller}`)
    const folder = `${above.replace(/\/$/, '')}/${name}`
    if (!this.#folders.includes(folder)) {
      mkdirSync(folder)
      this.#folders.push(folder)
    }
    return { folder, isV2 }
  }
}
