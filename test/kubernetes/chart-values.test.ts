/** Values of the Helm chart: what is wrong with them is said in one line, and what is empty counts as not given. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { CHART, helm, render, whyNoHelm } from './helm.ts'

if (whyNoHelm !== null) process.stderr.write(`NOT TESTED, values of the Helm chart: ${whyNoHelm}\n`)

describe.skipIf(whyNoHelm !== null)('helm template', () => {
  test.each<[what: string, args: string[], line: RegExp]>([
    [
      'no policy API',
      ['--set', 'injection.mode=policy', '--kube-version', '1.35'],
      /injection\.mode: policy needs MutatingAdmissionPolicy \(Kubernetes 1\.36 or later\), and this cluster is Kubernetes v1\.35: use injection\.mode=template/,
    ],
    [
      'an old Kubernetes',
      ['--kube-version', '1.28.3'],
      /this cluster is Kubernetes v1\.28\.3: byname needs 1\.29 or later/,
    ],
    [
      'an old Istio',
      ['--set', 'istio.version=1.26.4'],
      /istio\.version: byname's template and policy need Istio 1\.27 or later, not 1\.26\.4/,
    ],
    [
      'a long revision',
      ['--set', `revision=${'a'.repeat(57)}`],
      /revision: "a{57}" has 57 characters, and may have 56: istiod's Service/,
    ],
    [
      'a long name',
      ['--set', `fullnameOverride=${'a'.repeat(53)}`],
      /fullnameOverride: "a{53}" has 53 characters, and may have 52/,
    ],
    [
      'a name with capitals',
      ['--set', 'fullnameOverride=Byname'],
      /fullnameOverride: "Byname" may have small letters, digits and hyphens only/,
    ],
    [
      'a long tag',
      ['--set', 'injection.mode=policy', '--set', `revisionTags={${'a'.repeat(43)}}`],
      /revisionTags: "a{43}" has 43 characters, and may have 42/,
    ],
    [
      'a revision that is no name',
      ['--set', 'revision=Canary_1'],
      /revision: "Canary_1" may have small letters, digits and hyphens only/,
    ],
    [
      'revision default',
      ['--set', 'revision=default'],
      /revision: "default" is the revision without a name; leave the value empty/,
    ],
    ['tags without policy', ['--set', 'revisionTags={prod}'], /revisionTags: only injection\.mode=policy has them/],
    [
      'a PodMonitor of merged metrics',
      ['--set', 'podMonitor.enabled=true'],
      /podMonitor\.enabled: needs metrics\.scrape=direct, not merged/,
    ],
    [
      'a link-local address without a program to add it',
      ['--set', 'mode=node', '--set', 'node.linkLocalAddress=169.254.20.53'],
      /node\.linkLocalAddress: needs node\.addressImage, an image with the program ip/,
    ],
    [
      'a link-local address in the pod network',
      ['--set', 'mode=node', '--set', 'node.linkLocalAddress=169.254.20.53', '--set', 'node.hostNetwork=false'],
      /node\.linkLocalAddress: needs node\.hostNetwork=true/,
    ],
    ['the port of DNS', ['--set', 'metrics.port=53'], /metrics\.port: 53 is a port of Istio's or byname's own/],
    ["Istio's port", ['--set', 'metrics.port=15020'], /metrics\.port: 15020 is a port of Istio's or byname's own/],
    ['a variable of the chart', ['--set', 'env.POD_NAME=x'], /env\.POD_NAME: belongs to the chart; remove it/],
    [
      'a setting of the chart',
      ['--set', 'config.listen=127.0.0.1:53'],
      /config\.listen: belongs to the chart; remove it/,
    ],
  ])('%s: one line that names the value and the remedy, and no output', (_, args, line) => {
    const { code, out, err } = helm('template', 'byname', CHART, ...withKubernetes(args))
    expect(code).toBe(1)
    expect(out).toBe('')
    const lines = err.split('\n').filter((each) => each !== '' && !each.startsWith('Use --debug'))
    expect(lines).toEqual([expect.stringMatching(line)])
    expect(lines[0]).not.toMatch(/error calling|<.*>|\{\{/)
  })

  test('a release with a long name: one line that says what else can be set', () => {
    const { code, err } = helm('template', 'a'.repeat(53), CHART, '--kube-version', '1.37')
    expect(code).toBe(1)
    expect(err).toMatch(
      /name of the release \(or set fullnameOverride\): "byname-a{53}" has 60 characters, and may have 52: longer names of its objects would not fit into labels/,
    )
  })

  test.each<[what: string, args: string[], line: string]>([
    ['a text for a number', ['--set', 'metrics.port=dns'], "- at '/metrics/port': got string, want integer"],
    ['a number for a text', ['--set', 'revision=12'], "- at '/revision': got number, want string"],
    [
      'a text for a boolean',
      ['--set-string', 'podMonitor.enabled=true'],
      "- at '/podMonitor/enabled': got string, want boolean",
    ],
    ['a text for a list', ['--set', 'revisionTags=prod'], "- at '/revisionTags': got string, want array"],
    ['a text for a map', ['--set', 'config=x'], "- at '/config': got string, want null or object"],
    [
      'a misspelt setting of byname',
      ['--set', 'config.cache.maxByte=1'],
      "- at '/config/cache': additional properties 'maxByte' not allowed",
    ],
    [
      'a word that a setting does not take',
      ['--set', 'config.egress.default=maybe'],
      "- at '/config/egress/default': value must be one of 'allow', 'deny'",
    ],
    ['a list for a map', ['--set', 'resources={a}'], "- at '/resources': got array, want object"],
    [
      'no such mode',
      ['--set', 'injection.mode=webhook'],
      "- at '/injection/mode': value must be one of 'template', 'policy', 'none'",
    ],
    ['a misspelt key', ['--set', 'injektion.mode=policy'], "- at '': additional properties 'injektion' not allowed"],
    [
      'a digest that is none',
      ['--set', 'image.digest=latest'],
      "- at '/image/digest': 'latest' does not match pattern",
    ],
    [
      'an amount that is none',
      ['--set', 'resources.limits.memory=much'],
      "- at '/resources/limits/memory': 'much' does not",
    ],
    ['a list of numbers', ['--set', 'revisionTags={1}'], "- at '/revisionTags/0': got number, want string"],
    [
      'no such unit of time',
      ['--set', 'podMonitor.interval=30'],
      "- at '/podMonitor/interval': got number, want string",
    ],
    ['part of a pod', ['--set', 'node.maxUnavailable=0.5'], "- at '/node/maxUnavailable': "],
    ['a start without end', ['--set', 'startup.seconds=0'], "- at '/startup/seconds': minimum: got 0, want 1"],
    ['a port out of range', ['--set', 'metrics.port=70000'], "- at '/metrics/port': maximum: got 70,000, want 65,535"],
  ])('%s: one line with its path, before any template runs', (_, args, line) => {
    const { code, err } = helm('template', 'byname', CHART, ...withKubernetes(args))
    expect(code).toBe(1)
    expect(err.split('\n').filter((each) => each.startsWith('- at'))).toEqual([expect.stringContaining(line)])
    expect(err).not.toMatch(/template:|execution error/)
  })

  test.each([
    ['--set-string', 'config.cache.maxBytes=8388608'],
    ['--set', 'config.cache.maxBytes=8Mi'],
    ['--set-string', 'config.cache.prefetch=off'],
    ['--set', 'config.search.storms=off'],
    ['--set', 'config.search.storms=false'],
    ['--set', 'config.upstream.servers=192.0.2.1'],
    ['--set', 'config.upstream.servers={192.0.2.1,192.0.2.2}'],
    ['--set', 'config.identity.labels.app=web'],
    ['--set-json', 'config.rules=[{"match":"a.example","deny":"nodata"}]'],
    ['--set-json', 'config.mesh={"source":{"xds":{"address":["192.0.2.1:15010"]}}}'],
  ])('%s %s: every way to write a setting is taken', (...args) => {
    expect(render(args)).toMatchObject({ code: 0, err: '' })
  })

  test.each<[golden: string, args: string[]]>([
    ['template', []],
    ['policy', ['--set', 'injection.mode=policy']],
    ['node', ['--set', 'mode=node,config.cache.maxBytes=null']],
  ])('%s: what is empty in a file of values is as if it were not there', (name, args) => {
    const { spaces } = keysOf(valuesByDefault())
    const emptied = spaces.filter((path) => !args.join().includes(`${path}.`)).map((path) => `${path}=null`)
    const { out, err } = render([...args, '--set', emptied.join(',')])
    expect(err).toBe('')
    expect(out).toBe(readFileSync(join(import.meta.dirname, 'chart', `${name}.yaml`), 'utf8'))
  })

  test.each(['image', 'metrics.port', 'startup', 'injection.policy', 'podMonitor', 'node.access'])(
    '%s emptied: one line says that it is missing',
    (path) => {
      const { code, err } = render(['--set', `${path}=null`])
      expect(code).toBe(1)
      const lines = err.split('\n').filter((each) => each.startsWith('- at'))
      const section = path
        .split('.')
        .slice(0, -1)
        .map((step) => `/${step}`)
      expect(lines).toEqual([`- at '${section.join('')}': missing property '${path.split('.').at(-1)}'`])
    },
  )

  test('every value that the templates cannot do without is one that the schema asks for', () => {
    const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'))
    const free = ['resources', 'node.priorityClassName', 'node.nodeSelector', 'node.tolerations', 'dashboard.labels']
    const missing = keysOf(valuesByDefault())
      .needed.filter((path) => !free.some((each) => path === each || path.startsWith(`${each}.`)))
      .filter((path) => {
        const steps = path.split('.')
        const section = steps.slice(0, -1).reduce((place, step) => place.properties[step], schema)
        return !section.required?.includes(steps.at(-1))
      })
    expect(missing).toEqual([])
  })

  test('every value of values.yaml has a comment and a place in the schema', () => {
    const text = readFileSync(join(CHART, 'values.yaml'), 'utf8')
    const schema = JSON.parse(readFileSync(join(CHART, 'values.schema.json'), 'utf8'))
    const undocumented: string[] = []
    const missing: string[] = []
    let commented = false
    const at: string[] = []
    for (const line of text.split('\n')) {
      const [, indent, key, rest] = /^( *)([A-Za-z]\w*):(.*)$/.exec(line) ?? []
      if (line.trim().startsWith('#')) commented = true
      else if (line.trim() === '') commented = false
      else if (key !== undefined) {
        at.length = indent!.length / 2
        at.push(key)
        // A section may leave the comment to its keys; keys in a row share the comment above them.
        if (!commented && at.length === 1 && rest !== '') undocumented.push(at.join('.'))
        let place = schema
        for (const step of at) place = place?.properties?.[step]
        if (place === undefined && !isInside(schema, at)) missing.push(at.join('.'))
      }
    }
    expect({ undocumented, missing }).toEqual({ undocumented: [], missing: [] })
  })
})

function valuesByDefault(): Record<string, unknown> {
  return parse(readFileSync(join(CHART, 'values.yaml'), 'utf8'))
}

/** The paths of values with something in them by default, and of those with nothing: "", [], {}. */
function keysOf(values: object, above: readonly string[] = []): { needed: string[]; spaces: string[] } {
  const found: { needed: string[]; spaces: string[] } = { needed: [], spaces: [] }
  for (const [key, value] of Object.entries(values)) {
    const path = [...above, key]
    const isEmpty = value === '' || (typeof value === 'object' && Object.keys(value).length === 0)
    found[isEmpty ? 'spaces' : 'needed'].push(path.join('.'))
    if (typeof value !== 'object' || Array.isArray(value)) continue
    const below = keysOf(value, path)
    found.needed.push(...below.needed)
    found.spaces.push(...below.spaces)
  }
  return found
}

/** The arguments, and a Kubernetes that has everything unless they name one. */
function withKubernetes(args: readonly string[]): string[] {
  return args.includes('--kube-version') ? [...args] : [...args, '--kube-version', '1.37']
}

/** Whether the path leads into a map whose keys the schema leaves open. */
function isInside(schema: unknown, path: readonly string[]): boolean {
  let place = schema as
    | { properties?: Record<string, unknown>; $ref?: string; additionalProperties?: unknown }
    | undefined
  for (const step of path) {
    if (place?.$ref !== undefined || place?.properties === undefined) return true
    place = place.properties[step] as typeof place
    if (place === undefined) return false
  }
  return true
}
