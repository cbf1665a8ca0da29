import { expect, test } from 'vitest'
import { Type } from '../../src/dns/constants.ts'
import { explainQuery, type PluginOutcome } from '../../src/engine/explain.ts'
import { PluginExplainer } from '../../src/plugins/plugin-explanation.ts'
import { EngineUnderTest } from '../engine/engine-under-test.ts'
import { message, opt } from '../dns/messages.ts'
import { loaded } from './wat.ts'

/** What it does to names that begin with that letter. */
const only = (letter: string, body: string): string =>
  `(if (result i32) (i32.eq (i32.load8_u (i32.const 1101)) (i32.const ${letter.charCodeAt(0)})) (then ${body}) (else (i32.const 0)))`
const plugins = [
  loaded({ query: only('o', '(i32.store8 (i32.const 1101) (i32.const 98)) (i32.const 2)') }, {}, 'rename'),
  loaded({ query: only('b', '(i32.store16 (i32.const 1076) (i32.const 3)) (i32.const 3)') }, {}, 'block'),
  loaded({ query: only('t', 'unreachable') }, { onError: 'servfail' }, 'trap'),
  loaded({ query: only('d', '(i32.const 4)') }, {}, 'drop'),
]

function asking(name: string): Uint8Array {
  return message({ questions: [[name, Type.A]], additionals: [opt({})] })
}

/** Findings in their order, over all changes of the question. */
function findings(outcome: PluginOutcome | null): string[] {
  if (outcome === null) return []
  return [...outcome.steps.map(({ name, finding }) => `${name}: ${finding}`), ...findings(outcome.next)]
}

test('each plug-in that is asked says what it did', () => {
  const explainer = new PluginExplainer(plugins)
  const of = (name: string): string[] =>
    findings(explainer.explain(asking(name), null)).map((line) => line.replace('plug-in ', ''))
  const passed = ['rename: passes it on', 'block: passes it on', 'trap: passes it on', 'drop: passes it on']
  expect(of('www.example')).toEqual(passed)
  expect(of('old.example')).toEqual([
    'rename: changes the question to bld.example. (type 1)',
    'block: answers without records: NXDOMAIN',
  ])
  expect(of('d.example')).toEqual([...passed.slice(0, 3), 'drop: wants it to get no reply'])
  // However often it fails: each time by itself.
  for (let k = 0; k < 20; k++) {
    expect(of('t.example')).toEqual([...passed.slice(0, 2), 'trap: fails (trap), and onError says servfail'])
  }
  expect(of('www.example')).toEqual(passed)
})

test('the engine explains with them, and its own are not asked', () => {
  const byname = new EngineUnderTest({ plugins })
  const explainer = new PluginExplainer(plugins)
  const of = (name: string) => explainQuery(byname.engine, asking(name), null, explainer.explain(asking(name), null))
  const old = of('old.example')
  expect(old).toMatchObject({ source: 'local', refusal: null })
  // The client's own question comes back.
  expect(Buffer.from(old.reply!).includes('old')).toBe(true)
  expect(Buffer.from(old.reply!).includes('bld')).toBe(false)
  expect(of('d.example')).toMatchObject({ refusal: 'no reply: plug-in drop wants it so', reply: null })
  expect(of('www.example').forward).not.toBeNull()
  expect(of('t.example')).toMatchObject({ source: 'local' })
  // Without them it says which question they are to be asked about.
  expect(explainQuery(byname.engine, asking('www.example'), null)).toMatchObject({
    reply: null,
    forward: null,
    askPlugins: expect.any(Uint8Array),
  })
  expect([byname.requests, byname.outlet.queries.length, byname.counters.pluginGet(0, 2)]).toEqual([0, 0, 0])
})
