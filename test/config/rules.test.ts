/** What is said of rules that cannot be used: file, line, key, the bad value and the remedy. */
import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { ConfigError } from '../../src/config/config-error.ts'
import { loadConfig } from '../../src/config/load.ts'

function problemsOf(yaml: string): readonly string[] {
  try {
    loadConfig({ file: 'byname.yaml', env: {}, readFile: () => yaml })
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}

const rule = (text: string): string => `rules: [{ ${text} }]`

describe('problems name key, value and remedy', () => {
  test.each([
    [
      rule('name: a.example'),
      'rules[0]: says nothing of what is to happen; add action: nxdomain, answer: ADDRESS, rewrite: NAME, route: NAME or ttlSeconds',
    ],
    [
      rule('name: "a b.example", action: nxdomain'),
      'rules[0].name: "a b.example" is no domain name; write NAME, .NAME (with all below) or *.NAME (only those below)',
    ],
    [rule('name: "*", action: nxdomain'), 'rules[0].name: "*" is no domain name; write NAME, .NAME'],
    [rule('name: "a.*.example", action: nxdomain'), 'rules[0].name: "a.*.example" is no domain name'],
    [rule('name: "https://a.example", action: nxdomain'), 'rules[0].name: "https://a.example" is no domain name'],
    [rule('names: [a.example, ""], action: nxdomain'), 'rules[0].names[1]: "" is no domain name'],
    [rule('names: [], action: nxdomain'), 'rules[0].names: must not be empty: that would match nothing'],
    [
      rule('name: a.example, action: block'),
      'rules[0].action: must be allow, nxdomain, nodata, refuse, drop or log, not "block"',
    ],
    [
      rule('name: a.example, action: nxdomain, answer: 192.0.2.1'),
      'rules[0].answer: stands beside action: a rule does one thing',
    ],
    [
      rule('name: a.example, answer: 192.0.2.256'),
      'rules[0].answer: "192.0.2.256" is no record; write an address, or TYPE DATA, such as CNAME other.example',
    ],
    [
      rule('name: a.example, answer: ["NAPTR x"]'),
      'rules[0].answer[0]: NAPTR records cannot be given as an answer; there are A, AAAA, CNAME, TXT, PTR, MX, SRV',
    ],
    [
      rule('name: a.example, answer: [CNAME b.example, 192.0.2.1]'),
      'rules[0].answer: has a CNAME beside other records',
    ],
    [rule('name: a.example, answer: []'), 'rules[0].answer: must have at least one record'],
    [
      rule('name: a.example, types: [AAAAA], action: nodata'),
      'rules[0].types[0]: "AAAAA" is no record type (did you mean AAAA?)',
    ],
    [
      rule('name: a.example, clients: [10.0.0.0/33], action: nodata'),
      'rules[0].clients[0]: "10.0.0.0/33" is no prefix; write CIDR such as 10.0.0.0/8',
    ],
    [
      rule('name: a.example, route: corp'),
      'rules[0].route: "corp" is no name of a route in upstream.routes (give one of upstream.routes a name)',
    ],
    [
      `upstream: { routes: [{ name: corp, servers: [10.0.0.1] }] }\n${rule('name: a.example, route: crop')}`,
      'rules[0].route: "crop" is no name of a route in upstream.routes (did you mean corp?)',
    ],
    [rule('name: a.example, action: nxdomain, rewrite: b.example'), 'rules[0].rewrite: stands beside action'],
    [rule('types: [A], rewrite: b.example'), 'rules[0].rewrite: is for a rule with name, names or file'],
    [rule('name: a.example, rewrite: .b.example'), 'rules[0].rewrite: begins with a dot, so names must as well'],
    [rule('name: .a.example, rewrite: "*.b.example"'), 'rules[0].rewrite: "*.b.example" is no name to ask for'],
    [
      rule('name: a.example, minTtlSeconds: 60, maxTtlSeconds: 30'),
      'rules[0].minTtlSeconds: must not be over maxTtlSeconds (30)',
    ],
    [rule('name: a.example, ttlSeconds: 60, maxTtlSeconds: 30'), 'rules[0].maxTtlSeconds: stands beside ttlSeconds'],
    [rule('name: a.example, action: allow, ttlSeconds: 60'), 'rules[0].ttlSeconds: means nothing with action: allow'],
    [rule('name: a.example, action: nxdomain, minTtlSeconds: 60'), 'rules[0].minTtlSeconds: is for answers of servers'],
    [rule('name: a.example, ttlSeconds: 60, mesh: true'), 'rules[0].mesh: means nothing for TTLs'],
    [
      rule('name: a.example, action: allow, reason: blocked'),
      'rules[0].reason: is for action: nxdomain, nodata, refuse or drop',
    ],
    [
      rule('types: [A], action: nodata, subdomains: true'),
      'rules[0].subdomains: is for a rule with name, names or file',
    ],
    [
      rule('id: "a b", name: a.example, action: nxdomain'),
      'rules[0].id: "a b" is no id: write letters, digits and -_.:/, at most 64',
    ],
    [
      'rules: [{ id: a, name: a.example, action: nxdomain }, { id: a, name: b.example, action: nxdomain }]',
      'rules[1].id: is that of rules[0] as well: each needs its own',
    ],
    [
      rule('id: egress, name: a.example, action: nxdomain'),
      'rules[0].id: "egress" stands for what no rule allows; choose another',
    ],
    [rule('domain: a.example, action: nxdomain'), 'rules[0].domain: unknown key'],
    [rule('name: a.example, actions: nxdomain'), 'rules[0].actions: unknown key (did you mean action?)'],
    ['rules: nxdomain', 'rules: must be a list of rules, not "nxdomain"'],
    ['egress: { default: block }', 'egress.default: must be allow or deny, not "block"'],
    ['egress: { deny: refused }', 'egress.deny: must be nxdomain or nodata, not "refused"'],
    [
      'upstream: { routes: [{ servers: [10.0.0.1] }] }',
      'upstream.routes[0].domains: is missing; name domains, or give the route a name for rules',
    ],
    [
      'upstream: { routes: [{ name: a, servers: [10.0.0.1] }, { name: a, servers: [10.0.0.2] }] }',
      'upstream.routes[1].name: is that of routes[0] as well',
    ],
    [
      `rules: [${Array.from({ length: 256 }, (_, k) => `{ name: n${k}.example, action: nxdomain }`).join(', ')}]`,
      'rules: must be at most 255 rules; give one rule more names, or a file',
    ],
    [
      `rules: [${Array.from({ length: 32 }, (_, k) => `{ name: n${k}.example, ttlSeconds: ${k + 1} }`).join(', ')}]`,
      'rules: has more than 31 different routes and TTLs',
    ],
  ])('%s', (yaml, problem) => {
    const [first = '', ...others] = problemsOf(yaml)
    expect(first).toContain(problem)
    expect(first).toMatch(/^byname\.yaml:\d+:\d+: /)
    expect(others).toEqual([])
  })

  test('several at once, each in its line', () => {
    expect(
      problemsOf('rules:\n  - { name: a.example, action: deny }\n  - { names: [b..c], action: nxdomain }\n'),
    ).toEqual([
      'byname.yaml:2:32: rules[0].action: must be allow, nxdomain, nodata, refuse, drop or log, not "deny"',
      expect.stringMatching(/^byname\.yaml:3:15: rules\[1\]\.names\[0\]: "b\.\.c" is no domain name/),
    ])
  })
})

test('good rules are taken as they are written, also from the environment', () => {
  const yaml =
    '[{ name: BÜCHER.example., answer: "TXT \\"a b\\"" }, { file: ads.txt }, { types: [https, TYPE65280], action: nodata }]'
  const { config } = loadConfig({ env: { BYNAME_RULES: yaml } })
  expect(config.rules).toEqual([
    { name: 'xn--bcher-kva.example', answer: ['TXT "a b"'] },
    { file: 'ads.txt' },
    { types: ['HTTPS', 'TYPE65280'], action: 'nodata' },
  ])
})

test.each(['README.md', 'docs/rules.md'])('the rules that %s shows are good', (document) => {
  const text = readFileSync(new URL(`../../${document}`, import.meta.url), 'utf8')
  const examples = [...text.matchAll(/```yaml\n(.*?)```/gs)]
    .map(([, yaml]) => yaml!)
    .filter((yaml) => /^rules:/m.test(yaml))
  expect(examples.length).toBeGreaterThan(0)
  for (const yaml of examples) expect(problemsOf(yaml)).toEqual([])
})
