/** Files of names while byname runs: watched, read whole, and a bad one changes nothing. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { nameToWire, scanName } from '../../src/dns/name.ts'
import { ClientQuery } from '../../src/engine/client-query.ts'
import { RuleMatcher } from '../../src/engine/rule-matcher.ts'
import { HOSTS, RESOLV_CONF, SettingsWorld } from './settings-world.ts'

const LIST = '/etc/byname/ads.txt'
let world: SettingsWorld

beforeEach(() => {
  world = new SettingsWorld()
  world.files.write(HOSTS, '')
  world.files.write(RESOLV_CONF, 'nameserver 192.0.2.53\nsearch shop.svc.cluster.local\n')
})
afterEach(() => world.settings.stop())

/** Those of the names that a rule denies now. */
function denied(...names: string[]): string[] {
  const { rules } = world.settings.engine
  if (rules === undefined) return []
  const matcher = new RuleMatcher(rules)
  const query = new ClientQuery()
  return names.filter((name) => {
    const wire = nameToWire(name)!
    scanName(wire, 0, wire.length, 1, query.name)
    return matcher.decide(query, false) && matcher.rule !== null
  })
}

const open = (rules: string): unknown => world.open('', `rules: ${rules}`)
const said = (): string[] => world.lines.filter((line) => !line.includes('IPv6') && !line.includes('hosts file'))

describe('a file of names', () => {
  test('is read at the start, and again when it has changed', () => {
    world.files.write(LIST, 'a.example\n')
    open(`[{ file: ${LIST}, action: nxdomain }]`)
    expect(denied('a.example', 'b.example')).toEqual(['a.example'])
    world.files.write(LIST, 'b.example\n')
    world.rest()
    expect(denied('a.example', 'b.example')).toEqual(['b.example'])
    expect(world.told.at(-1)?.rules).toBe(world.settings.engine.rules)
  })

  test('that is bad changes nothing, and is named with its line until it is good again', () => {
    world.files.write(LIST, 'a.example\n')
    open(`[{ file: ${LIST}, action: nxdomain }]`)
    world.files.write(LIST, 'b.example\nno name at all\n')
    world.rest()
    expect(denied('a.example', 'b.example')).toEqual(['a.example'])
    expect(said().at(-1)).toBe(
      `warn rules: ${LIST}: line 2: "no name at all" is no name; write a name, .NAME (with all below), *.NAME (only those below), a line of hosts(5), ||NAME^ or records of a response policy zone (its last names stay)`,
    )
    expect(world.settings.problems.map(({ about, text }) => [about, text.includes(`${LIST}: line 2`)])).toEqual([
      ['rules', true],
    ])
    world.files.write(LIST, 'b.example\n')
    world.rest()
    expect([denied('a.example', 'b.example'), world.settings.problems]).toEqual([['b.example'], []])
  })

  test('that loses all its bytes leaves its names; one that has but a comment has none', () => {
    world.files.write(LIST, 'a.example\n')
    open(`[{ file: ${LIST}, action: nxdomain }]`)
    world.files.write(LIST, '')
    world.rest()
    expect(denied('a.example')).toEqual(['a.example'])
    expect(said().at(-1)).toBe(
      `warn rules: ${LIST}: has no bytes any more; write a line that begins with # where no names are meant (its last names stay)`,
    )
    world.files.write(LIST, '# none\n')
    world.rest()
    expect([denied('a.example'), world.settings.problems]).toEqual([[], []])
  })

  test('that is bad at the start counts by its good lines', () => {
    world.files.write(LIST, 'a.example\nno name at all\n')
    open(`[{ file: ${LIST}, action: nxdomain }]`)
    expect(denied('a.example')).toEqual(['a.example'])
    expect(said().at(-1)).toContain('(only its good lines count)')
  })

  test('that goes away leaves its names, and one that comes late is taken', () => {
    open(`[{ file: ${LIST}, action: nxdomain }]`)
    expect([denied('a.example'), said().at(-1)]).toEqual([
      [],
      `warn rules: ${LIST}: does not exist; name an existing file (no names from it)`,
    ])
    world.files.write(LIST, 'a.example\n')
    world.rest()
    expect(denied('a.example')).toEqual(['a.example'])
    world.files.remove(LIST)
    world.rest()
    expect(denied('a.example')).toEqual(['a.example'])
  })

  test('with NUL bytes is none', () => {
    world.files.write(LIST, 'a.example\n')
    open(`[{ file: ${LIST}, action: nxdomain }]`)
    world.files.write(LIST, 'b.example\0\n')
    world.rest()
    expect(denied('a.example', 'b.example')).toEqual(['a.example'])
    expect(said().at(-1)).toContain('holds NUL bytes')
  })

  test('is read once for several rules, and in each way that they want it', () => {
    world.files.write(LIST, 'a.example\n')
    open(
      `[{ file: ${LIST}, action: nxdomain, types: [A] }, { file: ${LIST}, action: nodata }, { file: ${LIST}, subdomains: true, action: nodata }]`,
    )
    expect(denied('a.example', 'x.a.example')).toEqual(['a.example', 'x.a.example'])
    expect(said().filter((line) => line === 'info names of rules read')).toHaveLength(2)
  })
})

