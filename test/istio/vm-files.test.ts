import { readFileSync } from 'node:fs'
import { parse } from 'yaml'
import { describe, expect, test } from 'vitest'
import { readClusterEnv } from '../../src/istio/cluster-env.ts'
import { VM_FILES, vmFiles, type VmOptions } from '../../src/istio/vm-files.ts'
import { readWorkloadGroup, type WorkloadGroup } from '../../src/istio/workload-group.ts'

/** What `istioctl x workload entry configure` wrote for the groups beside it, in August 2026. */
const GOLDEN = new URL('vm-files/', import.meta.url)

const MESH = `
defaultConfig:
  discoveryAddress: istiod.istio-system.svc:15012
  meshId: mesh1
  proxyMetadata:
    EXTRA: "it's a value with 'quotes' $HOME"
`

const OPTIONS: VmOptions = {
  meshConfig: MESH,
  meshConfigFile: 'mesh-config.yaml',
  clusterId: 'Kubernetes',
  istioNamespace: 'istio-system',
  revision: '',
  rootCert: 'root',
  token: 'token',
  ingressIp: '',
  internalIp: '',
  externalIp: '',
  isDnsCaptured: true,
  isAutoRegistered: false,
}

function golden(name: string): string {
  return readFileSync(new URL(name, GOLDEN), 'utf8')
}

function groupOf(file: string): WorkloadGroup {
  const read = readWorkloadGroup(golden(file), file, 'default')
  if ('problems' in read) throw new Error(read.problems.join('\n'))
  return read.value
}

function filesOf(group: WorkloadGroup, options: Partial<VmOptions> = {}): Record<string, string> {
  const made = vmFiles(group, { ...OPTIONS, ...options })
  if ('problems' in made) throw new Error(made.problems.join('\n'))
  return made.files
}

function linesOf(env: string): string[] {
  return env.split('\n').filter((line) => !line.startsWith('ISTIO_INBOUND_PORTS='))
}

/** istioctl writes the inbound ports in any order. */
function withSortedPorts(env: Record<string, string>): Record<string, string> {
  return { ...env, ISTIO_INBOUND_PORTS: env['ISTIO_INBOUND_PORTS']!.split(',').toSorted().join(',') }
}

describe('the files are those of istioctl', () => {
  const cases: [folder: string, group: string, options: Partial<VmOptions>][] = [
    ['out-file', 'workloadgroup.yaml', {}],
    ['out-api', 'workloadgroup.yaml', { isAutoRegistered: true }],
    [
      'out-created',
      'group-create.yaml',
      { isAutoRegistered: true, internalIp: '10.9.9.9', ingressIp: '203.0.113.200' },
    ],
    ['out-minimal', 'wg-minimal.yaml', {}],
    [
      'out-revision',
      'workloadgroup.yaml',
      { revision: 'canary', meshConfig: MESH.replace('istiod.', 'istiod-canary.') },
    ],
  ]
  test.each(cases)('%s', (folder, group, options) => {
    const files = filesOf(groupOf(group), options)
    const env = readClusterEnv(golden(`${folder}/cluster.env`), 'cluster.env')
    expect(env.problems).toEqual([])
    expect(withSortedPorts(readClusterEnv(files['cluster.env']!, 'ours').variables)).toEqual(
      withSortedPorts(env.variables),
    )
    expect(parse(files['mesh.yaml']!)).toEqual(parse(golden(`${folder}/mesh.yaml`)))
    expect(files['hosts']).toBe(golden(`${folder}/hosts`))
    expect(Object.keys(files)).toEqual([...VM_FILES])
    // Line by line as well, in the same order and with the same quotes.
    expect(linesOf(files['cluster.env']!)).toEqual(linesOf(golden(`${folder}/cluster.env`)))
  })
})
