/** FIFOs, devices and endless files at every place where byname reads a file: one line, never a hang. */
import { execFileSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { runLauncher } from '../daemon/daemon-process.ts'
import { service } from '../mesh/mesh-of.ts'
import { addressesOf } from '../worker/dns-client.ts'
import { Stage } from './scenario.ts'
import { until } from '../until.ts'

const LAUNCHER = join(import.meta.dirname, '..', '..', 'bin', 'byname')
const stage = new Stage()

function scratch(): string {
  const folder = mkdtempSync(join(tmpdir(), 'byname-odd-'))
  stage.closing(() => rmSync(folder, { recursive: true }))
  return folder
}

/** Makes an odd file of a kind at a path. */
const MAKERS: Readonly<Record<string, (path: string) => void>> = {
  'a FIFO': (path) => execFileSync('mkfifo', [path]),
  'a link to /dev/zero': (path) => symlinkSync('/dev/zero', path),
  'a folder': (path) => mkdirSync(path),
  'a terabyte': (path) => {
    writeFileSync(path, '')
    truncateSync(path, 2 ** 40)
  },
}

describe.each(Object.keys(MAKERS))('%s', (kind) => {
  const make = MAKERS[kind]!

  test('as resolv.conf, hosts file, last known good table and mesh file costs one line each, and SIGTERM ends it', async () => {
    const folder = scratch()
    const mesh = join(folder, 'mesh')
    mkdirSync(mesh)
    writeFileSync(join(mesh, 'good.yaml'), service({ name: 'web', namespace: 'default' }))
    const paths = {
      resolvConf: join(folder, 'resolv.conf'),
      hostsFile: join(folder, 'hosts'),
      lastKnownGood: join(folder, 'table.image'),
      mesh: join(mesh, 'odd.yaml'),
      vips: join(mesh, '.byname-vips.json'),
    }
    for (const path of Object.values(paths)) make(path)
    const daemon = await stage.daemon({
      config: {
        hostsFile: paths.hostsFile,
        mesh: { source: { files: mesh }, lastKnownGood: paths.lastKnownGood },
        upstream: { resolvConf: paths.resolvConf },
      },
    })
    const client = await stage.client()
    await until(async () =>
      expect(addressesOf((await client.ask(daemon.at(), 'web.default.svc.cluster.local')).packet)).toHaveLength(1),
    )
    const about = (text: string): number =>
      daemon.lines.filter((line) => ['warn', 'error'].includes(line.level) && line.msg.includes(text)).length
    expect(about('resolv.conf cannot be read')).toBe(1)
    expect(about('the hosts file cannot be read')).toBe(1)
    expect(about('the last known good table cannot be read')).toBe(1)
    // A folder of that name holds mesh files of its own.
    expect(about('odd.yaml: cannot be read')).toBe(kind === 'a folder' ? 0 : 1)
    expect(await daemon.end('SIGTERM')).toEqual([0, null])
  })

  test.each([
    ['the configuration', (path: string) => ({ args: ['--config', path], env: {} })],
    ['root certificates', (path: string) => ({ args: [], env: { BYNAME_UPSTREAM_ROOT_CERT: path } })],
  ])('as %s is refused at once, by run and by check', async (_, use) => {
    const path = join(scratch(), 'odd')
    make(path)
    const { args, env } = use(path)
    for (const command of ['run', 'check']) {
      const whole = { BYNAME_MESH_SOURCE_TABLE: '/nowhere/table.json', ...env }
      const { code, err } = await runLauncher(LAUNCHER, [command, ...args], whole)
      expect([code, err.trimEnd().split('\n').length]).toEqual([2, 1])
      expect(err).toContain(path)
    }
  })

  test('as a table file leaves mesh names to come', async () => {
    const path = join(scratch(), 'table.json')
    make(path)
    const daemon = await stage.daemon({ config: { mesh: { source: { table: path } } } })
    expect((await daemon.line(`name table file ${path}: cannot be read`)).msg).not.toContain('\n')
    rmSync(path, { recursive: true })
    writeFileSync(path, '{"table":{"web.example":{"ips":["10.0.0.1"]}}}')
    const client = await stage.client()
    await until(async () =>
      expect(addressesOf((await client.ask(daemon.at(), 'web.example')).packet)).toEqual(['10.0.0.1']),
    )
    expect(await daemon.end('SIGTERM')).toEqual([0, null])
  })
})
