import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { setImmediate } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SETTLE_MS } from '../../src/base/watched-file.ts'
import { type Mesh } from '../../src/mesh/name-table-builder.ts'
import { MeshWatch } from '../../src/mesh/mesh-watch.ts'
import { VIP_FILE } from '../../src/mesh/vip-file.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { Inbox } from '../xds/inbox.ts'
import { LogLines } from './log-lines.ts'
import { MeshFolder } from './mesh-folder.ts'
import { documents, endpoint, service, serviceEntry, slice } from './mesh-of.ts'

let folder: MeshFolder
let log: LogLines
let clock: FakeClock
let meshes: Inbox<Mesh>
let changed: () => void
const started: MeshWatch[] = []
beforeEach(() => {
  folder = new MeshFolder()
  log = new LogLines()
  clock = new FakeClock()
  meshes = new Inbox()
})
afterEach(async () => {
  for (const watch of started.splice(0)) await watch.stop(1000)
  folder[Symbol.dispose]()
})

function watchFolder(_folder: string, onChange: () => void): { close(): void } {
  changed = onChange
  return { close: () => (changed = () => {}) }
}

function unixNow(): number {
  return 5000 + clock.now()
}

function watching(options: { vipFile?: string } = {}): MeshWatch {
  const watch = new MeshWatch({ folder: folder.path, log, clock, unixNow, watchFolder, ...options }, (mesh) =>
    meshes.put(mesh),
  )
  started.push(watch)
  return watch
}

/** Tells of a change and lets time pass until the files have rested. */
async function rest(): Promise<void> {
  changed()
  clock.advance(100)
  // The look at the folder is the machine's, and takes a moment.
  while (meshes.waiting === 0 && clock.pending.length === 0) await setImmediate()
  clock.advance(SETTLE_MS)
}

/** Lets the folder be looked at once more. */
async function look(): Promise<void> {
  if (clock.pending.length === 0) changed()
  clock.advance(SETTLE_MS)
  while (clock.pending.length === 0) await setImmediate()
}

function namesIn(mesh: Mesh): string[] {
  return mesh.services.map(({ name }) => name)
}

function addressesIn(mesh: Mesh): Record<string, string> {
  return Object.fromEntries([...mesh.vips].map(([key, { v4 }]) => [key.split('/')[2], v4]))
}

function entry(host: string): string {
  return serviceEntry({ hosts: [host] }, { name: host })
}

test('a burst of changes is one reading, and a mistake costs nothing but itself', async () => {
  folder.write('a.yaml', service({ name: 'a' }))
  const watch = watching()
  await watch.start()
  expect(namesIn(await meshes.next())).toEqual(['a'])
  folder.write('b.yaml', service({ name: 'b' }))
  for (let event = 0; event < 10; event++) changed()
  await rest()
  expect(namesIn(await meshes.next())).toEqual(['a', 'b'])
  folder.write('a.yaml', 'kind: [')
  await rest()
  expect(namesIn(await meshes.next())).toEqual(['a', 'b'])
  expect(meshes.waiting).toBe(0)
  expect(watch.state()).toMatchObject({ files: 2, services: 2, problems: [expect.stringMatching(/^a\.yaml: /)] })
})

test('since when anything has been wrong is known, whatever it is', async () => {
  folder.write('a.yaml', service({ name: 'a' }))
  const watch = watching()
  await watch.start()
  await meshes.next()
  expect(watch.state().problemsSinceMs).toBeNull()
  const sinceMs = 5000 + clock.now() + 100 + SETTLE_MS
  for (const text of ['kind: [', 'kind: {']) {
    folder.write('a.yaml', text)
    await rest()
    await meshes.next()
    expect(watch.state().problemsSinceMs).toBe(sinceMs)
  }
  folder.write('a.yaml', service({ name: 'b' }))
  await rest()
  await meshes.next()
  expect(watch.state()).toMatchObject({ problems: [], problemsSinceMs: null })
})

