/** Where figures were measured: without it they mean little. */
import { readFileSync } from 'node:fs'
import { availableParallelism, cpus, loadavg, release, totalmem } from 'node:os'
import { programVersion } from '../peers/peer.ts'

export interface Machine {
  cpu: string
  cores: number
  memoryGb: number
  kernel: string
  os: string
  node: string
  dnsperf: string
  /** One-minute load average before the run: other work on the machine. */
  loadBefore: number
}

export function describeMachine(): Machine {
  return {
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: availableParallelism(),
    memoryGb: Math.round(totalmem() / 2 ** 30),
    kernel: release(),
    os: osName(),
    node: process.versions.node,
    dnsperf: programVersion('dnsperf', ['-h']) ?? 'none',
    loadBefore: Number(loadavg()[0]!.toFixed(2)),
  }
}

function osName(): string {
  try {
    return /^PRETTY_NAME="(.*)"$/m.exec(readFileSync('/etc/os-release', 'utf8'))?.[1] ?? process.platform
  } catch {
    return process.platform
  }
}
