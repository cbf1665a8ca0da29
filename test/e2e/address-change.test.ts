/** This machine gets and loses addresses while it is asked from them, in a network namespace of its own. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { WAIT_MS } from '../wait.ts'

/** Needs root, unshare(1) and ip(8). */
const canUnshare =
  spawnSync('unshare', ['-n', 'sh', '-c', 'ip link set lo up && ip addr add 10.77.0.1/32 dev lo']).status === 0

test.skipIf(!canUnshare)(
  'who asks from an address of a moment ago is answered: on loopback at once, elsewhere soon',
  () => {
    const folder = mkdtempSync(join(tmpdir(), 'byname-address-'))
    try {
      const table = join(folder, 'table.json')
      writeFileSync(table, '{"table":{"web.example":{"ips":["10.0.0.1"]}}}')
      const config = join(folder, 'byname.yaml')
      writeFileSync(
        config,
        JSON.stringify({
          listen: ['127.0.0.1:5353', '10.77.0.1:5353'],
          mesh: { source: { table } },
          upstream: { servers: ['192.0.2.1'] },
          metrics: { listen: 'off' },
          admin: { listen: 'off' },
          log: { format: 'json' },
        }),
      )
      const launcher = join(import.meta.dirname, '..', '..', 'bin', 'byname')
      const inside = join(import.meta.dirname, 'address-change-inside.ts')
      const { stdout, stderr, error } = spawnSync('unshare', ['-n', process.execPath, inside, launcher, config], {
        encoding: 'utf8',
        timeout: 2 * WAIT_MS,
      })
      expect([stderr, error]).toEqual(['', undefined])
      const result: { atLoopback: string[]; elsewhere: string[]; code: number } = JSON.parse(stdout)
      expect(new Set(result.atLoopback)).toEqual(new Set(['NOERROR']))
      expect(new Set(result.elsewhere)).toEqual(new Set(['NOERROR']))
      expect(result.code).toBe(0)
    } finally {
      rmSync(folder, { recursive: true })
    }
  },
)
