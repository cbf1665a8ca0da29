import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, expect, test } from 'vitest'
import {
  controlPlaneProblems,
  credentialProblems,
  fileProblems,
  meshFileProblems,
  nextReload,
  reloadProblems,
  savedTableProblems,
  tableFileProblems,
} from '../../src/daemon/problems.ts'
import type { CredentialState } from '../../src/observe/sources.ts'
import { until } from '../until.ts'
import { DaemonProcess } from './daemon-process.ts'

const stops: (() => unknown)[] = []
afterEach(async () => {
  for (const stop of stops.splice(0)) await stop()
})

const ENTRY = `apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: a }
spec: { hosts: [a.example], addresses: [192.0.2.7], resolution: STATIC }
`

const trouble = { sinceMs: 7, address: 'istiod:15012', reason: 'refused' }

test('nothing wrong is no problem', () => {
  expect(controlPlaneProblems({ away: null, refused: null })).toEqual([])
  expect(meshFileProblems({ folder: '/m', problems: [], problemsSinceMs: null })).toEqual([])
  expect(tableFileProblems({ path: '/t', error: null, errorSinceMs: null })).toEqual([])
  expect(savedTableProblems('/k', { saveProblem: null })).toEqual([])
})

test('each problem names its file or server, and since when', () => {
  expect(controlPlaneProblems({ away: trouble, refused: { ...trouble, sinceMs: 8, reason: 'no name' } })).toEqual([
    { about: 'control_plane', text: 'the control plane is away: istiod:15012: refused', sinceMs: 7 },
    {
      about: 'control_plane',
      text: 'the control plane istiod:15012 sends name tables that cannot be used: no name',
      sinceMs: 8,
    },
  ])
  expect(
    meshFileProblems({ folder: '/m', problems: ['a.yaml: line 1', 'b.yaml: line 2'], problemsSinceMs: 9 }),
  ).toEqual(
    ['a.yaml: line 1', 'b.yaml: line 2'].map((line) => ({
      about: 'mesh_files',
      text: `mesh files in /m: ${line}`,
      sinceMs: 9,
    })),
  )
  expect(tableFileProblems({ path: '/t', error: 'no JSON', errorSinceMs: 10 })).toEqual([
    { about: 'table_file', text: 'name table file /t: no JSON', sinceMs: 10 },
  ])
  expect(savedTableProblems('/k', { saveProblem: { reason: 'EROFS', sinceMs: 11 } })).toEqual([
    { about: 'last_known_good', text: 'the last known good table /k cannot be written: EROFS', sinceMs: 11 },
  ])
})

test('a configuration is refused since the first reading that was, until one is in use', () => {
  expect(reloadProblems(null)).toEqual([])
  const good = nextReload(null, 10, [], ['listen'])
  expect(good).toEqual({ count: 1, atMs: 10, problems: [], refusedSinceMs: null, fixedKeys: ['listen'] })
  expect(reloadProblems(good)).toEqual([])
  const bad = nextReload(good, 20, ['a: one'], [])
  expect(bad).toEqual({ count: 2, atMs: 20, problems: ['a: one'], refusedSinceMs: 20, fixedKeys: [] })
  const worse = nextReload(bad, 30, ['b: two', 'c: three'], [])
  expect([worse.count, worse.atMs, worse.refusedSinceMs]).toEqual([3, 30, 20])
  expect(reloadProblems(worse)).toEqual(
    ['b: two', 'c: three'].map((line) => ({
      about: 'configuration',
      text: `the configuration is refused, and the one in use stays: ${line}`,
      sinceMs: 20,
    })),
  )
  const mended = nextReload(worse, 40, [], [])
  expect([mended.count, mended.refusedSinceMs, reloadProblems(mended)]).toEqual([4, null, []])
  expect(nextReload(mended, 50, ['d: four'], []).refusedSinceMs).toBe(50)
})

test('a credential that cannot be used is a problem where the connection depends on it', () => {
  const state: CredentialState = {
    kind: 'token',
    from: '/t',
    expiresAtMs: 1,
    problem: 'is empty',
    problemSinceMs: 12,
    isNeeded: true,
  }
  const good: CredentialState = { ...state, problem: null, problemSinceMs: null }
  const root: CredentialState = { ...state, kind: 'root', from: '/r', problem: 'is no PEM', problemSinceMs: 13 }
  expect(credentialProblems([good, state, { ...state, isNeeded: false }, root])).toEqual([
    { about: 'credentials', text: 'token /t: is empty', sinceMs: 12 },
    { about: 'credentials', text: 'root certificate /r: is no PEM', sinceMs: 13 },
  ])
})

test('a watched file of no use is a problem of its subject', () => {
  expect(fileProblems('hosts_file', null)).toEqual([])
  const fifo = { what: 'the hosts file', file: '/h', reason: 'is a FIFO', sinceMs: 14 }
  expect(fileProblems('hosts_file', fifo)).toEqual([
    { about: 'hosts_file', text: 'the hosts file /h: is a FIFO', sinceMs: 14 },
  ])
})

test('a running daemon tells of a broken mesh file in /readyz, metrics and status, until it is mended', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-problems-'))
  stops.push(() => rmSync(folder, { recursive: true, force: true }))
  const mesh = join(folder, 'mesh')
  mkdirSync(mesh)
  writeFileSync(join(mesh, 'a.yaml'), ENTRY)
  writeFileSync(join(mesh, 'b.yaml'), 'kind: [')
  const daemon = await DaemonProcess.start({ config: { mesh: { source: { files: mesh } } } })
  stops.push(() => daemon.stop())
  // It answers before it has read them.
  const readyz = await until(async () => {
    const reply = await daemon.get('metrics', '/readyz')
    expect(reply.status).toBe(200)
    return reply
  })
  expect(await readyz.text()).toMatch(/^ready\nproblem: mesh files in .*\/mesh: b\.yaml: .* \(since \d{4}-.*Z\)\n$/)
  expect(await daemon.metric('byname_problems', { about: 'mesh_files' })).toBe(1)
  expect((await daemon.status()).problems).toMatchObject([{ about: 'mesh_files' }])
  writeFileSync(join(mesh, 'b.yaml'), '')
  await daemon.line('the mesh files are good again')
  expect((await daemon.status()).problems).toEqual([])
})

test('a running daemon tells that its control plane is away, where, why and since when', async () => {
  const before = Date.now()
  const xds = { address: '127.0.0.1:1' }
  const daemon = await DaemonProcess.start({ config: { mesh: { source: { xds } } } })
  stops.push(() => daemon.stop())
  await daemon.line('cannot reach the control plane')
  const { away } = JSON.parse(await (await daemon.get('admin', '/debug/xds')).text())
  expect(away).toMatchObject({ address: '127.0.0.1:1', reason: expect.stringContaining('ECONNREFUSED') })
  expect(away.sinceMs).toBeGreaterThanOrEqual(before)
  const readyz = await daemon.get('metrics', '/readyz')
  expect(readyz.status).toBe(503)
  expect(await readyz.text()).toContain('\nproblem: the control plane is away: 127.0.0.1:1: ')
})
