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

/** cluster.env for the group, whose mesh configuration is `meshConfig`. */
function envOf(options: Partial<VmOptions> = {}): Record<string, string> {
  return readClusterEnv(filesOf(groupOf('wg-minimal.yaml'), options)['cluster.env']!, 'ours').variables
}

function problemsOf(options: Partial<VmOptions>): string[] {
  const made = vmFiles(groupOf('wg-minimal.yaml'), { ...OPTIONS, ...options })
  return 'problems' in made ? made.problems : []
}

describe('where the golden files say nothing', () => {
  test.each<[options: Partial<VmOptions>, address: string | undefined, rewrite: string | undefined]>([
    [{}, undefined, undefined],
    [{ internalIp: '10.9.9.9' }, '10.9.9.9', undefined],
    [{ externalIp: '203.0.113.7' }, '203.0.113.7', 'true'],
    [{ internalIp: '10.9.9.9', externalIp: '203.0.113.7' }, '10.9.9.9', undefined],
  ])('%j: the address of the machine, and whether probes are rewritten to it', (options, address, rewrite) => {
    const env = envOf(options)
    expect([env['ISTIO_SVC_IP'], env['REWRITE_PROBE_LEGACY_LOCALHOST_DESTINATION']]).toEqual([address, rewrite])
  })

  test.each([
    ['', '22,15090,15021,15020'],
    ['statusPort: 0', '22,15090,15021,15020'],
    ['statusPort: "x"', '22,15090,15021,15020'],
    ['statusPort: 15999', '22,15090,15021,15999'],
    ['statusPort: 15090', '22,15090,15021'],
    ['statusPort: 15021', '22,15090,15021'],
  ])('%j: the ports that are left alone', (line, ports) => {
    expect(envOf({ meshConfig: `defaultConfig:\n  ${line}\n` })['ISTIO_LOCAL_EXCLUDE_PORTS']).toBe(ports)
  })

  test.each([
    ['', 'istiod.istio-system.svc'],
    ['default', 'istiod.istio-system.svc'],
    ['canary', 'istiod-canary.istio-system.svc'],
  ])('of revision %j the control plane is the one of the revision', (revision, host) => {
    const { hosts, ...files } = filesOf(groupOf('wg-minimal.yaml'), {
      meshConfig: '',
      revision,
      ingressIp: '203.0.113.200',
    })
    expect(hosts).toBe(`203.0.113.200 ${host}\n`)
    expect(parse(files['mesh.yaml']!).defaultConfig.discoveryAddress).toBe(`${host}:15012`)
    const env = readClusterEnv(files['cluster.env']!, 'ours').variables
    expect(env['CA_ADDR']).toBe(revision === 'canary' ? `${host}:15012` : undefined)
  })

  test('names are captured only where that is asked for, and the trust domain is that of the mesh', () => {
    expect(envOf()).toMatchObject({ ISTIO_META_DNS_CAPTURE: 'true', TRUST_DOMAIN: 'cluster.local' })
    const env = envOf({ isDnsCaptured: false, meshConfig: 'trustDomain: td.example\n' })
    expect([env['ISTIO_META_DNS_CAPTURE'], env['TRUST_DOMAIN']]).toEqual([undefined, 'td.example'])
  })

  test('what HTML would take for markup is escaped in JSON, as Go does', () => {
    const group = groupOf('wg-minimal.yaml')
    const labelled = { ...group, workloadLabels: { note: '<a&b>\u2028\u2029' } }
    const env = readClusterEnv(filesOf(labelled)['cluster.env']!, 'ours').variables
    expect(env['ISTIO_METAJSON_LABELS']).toContain(String.raw`"note":"\u003ca\u0026b\u003e\u2028\u2029"`)
  })

  test('annotations of the group come over the mesh, those of the workload over both, section by section', () => {
    const group = groupOf('wg-minimal.yaml')
    const key = 'proxy.istio.io/config'
    const annotated = {
      ...group,
      annotations: { [key]: 'meshId: two\nproxyMetadata: { A: "1", B: "1" }\ntracing: { a: { x: 1 } }\n' },
      workloadAnnotations: { [key]: 'proxyMetadata: { B: "2" }\ntracing: { a: { y: 2 }, b: [1] }\n' },
    }
    const files = filesOf(annotated)
    const { defaultConfig } = parse(files['mesh.yaml']!)
    expect(defaultConfig).toMatchObject({ meshId: 'two', tracing: { a: { x: 1, y: 2 }, b: [1] } })
    expect(readClusterEnv(files['cluster.env']!, 'ours').variables).toMatchObject({ A: '1', B: '2' })
  })

  test.each<[options: Partial<VmOptions>, problem: string]>([
    [{ meshConfig: 'a: 1\n---\nb: 2\n' }, 'mesh-config.yaml: is more than one document'],
    [{ meshConfig: '- a\n' }, 'mesh-config.yaml: must be a section of keys'],
    [{ meshConfig: 'text' }, 'mesh-config.yaml: must be a section of keys'],
    [{ ingressIp: 'host' }, 'ingressIp: must be an IP address, not "host"'],
    [{ internalIp: '1.2.3' }, 'internalIp: must be an IP address, not "1.2.3"'],
    [{ externalIp: '1.2.3.4/8' }, 'externalIp: must be an IP address, not "1.2.3.4/8"'],
  ])('%j is one line', (options, problem) => {
    expect(problemsOf(options)).toEqual([problem])
  })
})
