/** byname is handed over and upgraded while this machine asks 5,000 questions a second through the redirect. */
import { once } from 'node:events'
import { cpSync, readFileSync, renameSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { isLong } from '../long.ts'
import type { LoadReport } from './captured-load-inside.ts'
import { BACKENDS, CapturedNetwork, lacking, NAME_SERVER } from './captured-network.ts'

const RATE = 5000
/** Asked before, between and after what happens. */
const STEADY_MS = 500
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const MESH = 'mesh 10.96.0.1'
const OUTSIDE = 'outside 198.18.0.1'
const lacks = lacking('ip', 'nft', 'iptables-nft', 'iptables-legacy', 'setpriv', 'dig', 'curl')

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

/** What every query saw, whichever client asked. */
function outcomes({ seen }: LoadReport): string[] {
  return [...new Set(Object.values(seen).flatMap((byClient) => Object.keys(byClient)))].toSorted()
}

/** What was asked is what was seen, and every kind of client asked. */
function expectAllCounted({ sent, seen }: LoadReport): void {
  const counts = Object.values(seen).flatMap((byClient) => Object.values(byClient))
  expect(counts.reduce((sum, each) => sum + each, 0)).toBe(sent)
  expect(Object.keys(seen).toSorted()).toEqual(['connected', 'fresh', 'tcp', 'unconnected'])
}

describe.skipIf(lacks.length > 0)(
  `under captured load${lacks.length > 0 ? `: ${lacks.join(', ')} not here` : ''}`,
  () => {
    let network: CapturedNetwork
    let config: object

    /** Asks while `during` runs. */
    async function load(server: string, during: () => Promise<void>): Promise<LoadReport> {
      const program = join(import.meta.dirname, 'captured-load-inside.ts')
      const child = network.start('machine', [process.execPath, program, server, String(RATE)])
      const report = text(child.stdout!)
      await once(child.stderr!, 'data')
      await sleep(STEADY_MS)
      await during()
      await sleep(STEADY_MS)
      child.stdin!.end()
      return JSON.parse(await report)
    }

    beforeAll(async () => {
      network = new CapturedNetwork('bnr')
      const program = join(import.meta.dirname, 'slow-name-server.ts')
      const server = network.start('outside', [process.execPath, program, ...Object.values(NAME_SERVER)])
      await once(server.stdout!, 'data')
      network.resolvConf = Object.values(NAME_SERVER)
        .map((address) => `nameserver ${address}\n`)
        .join('')
      const table = network.write('table.json', '{"table":{"web.mesh.test":{"ips":["10.96.0.1"]}}}')
      config = { mesh: { source: { table } }, admin: { listen: 'off' } }
    })
    afterAll(() => network?.remove())

    test.each(
      isLong
        ? BACKENDS.flatMap((each) => [[each, 'v4'] as const, [each, 'v6'] as const])
        : [['nftables', 'v4'] as const],
    )(
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
        const report = await load(NAME_SERVER[family], async () => {
          await handOver()
          expect(await network.metric('byname_build_info', '"7.7.7"')).toBe(1)
          await sleep(STEADY_MS)
          install(`${installed}-next`, '7.7.8')
          renameSync(installed, `${installed}-before`)
          renameSync(`${installed}-next`, installed)
          await handOver()
          expect(await network.metric('byname_build_info', '"7.7.8"')).toBe(1)
        })
        expectAllCounted(report)
        expect({ errors: report.errors, outcomes: outcomes(report) }).toEqual({ errors: {}, outcomes: [MESH, OUTSIDE] })
        network.capture('remove')
        process.kill(network.ownProcesses[0]!)
        await network.until('byname has ended', () => network.ownProcesses.length === 0)
      },
      180_000,
    )
  },
)