describe('settings', () => {
  test('that change in another way keep the compiled names', () => {
    world.files.write(LIST, 'a.example\n')
    open(`[{ name: b.example, action: nxdomain }, { file: ${LIST}, action: nxdomain }]`)
    const before = world.settings.engine.rules!.image
    world.files.write(RESOLV_CONF, 'nameserver 192.0.2.54\n')
    world.rest()
    expect(world.settings.engine.rules!.image).toBe(before)
    world.files.write(LIST, 'c.example\n')
    world.rest()
    expect(world.settings.engine.rules!.image).not.toBe(before)
  })

  test('that are read again have their files read again, at once', () => {
    world.files.write(LIST, 'a.example\n')
    open(`[{ file: ${LIST}, action: nxdomain }]`)
    world.files.write(LIST, 'b.example\n')
    world.settings.reload(world.settings.config)
    expect(denied('a.example', 'b.example')).toEqual(['b.example'])
  })

  test('of another configuration count at once, and its files are watched instead', () => {
    world.files.write(LIST, 'a.example\n')
    open(`[{ file: ${LIST}, action: nxdomain }]`)
    const next = world.configOf(
      `{ upstream: { resolvConf: ${RESOLV_CONF} }, rules: [{ name: b.example, action: nxdomain }] }`,
    )
    world.settings.reload(next)
    expect(denied('a.example', 'b.example')).toEqual(['b.example'])
    const lines = world.lines.length
    world.files.write(LIST, 'c.example\n')
    world.rest()
    expect([denied('c.example'), world.lines.length]).toEqual([[], lines])
    world.settings.reload(world.configOf(`{ upstream: { resolvConf: ${RESOLV_CONF} } }`))
    expect(world.settings.engine.rules).toBeUndefined()
  })

  test('have the search domains for denials, and routes by their names', () => {
    world.open(
      'servers: [192.0.2.1], routes: [{ domains: [x.example], servers: [192.0.2.2] }, { name: corp, servers: [192.0.2.3] }]',
      'rules: [{ name: a.example, route: corp }, { name: b.example, maxTtlSeconds: 5 }], egress: { default: deny }',
    )
    const { routes, rules, servers } = world.settings.engine
    expect(rules?.answerClasses).toEqual([
      { route: 1, minTtlSeconds: null, maxTtlSeconds: null },
      { route: -1, minTtlSeconds: null, maxTtlSeconds: 5 },
    ])
    expect(routes[1]?.servers.map((index) => servers[index]!.label)).toEqual(['192.0.2.3:53'])
    expect(rules?.egress?.searchDomains).toEqual([nameToWire('shop.svc.cluster.local')])
  })
})
