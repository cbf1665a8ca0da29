import { assert, dictionary, property, stringMatching } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { loadConfig } from '../../src/config/load.ts'
import { POD_LABELS, readPodLabels } from '../../src/istio/pod-labels.ts'

describe("a pod's labels, as the kubelet writes them", () => {
  test.each<[what: string, text: string, labels: Record<string, string>]>([
    [
      'some',
      'app="web"\napp.kubernetes.io/name="web"\nempty=""',
      { app: 'web', 'app.kubernetes.io/name': 'web', empty: '' },
    ],
    ['none', '', {}],
    ['the template hash is left out', 'app="web"\npod-template-hash="7d9f"\n', { app: 'web' }],
    ['quoted characters', 'a="b\\"c\\\\d=e"', { a: 'b"c\\d=e' }],
    ['what is no label', 'app\n="x"\nb=c\nd="e\nf="g"h\ni="\\x"', {}],
    ['a name of an object', '__proto__="a"', JSON.parse('{"__proto__":"a"}')],
  ])('%s', (_, text, labels) => {
    expect(readPodLabels(text)).toEqual(labels)
  })

  test('any labels come back', () => {
    const word = stringMatching(/^[A-Za-z0-9][A-Za-z0-9._/-]{0,20}$/)
    assert(
      property(dictionary(word, word), (labels) => {
        const text = Object.entries(labels).map(([key, value]) => `${key}=${JSON.stringify(value)}`)
        expect(readPodLabels(text.join('\n'))).toEqual(labels)
      }),
    )
  })
})

describe('identity.labels', () => {
  const pod = { ISTIO_META_CLUSTER_ID: 'Kubernetes' }
  const file = { [POD_LABELS]: 'app="web"\nversion="v1"' }

  test.each<[what: string, env: Record<string, string>, files: Record<string, string>, labels: object]>([
    ['in a pod: those that are mounted', pod, file, { app: 'web', version: 'v1' }],
    [
      'over those of the environment',
      { ...pod, ISTIO_METAJSON_LABELS: '{"app":"old","a":"b"}' },
      file,
      { app: 'web', version: 'v1', a: 'b' },
    ],
    [
      "under byname's own variable",
      { ...pod, BYNAME_IDENTITY_LABELS: 'app=mine' },
      file,
      { app: 'mine', version: 'v1' },
    ],
    ['in a pod without the file: none', pod, {}, {}],
    ['outside Istio the file means nothing', {}, file, {}],
  ])('%s', (_, env, files, labels) => {
    expect(labelsWith(env, files)).toEqual(labels)
  })
})

function labelsWith(env: Record<string, string>, files: Record<string, string>): unknown {
  const readFile = (path: string): string => {
    const text = files[path]
    if (text === undefined) throw Object.assign(new Error('no such file'), { code: 'ENOENT' })
    return text
  }
  return loadConfig({ env, readFile }).config.identity.labels
}
