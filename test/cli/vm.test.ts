import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { runCommandLine } from '../../src/main.ts'

const GROUP =
  'apiVersion: networking.istio.io/v1\nkind: WorkloadGroup\nmetadata: {name: pay, namespace: shop}\nspec:\n  template: {serviceAccount: vm}\n'

let folder = ''
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-vm-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

async function vm(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  let out = ''
  let err = ''
  const context = {
    env: {},
    out: (text: string): void => void (out += text),
    err: (text: string): void => void (err += text),
    signal: new AbortController().signal,
  }
  const code = await runCommandLine(['vm', ...argv], context, () => {})
  return { code, out, err }
}

function file(name: string, text: string): string {
  const path = join(folder, name)
  writeFileSync(path, text)
  return path
}

test('the five files are written, the token for its owner alone', async () => {
  const output = join(folder, 'a/b')
  const { code, out, err } = await vm(
    'configure',
    `--file=${file('group.yaml', GROUP)}`,
    `--output=${output}`,
    `--root-cert=${file('root.pem', 'ROOT')}`,
    `--token=${file('token', 'TOKEN\n')}`,
    '--ingress-ip=203.0.113.9',
  )
  expect({ code, err }).toEqual({ code: 0, err: '' })
  expect(out.trim().split('\n')).toEqual(
    ['cluster.env', 'mesh.yaml', 'root-cert.pem', 'istio-token', 'hosts'].map((name) => join(output, name)),
  )
  expect(readFileSync(join(output, 'istio-token'), 'utf8')).toBe('TOKEN')
  expect(statSync(join(output, 'istio-token')).mode & 0o777).toBe(0o600)
  expect(readFileSync(join(output, 'hosts'), 'utf8')).toBe('203.0.113.9 istiod.istio-system.svc\n')
  expect(readFileSync(join(output, 'cluster.env'), 'utf8')).toContain("SERVICE_ACCOUNT='vm'\n")
})

test('what the machine will lack is said', async () => {
  const { code, err } = await vm('configure', '--file', file('group.yaml', GROUP), '--output', join(folder, 'out'))
  expect(code).toBe(0)
  expect(err).toContain(
    'byname vm: root-cert.pem is empty: the machine cannot verify the control plane; give --root-cert FILE\n',
  )
  expect(err).toContain('byname vm: istio-token is empty')
})

test.each([
  [[], 'say what to do: configure'],
  [['install-all'], 'unknown: install-all'],
  [['configure'], 'name the WorkloadGroup with --file FILE'],
  [['configure', '--file', 'x'], 'name the folder to write to with --output DIR'],
  [['configure', '--file', '/nowhere/x', '--output', 'o'], '/nowhere/x does not exist'],
  [['configure', '--file', '/', '--output', 'o'], '/ is a folder; name a regular file'],
  [['configure', '--file', '/dev/zero', '--output', 'o'], '/dev/zero is a device'],
  [
    ['configure', '--file', 'x', '--output', 'o', '--internal-ip', '1.1.1.1', '--external-ip', '1.1.1.2'],
    'give one of --internal-ip and --external-ip',
  ],
])('byname vm %j is refused in one line', async (argv, message) => {
  const { code, out, err } = await vm(...argv)
  expect({ code, out }).toEqual({ code: 2, out: '' })
  expect(err).toContain(message)
  expect(err.trim().split('\n')).toHaveLength(1)
})

test('a group, a mesh configuration or an address that is wrong leaves nothing behind', async () => {
  const group = file('group.yaml', GROUP)
  const output = join(folder, 'out')
  const mesh = file('mesh.yaml', 'defaultConfig: [')
  for (const wrong of [
    ['--mesh-config', mesh],
    ['--ingress-ip', 'gateway.example'],
    ['--file', file('bad.yaml', `${GROUP}  bogus: 1\n`)],
  ]) {
    const { code, err } = await vm('configure', '--file', group, '--output', output, ...wrong)
    expect(code).toBe(2)
    expect(err.trim().split('\n')).toHaveLength(1)
    expect(statSync(output, { throwIfNoEntry: false })).toBeUndefined()
  }
})
