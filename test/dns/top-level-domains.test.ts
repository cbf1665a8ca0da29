import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { TOP_LEVEL_DOMAINS } from '../../src/dns/top-level-domains.ts'

const ROOT = join(import.meta.dirname, '../..')

test('the list is what the package has (else: npm run top-level-domains)', () => {
  const { stdout } = spawnSync(process.execPath, [join(ROOT, 'bin/top-level-domains.mjs'), '--print'], {
    encoding: 'utf8',
  })
  expect(readFileSync(join(ROOT, 'src/dns/top-level-domains.ts'), 'utf8')).toBe(stdout)
  expect(TOP_LEVEL_DOMAINS.split(/\s+/).length).toBeGreaterThan(1400)
})