describe('a file that is being written', () => {
  const half = service({ name: 'a' })
  const whole = documents(half, service({ name: 'b' }))

  test('is not taken before it rests, though half of it looks like a whole one; nor is one that is gone for a moment', async () => {
    folder.write('a.yaml', whole)
    const watch = watching()
    await watch.start()
    expect(namesIn(await meshes.next())).toEqual(['a', 'b'])
    folder.write('a.yaml', half)
    await look()
    folder.remove('a.yaml')
    await look()
    folder.write('a.yaml', `${half}\n`)
    await look()
    folder.write('a.yaml', documents(whole, service({ name: 'c' })))
    await look()
    expect(meshes.waiting).toBe(0)
    clock.advance(SETTLE_MS)
    expect(namesIn(await meshes.next())).toEqual(['a', 'b', 'c'])
    expect(log.of('error')).toEqual([])
  })

  test('for more than five seconds is a problem, keeps its last good state, and no other file from being taken', async () => {
    folder.write('a.yaml', whole)
    const watch = watching()
    await watch.start()
    await meshes.next()
    folder.write('b.yaml', service({ name: 'z' }))
    for (let looks = 0; looks < 10; looks++) {
      folder.write('a.yaml', `${half}${'\n'.repeat(looks)}`)
      await look()
    }
    expect(namesIn(await meshes.next())).toEqual(['a', 'b', 'z'])
    expect(watch.state().problems).toEqual([expect.stringContaining('a.yaml: does not rest')])
    clock.advance(SETTLE_MS)
    expect(namesIn(await meshes.next())).toEqual(['a', 'z'])
    expect(watch.state().problems).toEqual([])
  })

  test('at the start is not taken before it rests either', async () => {
    folder.write('b.yaml', service({ name: 'z' }))
    const writtenAtMs = unixNow() - SETTLE_MS + 1
    folder.write('a.yaml', half, writtenAtMs)
    const watch = watching()
    const first = watch.start()
    while (clock.pending.length === 0) await setImmediate()
    folder.write('a.yaml', whole, writtenAtMs)
    await look()
    expect([meshes.waiting, watch.state().files]).toEqual([0, 0])
    clock.advance(SETTLE_MS)
    await first
    expect(namesIn(await meshes.next())).toEqual(['a', 'b', 'z'])
  })

  test('and whose place others take again and again is taken after five seconds all the same', async () => {
    folder.write('a.yaml', service({ name: 'a0' }))
    const watch = watching()
    await watch.start()
    await meshes.next()
    for (let looks = 1; looks < 10; looks++) {
      folder.replace('a.yaml', service({ name: `a${looks}` }))
      await look()
    }
    expect(meshes.waiting).toBe(0)
    folder.replace('a.yaml', service({ name: 'a10' }))
    clock.advance(SETTLE_MS)
    expect(namesIn(await meshes.next())).toEqual(['a10'])
    expect([watch.state().problems, log.of('error')]).toEqual([[], []])
  })
})

test('what is wrong is logged once, and that it is good again', async () => {
  folder.write('a.yaml', 'kind: [')
  folder.write('b.yaml', '{ apiVersion: apps/v1, kind: Deployment }')
  await watching().start()
  await meshes.next()
  for (const text of ['kind: [', 'kind: [', service()]) {
    folder.write('a.yaml', text)
    await rest()
    await meshes.next()
  }
  expect(log.of('error')).toEqual([
    expect.stringMatching(/^a\.yaml: document 1, line 1: .*; the last good state goes on$/),
  ])
  expect(log.of('info')).toEqual(['not used for names: Deployment (apps/v1)', 'the mesh files are good again'])
})

test('a folder that is not there is told, and read once it is', async () => {
  const path = folder.path
  folder[Symbol.dispose]()
  const watch = watching()
  await watch.start()
  expect(meshes.waiting).toBe(0)
  expect(watch.state().problems).toEqual([expect.stringContaining(`${path}: cannot be read: ENOENT`)])
  folder.write('a.yaml', service({ name: 'a' }))
  await rest()
  expect(namesIn(await meshes.next())).toEqual(['a'])
})

test('nothing comes after the stop', async () => {
  folder.write('a.yaml', service())
  const watch = watching()
  const reading = watch.start()
  await watch.stop(1000)
  await reading
  changed()
  clock.advance(10_000)
  expect(meshes.waiting).toBe(0)
  expect(clock.pending).toEqual([])
})

test('endpoints that are left out for want of their Pod are told once', async () => {
  const web = slice([endpoint('web-0', '10.0.0.1'), endpoint('web-1', '10.0.0.2')])
  folder.write('a.yaml', documents(service({ spec: { clusterIP: 'None' } }), web))
  await watching().start()
  changed()
  clock.advance(100)
  await meshes.next()
  await meshes.next()
  expect(log.of('warn')).toEqual(['EndpointSlice shop/web-1: 2 endpoints are left out: no Pod shop/web-0 in the files'])
})

describe('automatic addresses', () => {
  const [one, two] = ['host-1.example.com', 'host-2.example.com'] as const

  test('are kept in a file, and are the same after a restart, in whatever order the hosts stand then', async () => {
    folder.write('a.yaml', entry(two))
    await watching().start()
    const { [two]: first } = addressesIn(await meshes.next())
    expect(first).toBe('240.240.0.1')
    folder.write('a.yaml', documents(entry(one), entry(two)))
    await rest()
    const before = addressesIn(await meshes.next())
    expect(before[two]).toBe(first)
    expect(JSON.parse(readFileSync(join(folder.path, VIP_FILE), 'utf8'))).toMatchObject({
      addresses: { [`shop/${two}/${two}`]: before[two], [`shop/${one}/${one}`]: before[one] },
    })
    await watching().start()
    expect(addressesIn(await meshes.next())).toEqual(before)
  })
  test('that cannot be kept are told once', async () => {
    folder.write('a.yaml', documents(entry(one), entry(two)))
    await watching({ vipFile: join(folder.path, 'missing', 'vips.json') }).start()
    expect((await meshes.next()).vips.size).toBe(2)
    await rest()
    await meshes.next()
    expect(log.of('warn')).toEqual([expect.stringMatching(/^automatic addresses cannot be kept: .*ENOENT/)])
  })
  test('are made anew where the file is damaged', async () => {
    folder.write('a.yaml', documents(entry(one), entry(two)))
    folder.write(VIP_FILE, '{ "addresses": ')
    await watching().start()
    expect((await meshes.next()).vips.size).toBe(2)
    expect(log.of('warn')).toEqual([expect.stringMatching(/^cannot use the file of automatic addresses/)])
  })
})
