/**
 * Istio's own injector, by `istioctl kube-inject`: its template and its code at the version that .ci/run pins, with the
 * chart's template beside it.
 *
 * ISTIOCTL is the program, ISTIOD_CHART the folder manifests/charts/istio-control/istio-discovery of Istio's Go module.
 */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parse } from 'yaml'
import { dataOf, helm, objectsIn, render } from '../helm.ts'

export const ISTIOCTL: string | undefined = process.env['ISTIOCTL'] || undefined
export const ISTIOD_CHART: string | undefined = process.env['ISTIOD_CHART'] || undefined

/** How a mesh is set up, as far as it matters where byname goes. */
export interface World {
  isNative: boolean
  hasCni: boolean
  /** istiod's revision; '' for the default one. */
  revision: string
}

/** The worlds of the golden files, by name. */
export const WORLDS: Readonly<Record<string, World>> = {
  'native-init': { isNative: true, hasCni: false, revision: '' },
  'native-cni': { isNative: true, hasCni: true, revision: '' },
  'container-init': { isNative: false, hasCni: false, revision: '' },
  'container-cni': { isNative: false, hasCni: true, revision: '' },
  revision: { isNative: true, hasCni: false, revision: '1-31-0' },
}

/** Injects the objects of a file and returns YAML. */
export function inject(file: string, { isNative, hasCni, revision }: World): string {
  const folder = mkdtempSync(join(tmpdir(), 'byname-injection-'))
  try {
    const ours = join(folder, 'ours.yaml')
    writeFileSync(ours, istiodValues(revision))
    const chart = helm(
      'template',
      'istiod',
      ISTIOD_CHART!,
      '--namespace',
      'istio-system',
      '--values',
      ours,
      '--set',
      `pilot.cni.enabled=${hasCni}`,
      '--set',
      'global.hub=registry.example/istio',
      '--set',
      'global.tag=1.31.0',
    )
    if (chart.code !== 0) throw new Error(chart.err)
    const suffix = revision === '' ? '' : `-${revision}`
    const maps = objectsIn(chart.out).filter(({ kind }) => kind === 'ConfigMap')
    const data = (name: string): Record<string, string> =>
      dataOf(maps.find(({ metadata }) => metadata.name === `${name}${suffix}`))
    const { config, values } = data('istio-sidecar-injector')
    const path = (name: string, text: string): string => {
      writeFileSync(join(folder, name), text)
      return join(folder, name)
    }
    const args = [
      'kube-inject',
      '--revision',
      revision || 'default',
      '--injectConfigFile',
      path('config.yaml', config!),
      '--valuesFile',
      path('values.json', values!),
      '--meshConfigFile',
      path('mesh.yaml', data('istio')['mesh']!),
      '--filename',
      file,
    ]
    // With no revision given it would ask a cluster.
    const env = { PATH: process.env['PATH'], KUBECONFIG: '/dev/null', ENABLE_NATIVE_SIDECARS: String(isNative) }
    const { status, stdout, stderr } = spawnSync(ISTIOCTL!, args, { encoding: 'utf8', env, timeout: 60_000 })
    if (status !== 0) throw new Error(stderr)
    return stdout
  } finally {
    rmSync(folder, { recursive: true })
  }
}

/** What the chart gives to istiod's release. */
function istiodValues(revision: string): string {
  const { out, err } = render(revision === '' ? [] : ['--set', `revision=${revision}`])
  const [map] = objectsIn(out)
  if (map === undefined) throw new Error(err)
  const values = dataOf(map)['values.yaml']!
  // istiod's own chart must be able to read it.
  parse(values)
  return values
}
