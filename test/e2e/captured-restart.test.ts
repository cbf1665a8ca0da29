/** byname is handed over, upgraded, stopped and started while this machine asks 5,000 questions a second through the redirect. */
import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LAUNCHER } from '../cli/byname-process.ts'
import { isLong } from '../long.ts'
import { askWhile, MESH, MESH_ABSENT, OUTSIDE, outcomesOf, prepareLoad, STEADY_MS } from './captured-load.ts'
import { BACKENDS, CapturedNetwork, lacking, NAME_SERVER } from './captured-network.ts'

const RATE = 5000
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const lacks = lacking('ip', 'nft', 'iptables-nft', 'iptables-legacy', 'setpriv', 'dig', 'curl')
const title = `under captured load${lacks.length > 0 ? `: ${lacks.join(', ')} not here` : ''}`

/** Copies what the package has to `folder`, as `version`. */
function install(folder: string, version: string): void {
  for (const part of ['bin', 'dist', 'protos', 'config', 'package.json'])
    cpSync(join(ROOT, part), join(folder, part), { recursive: true })
  symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'))
  for (const file of ['package.json', 'dist/byname.cjs']) {
    const own = readFileSync(join(folder, file), 'utf8')
    writeFileSync(join(folder, file), own.replace(/("?version"?: ?)"\d+\.\d+\.\d+"/, `$1"${version}"`))
  }
}

describe.skipIf(lacks.length > 0)(title, () => {
  let network: CapturedNetwork
  let config: object

  beforeAll(async () => {
    network = new CapturedNetwork('bnr')
    config = await prepareLoad(network)
  })
  afterAll(() => network?.remove())

  const families = isLong ? (['v4', 'v6'] as const) : (['v4'] as const)
  const backends = isLong ? BACKENDS : (['nftables'] as const)
  test.each(backends.flatMap((backend) => families.map((family) => [backend, family] as const)))(
    '%s, %s: a handover, and one to the files of another version, lose no query',
    async (backend, family) => {
      const installed = join(network.folder, `byname-${backend}-${family}`)
      install(installed, '7.7.7')
      await network.startByname(config, join(installed, 'bin', 'byname'))
      network.capture('apply', '--backend', backend)
      const handOver = async (): Promise<void> => {
        const [old] = network.ownProcesses
        process.kill(old!, 'SIGUSR2')
        await network.until('another process', () => !network.ownProcesses.includes(old!))
      }
      const report = await askWhile(network, NAME_SERVER[family], RATE, async () => {
        await handOver()
        expect(await network.metric('byname_build_info', '"7.7.7"')).toBe(1)
        await sleep(STEADY_MS)
        install(`${installed}-next`, '7.7.8')
        renameSync(installed, `${installed}-before`)
        renameSync(`${installed}-next`, installed)
        await handOver()
        expect(await network.metric('byname_build_info', '"7.7.8"')).toBe(1)
      })
      expect(outcomesOf(report)).toEqual({ outcomes: [MESH, OUTSIDE], errors: [] })
      network.capture('remove')
      process.kill(network.ownProcesses[0]!)
      await network.until('byname has ended', () => network.ownProcesses.length === 0)
    },
  )
  // What the application sees of the mesh meanwhile is what the name server says: there is no such name.
  test.each(backends)(
    '%s: run --capture, stopped and started again: no query is lost, as the name server answers meanwhile',
    async (backend) => {
      const file = network.write('byname.yaml', JSON.stringify(config))
      const begin = async (): Promise<ChildProcess> => {
        const holder = network.start('machine', [LAUNCHER, 'run', '--capture', '--backend', backend, '--config', file])
        await network.until('it is captured', () => network.dig(NAME_SERVER.v4, 'web.mesh.test') === '10.96.0.1')
        return holder
      }
      let holder = await begin()
      const report = await askWhile(network, NAME_SERVER.v4, RATE, async () => {
        await end(holder)
        holder = await begin()
      })
      await end(holder)
      expect(outcomesOf(report)).toEqual({ outcomes: [MESH, MESH_ABSENT, OUTSIDE], errors: [] })
    },
  )
})

/** Stops a daemon that holds its redirect, and waits for its end. */
async function end(holder: ChildProcess): Promise<void> {
  const ended = once(holder, 'exit')
  holder.kill('SIGTERM')
  expect(await ended).toEqual([0, null])
}
