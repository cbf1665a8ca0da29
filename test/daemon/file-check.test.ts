import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { examineFiles } from '../../src/daemon/file-check.ts'

test('a ServiceEntry of very many hosts is examined like any other', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-file-check-'))
  onTestFinished(() => rmSync(folder, { recursive: true }))
  const hosts = Array.from({ length: 150_000 }, (_, k) => `h${k}.example`).join(', ')
  writeFileSync(
    join(folder, 'large.yaml'),
    `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: large, namespace: shop }
spec: { addresses: [240.1.1.1], resolution: STATIC, hosts: [${hosts}] }
`,
  )
  const { config } = loadConfig({
    env: {},
    flags: [{ path: ['mesh', 'source', 'files'], value: folder, from: 'test' }],
  })
  const { sourceCount, warnings } = await examineFiles(config)
  expect(sourceCount).toBe(1)
  expect(warnings.filter(({ path }) => path[0] === 'mesh')).toEqual([])
})
