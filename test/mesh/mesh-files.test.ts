import { mkdirSync, renameSync, symlinkSync } from 'node:fs'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { MeshFiles, type MeshReading } from '../../src/mesh/mesh-files.ts'
import { MeshFolder } from './mesh-folder.ts'
import { service } from './mesh-of.ts'

let folder: MeshFolder
let files: MeshFiles
beforeEach(() => {
  folder = new MeshFolder()
  files = new MeshFiles(folder.path)
})
afterEach(() => folder[Symbol.dispose]())

async function read(): Promise<MeshReading> {
  const reading = await files.read()
  if ('failure' in reading) throw new Error(reading.failure)
  return reading
}

async function names(): Promise<string[]> {
  return (await read()).resources.map(({ name }) => name)
}

test('files of the folder and those below it, in the order of their names; others are passed over', async () => {
  folder.write('b.yaml', service({ name: 'b' }))
  folder.write('a.yml', service({ name: 'a' }))
  folder.write('below/c.yaml', service({ name: 'c' }))
  folder.write('notes.txt', 'kind: [')
  folder.write('.hidden.yaml', 'kind: [')
  folder.write('.git/config.yaml', 'kind: [')
  const { resources, problems, files: count } = await read()
  expect(resources.map(({ name }) => name)).toEqual(['a', 'b', 'c'])
  expect(problems).toEqual([])
  expect(count).toBe(3)
})

test('JSON is read as well, indented with tabs, and told of like YAML', async () => {
  folder.write(
    'list.json',
    JSON.stringify({ kind: 'List', apiVersion: 'v1', items: [JSON.parse(service({ name: 'a' }))] }, null, '\t'),
  )
  folder.write('bad.json', '{\n\t"apiVersion": "v1",\n\t"kind": 1\n}')
  folder.write('cut.json', '{\n\t"apiVersion": "v1",\n')
  const { resources, problems } = await read()
  expect(resources.map(({ name }) => name)).toEqual(['a'])
  expect(problems).toEqual([
    'bad.json: document 1, line 3: kind: expected a string',
    expect.stringMatching(/^cut\.json: document 1, line 3: .*must end with/),
  ])
})

test('a mounted ConfigMap, whose files are links through a hidden folder', async () => {
  folder.write('..2026/web.yaml', service({ name: 'old' }))
  symlinkSync('..2026', join(folder.path, '..data'))
  symlinkSync('..data/web.yaml', join(folder.path, 'web.yaml'))
  expect(await names()).toEqual(['old'])
  folder.write('..2027/web.yaml', service({ name: 'new' }))
  symlinkSync('..2027', join(folder.path, '..fresh'))
  renameSync(join(folder.path, '..fresh'), join(folder.path, '..data'))
  expect(await names()).toEqual(['new'])
})

test('a loop of links ends', async () => {
  folder.write('a.yaml', service({ name: 'a' }))
  symlinkSync('.', join(folder.path, 'loop'))
  const { resources } = await read()
  expect(resources.map(({ name }) => name)).toEqual(['a'])
})

describe('a bad file', () => {
  test('keeps what it last said, and does not concern the others', async () => {
    folder.write('a.yaml', service({ name: 'a' }))
    folder.write('b.yaml', service({ name: 'b' }))
    await read()
    folder.write('a.yaml', 'kind: [')
    folder.write('b.yaml', service({ name: 'bee' }))
    const { resources, problems } = await read()
    expect(resources.map(({ name }) => name)).toEqual(['a', 'bee'])
    expect(problems).toEqual([expect.stringMatching(/^a\.yaml: document 1, line 1: /)])
    expect((await read()).problems).toEqual(problems)
    folder.write('a.yaml', service({ name: 'ay' }))
    expect(await read()).toMatchObject({ problems: [], resources: [{ name: 'ay' }, { name: 'bee' }] })
  })
  test('that never was good is missing', async () => {
    folder.write('a.yaml', 'kind: [')
    folder.write('b.yaml', service({ name: 'b' }))
    expect(await names()).toEqual(['b'])
  })
  test('that cannot be read keeps what it last said', async () => {
    folder.write('a.yaml', service({ name: 'a' }))
    await read()
    folder.remove('a.yaml')
    mkdirSync(join(folder.path, 'target'))
    // A link to itself: there, and not to be read.
    symlinkSync('a.yaml', join(folder.path, 'a.yaml'))
    const { resources, problems } = await read()
    expect(resources.map(({ name }) => name)).toEqual(['a'])
    expect(problems).toEqual([expect.stringMatching(/^a\.yaml: cannot be read: ELOOP/)])
  })
})

test('a file that is gone takes its resources with it', async () => {
  folder.write('a.yaml', service({ name: 'a' }))
  folder.write('below/b.yaml', service({ name: 'b' }))
  await read()
  folder.remove('below')
  expect(await names()).toEqual(['a'])
  folder.remove('a.yaml')
  expect(await names()).toEqual([])
})

test('a folder that is gone is a failure, and what was read is not forgotten', async () => {
  folder.write('a.yaml', service({ name: 'a' }))
  await read()
  renameSync(folder.path, `${folder.path}-away`)
  expect(await files.read()).toEqual({ failure: expect.stringMatching(/cannot be read: ENOENT/) })
  renameSync(`${folder.path}-away`, folder.path)
  folder.write('a.yaml', 'kind: [')
  expect(await names()).toEqual(['a'])
})

test('of two resources of one name the first counts, and the second is told', async () => {
  folder.write('a.yaml', service({ name: 'web', spec: { clusterIP: '10.0.0.1' } }))
  folder.write('b.yaml', `${service({ name: 'other' })}\n---\n${service({ name: 'web' })}`)
  const { resources, problems } = await read()
  expect(resources).toHaveLength(2)
  expect(problems).toEqual([
    'b.yaml: document 2, line 3: Service shop/web stands in a.yaml: document 1, line 1 already: that one counts',
  ])
})
