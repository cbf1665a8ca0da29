/** Licences of what is shipped: each in whole, none missing. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Metafile } from 'esbuild'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { bundledPackages, thirdPartyText } from '../../packaging/third-party.ts'

let root: string
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'byname-third-party-'))
})
afterEach(() => rmSync(root, { recursive: true, force: true }))

function install(folder: string, version: string, licence: string | null): void {
  mkdirSync(join(root, folder), { recursive: true })
  const name = folder.replace(/^.*node_modules\//, '')
  writeFileSync(join(root, folder, 'package.json'), JSON.stringify({ name, version, license: 'MIT' }))
  if (licence !== null) writeFileSync(join(root, folder, 'LICENSE'), licence)
}

/** A bundle with so many bytes of each file. */
function bundle(bytes: Record<string, number>): Metafile {
  const inputs = Object.fromEntries(Object.entries(bytes).map(([file, bytesInOutput]) => [file, { bytesInOutput }]))
  return { inputs: {}, outputs: { 'dist/byname.cjs': { bytes: 0, inputs, imports: [], exports: [] } } }
}

test('the packages whose code is in a bundle, by name, each version once', () => {
  install('node_modules/b', '1.0.0', 'of b')
  install('node_modules/@scope/a', '2.0.0', 'of a')
  install('node_modules/@scope/a/node_modules/b', '3.0.0', 'of the other b')
  install('node_modules/c/node_modules/b', '1.0.0', 'of b')
  const first = bundle({ 'src/main.ts': 9, 'node_modules/b/index.js': 1, 'node_modules/c/node_modules/b/x.js': 1 })
  const second = bundle({ 'node_modules/@scope/a/lib/x.js': 1, 'node_modules/@scope/a/node_modules/b/x.js': 1 })
  const packages = bundledPackages([first, second], root)
  expect(packages.map(({ name, version }) => `${name} ${version}`)).toEqual(['@scope/a 2.0.0', 'b 1.0.0', 'b 3.0.0'])
})

test('what was read and left out of the bundle is not named', () => {
  install('node_modules/b', '1.0.0', 'of b')
  expect(bundledPackages([bundle({ 'node_modules/b/index.js': 0 })], root)).toEqual([])
})

test('a package without a licence file stops the build', () => {
  install('node_modules/b', '1.0.0', null)
  expect(() => bundledPackages([bundle({ 'node_modules/b/index.js': 1 })], root)).toThrow(/b has no licence file/)
})

test('packages with the same words share them', () => {
  const shared = { license: 'MIT', text: 'The licence.' }
  const text = thirdPartyText([
    { name: 'a', version: '1.0.0', ...shared },
    { name: 'b', version: '2.0.0', license: 'ISC', text: 'Another.' },
    { name: 'c', version: '3.0.0', ...shared },
  ])
  expect(text).toContain('a 1.0.0 (MIT)\nc 3.0.0 (MIT)\n\nThe licence.\n')
  expect(text).toContain('b 2.0.0 (ISC)\n\nAnother.\n')
  expect(text.match(/The licence\./g)).toHaveLength(1)
})
