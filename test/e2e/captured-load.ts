/** Load through the redirect, every query of which is accounted for (captured-load-inside.ts). */
import type { ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import type { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect } from 'vitest'
import type { LoadReport } from './captured-load-inside.ts'
import { type CapturedNetwork, NAME_SERVER } from './captured-network.ts'

/** Outcomes: the mesh's name, which only byname has, and names that only the name server has. */
export const MESH = 'mesh 10.96.0.1'
export const OUTSIDE = 'outside 198.18.0.1'
/** What the name server itself says of a mesh name. */
export const MESH_ABSENT = 'mesh NXDOMAIN'

/** Asked before, between and after what happens. */
export const STEADY_MS = 500

/** Starts the name server. Returns byname's configuration, with a table that has the mesh's name. */
export async function prepareLoad(network: CapturedNetwork): Promise<object> {
  const program = join(import.meta.dirname, 'slow-name-server.ts')
  const server = network.start('outside', [process.execPath, program, ...Object.values(NAME_SERVER)])
  await firstWords(network, server, server.stdout!)
  const table = network.write('table.json', '{"table":{"web.mesh.test":{"ips":["10.96.0.1"]}}}')
  network.resolvConf = Object.values(NAME_SERVER)
    .map((address) => `nameserver ${address}\n`)
    .join('')
  return { mesh: { source: { table } }, admin: { listen: 'off' } }
}

/** Asks `server` on the machine, `rate` queries a second, while `during` runs. */
export async function askWhile(
  network: CapturedNetwork,
  server: string,
  rate: number,
  during: () => Promise<void>,
): Promise<LoadReport> {
  const program = join(import.meta.dirname, 'captured-load-inside.ts')
  const child = network.start('machine', [process.execPath, program, server, String(rate)])
  const printed = text(child.stdout!)
  await firstWords(network, child, child.stderr!)
  await sleep(STEADY_MS)
  await during()
  await sleep(STEADY_MS)
  child.stdin!.end()
  const report: LoadReport = JSON.parse(await printed)
  const counts = Object.values(report.seen).flatMap((byClient) => Object.values(byClient))
  expect(counts.reduce((sum, each) => sum + each, 0)).toBe(report.sent)
  expect(Object.keys(report.seen).toSorted()).toEqual(['connected', 'fresh', 'tcp', 'unconnected'])
  return report
}

/** Waits until a program that was started says that it has begun. */
async function firstWords(network: CapturedNetwork, program: ChildProcess, stream: Readable): Promise<void> {
  let hasSpoken = false
  stream.once('data', () => (hasSpoken = true))
  await network.until(`${program.spawnargs.join(' ')} has begun`, () => {
    if (program.exitCode !== null) throw new Error(`it ended with code ${program.exitCode}\n${network.output}`)
    return hasSpoken
  })
}

/** What any client saw, those in `without` left out, and the errors of all others. */
export function outcomesOf(report: LoadReport, without = ''): { outcomes: string[]; errors: string[] } {
  const seen = Object.entries(report.seen).filter(([client]) => client !== without)
  const errors = Object.keys(report.errors).filter((error) => without === '' || !error.startsWith(without))
  return { outcomes: [...new Set(seen.flatMap(([, counts]) => Object.keys(counts)))].toSorted(), errors }
}
