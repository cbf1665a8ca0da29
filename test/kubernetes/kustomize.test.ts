/** config/kustomize/byname, the component: the chart's injection.mode=none without the chart. */
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { homedir, tmpdir } from 'node:os'
import { join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import { dataOf, objectsIn } from './helm.ts'
import { containersOf, envOf, namesOf, type Pod, podOf } from './injected-pod.ts'
import { type Definitions, definitionOf, faultsOf } from './schema.ts'

const COMPONENT = fileURLToPath(new URL('../../config/kustomize/byname', import.meta.url))
/** Where .ci/run puts it, unless KUBECTL names another. */
const KEPT = join(homedir(), '.cache/byname/helm-4.1.4/kubectl')
const KUBECTL = process.env['KUBECTL'] ?? (existsSync(KEPT) ? KEPT : 'kubectl')
const whyNot = spawnSync(KUBECTL, ['version', '--client']).error ? 'kubectl is not here' : null
if (whyNot !== null) process.stderr.write(`NOT TESTED, the component for kustomize: ${whyNot}\n`)

const BASE = `
apiVersion: apps/v1
kind: Deployment
metadata: { name: wanted, labels: { byname.io/inject: "true" } }
spec:
  selector: { matchLabels: { app: app } }
  template:
    metadata: { labels: { app: app } }
    spec:
      initContainers: [{ name: migrate, image: "app:1" }]
      containers: [{ name: app, image: "app:1" }]
---
apiVersion: batch/v1
kind: Job
metadata: { name: wanted-job, labels: { byname.io/inject: "true" } }
spec: { template: { spec: { restartPolicy: Never, containers: [{ name: app, image: "app:1" }] } } }
---
apiVersion: apps/v1
kind: Deployment
metadata: { name: other }
spec:
  selector: { matchLabels: { app: other } }
  template: { metadata: { labels: { app: other } }, spec: { containers: [{ name: app, image: "app:1" }] } }
`

test("the component's pod is the one that the chart prints to be pasted", () => {
  const component = parse(readFileSync(join(COMPONENT, 'pod.yaml'), 'utf8')) as { spec: { template: object } }
  const [map] = objectsIn(readFileSync(join(import.meta.dirname, 'chart/none.yaml'), 'utf8'))
  const text = dataOf(map)['pod.yaml']!
  // That golden file is of a revision.
  expect(component.spec.template).toEqual(parse(text.replaceAll('istiod-canary.', 'istiod.')))
})

test.skipIf(whyNot !== null)('it patches what has the label, and byname comes before the own init containers', () => {
  const folder = mkdtempSync(join(tmpdir(), 'byname-kustomize-'))
  try {
    writeFileSync(join(folder, 'base.yaml'), BASE)
    const kustomization = {
      resources: ['base.yaml'],
      components: [relative(folder, COMPONENT)],
      images: [{ name: 'byname', newName: 'registry.example/byname', newTag: '9.9' }],
    }
    writeFileSync(join(folder, 'kustomization.yaml'), JSON.stringify(kustomization))
    const { stdout, stderr, status } = spawnSync(KUBECTL, ['kustomize', folder], { encoding: 'utf8' })
    expect([status, stderr]).toEqual([0, ''])
    const objects = objectsIn(stdout)
    const schemas = JSON.parse(readFileSync(join(import.meta.dirname, 'schemas.json'), 'utf8')) as Definitions
    const faults = objects.map((object) =>
      faultsOf(object, { $ref: definitionOf(object.apiVersion, object.kind) }, schemas),
    )
    expect(faults.flat()).toEqual([])
    const pods = new Map(objects.map((object): [string, Pod] => [object.metadata.name, templateOf(object)]))
    expect(namesOf(pods.get('wanted')!.spec.initContainers)).toEqual(['byname', 'migrate'])
    expect(namesOf(pods.get('wanted-job')!.spec.initContainers)).toEqual(['byname'])
    expect(namesOf(containersOf(pods.get('other')!))).toEqual(['app'])
    expect(pods.get('wanted')!.spec.initContainers![0]!.image).toBe('registry.example/byname:9.9')
    expect(envOf(pods.get('wanted')!, 'byname')).toMatchObject({ CA_ADDR: 'istiod.istio-system.svc:15012' })
    expect(pods.get('wanted')!.metadata.annotations!['proxy.istio.io/config']).toContain('DNS_PROXY_ADDR')
  } finally {
    rmSync(folder, { recursive: true })
  }
})

/** The pod of a Deployment or a Job. */
function templateOf(object: ReturnType<typeof objectsIn>[number]): Pod {
  return podOf({ ...object, kind: 'Job' })
}
