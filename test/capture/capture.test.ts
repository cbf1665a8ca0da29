import { expect, test } from 'vitest'
import {
  applySteps,
  chooseBackend,
  istioCapture,
  removeRedirect,
  removeSteps,
  survey,
} from '../../src/capture/capture.ts'
import {
  explainRefusal,
  type Machine,
  missingCapabilities,
  type ProgramResult,
  runSteps,
  stepText,
} from '../../src/capture/machine.ts'
import { planCapture } from '../../src/capture/plan.ts'

const PLAN = planCapture({
  port: 15_053,
  uids: [1337],
  gids: [1337],
  nameservers: null,
  exemptPrefixes: [],
  exemptInterfaces: [],
  hasIpv6: true,
})

const NO_TABLES = '{"nftables": []}'
const OWN_NFT = '{"nftables": [{"table": {"family": "inet", "name": "BYNAME_NAT"}}]}'
const OWN_CHAIN = '*nat\n:OUTPUT ACCEPT [0:0]\n:BYNAME_OUTPUT - [0:0]\nCOMMIT\n'
const FOREIGN = '*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n'

/** A machine whose programs print what they are given; those that are not listed are not installed. */
function machine(programs: Readonly<Record<string, string>>): Machine {
  return {
    run({ program, args }): ProgramResult {
      const stdout = programs[args.includes('--version') ? `${program} --version` : program]
      if (stdout === undefined)
        return { isDone: false, stdout: '', problem: `${program} is not installed`, isTransient: false }
      return { isDone: true, stdout, problem: '', isTransient: false }
    },
    userOfSocket: () => null,
    read: () => null,
  }
}

const NFT = { nft: NO_TABLES }
const BOTH = {
  ...NFT,
  'iptables --version': 'iptables v1.8.9 (nf_tables)',
  'iptables-nft --version': 'iptables v1.8.9 (nf_tables)',
  'iptables-legacy --version': 'iptables v1.8.9 (legacy)',
  'iptables-nft-save': '',
  'ip6tables-nft-save': '',
  'iptables-legacy-save': '',
  'ip6tables-legacy-save': '',
}
const OLD = { 'iptables --version': 'iptables v1.6.1', 'iptables-save': '', 'ip6tables-save': '' }

test.each([
  ['nft alone', NFT, null, 'nftables'],
  ['all of them and no rules', BOTH, null, 'nftables'],
  ['foreign rules of iptables-nft', { ...BOTH, 'ip6tables-nft-save': FOREIGN }, null, 'iptables-nft'],
  [
    'foreign rules of both kinds of iptables',
    { ...BOTH, 'iptables-nft-save': FOREIGN, 'iptables-legacy-save': FOREIGN },
    null,
    'iptables-legacy',
  ],
  [
    'own rules in nftables, foreign ones elsewhere',
    { ...BOTH, nft: OWN_NFT, 'iptables-nft-save': FOREIGN },
    null,
    'nftables',
  ],
  [
    'own rules in iptables-legacy',
    { ...BOTH, 'iptables-legacy-save': OWN_CHAIN, 'iptables-nft-save': FOREIGN },
    null,
    'iptables-legacy',
  ],
  ['an iptables from before it had two kinds', OLD, null, 'iptables-legacy'],
  ['any, if iptables is asked for', BOTH, 'iptables', 'iptables-nft'],
  [
    'legacy tables, if iptables is asked for',
    { ...BOTH, 'iptables-legacy-save': FOREIGN },
    'iptables',
    'iptables-legacy',
  ],
  ['any, if nftables is asked for', { ...BOTH, 'iptables-legacy-save': OWN_CHAIN }, 'nftables', 'nftables'],
] as const)('%s: the right back end', (_, programs, wanted, backend) => {
  expect(chooseBackend(survey(machine(programs)), wanted)).toBe(backend)
})

test.each([
  [
    {},
    null,
    'nft is not installed; iptables-nft is not installed; iptables-legacy is not installed: install nftables or iptables',
  ],
  [NFT, 'iptables', 'iptables-nft is not installed; iptables-legacy is not installed: install iptables'],
  [
    { ...OLD, nft: 'no JSON' },
    'nftables',
    'nft prints no JSON; install one that is built with it: install nftables or iptables',
  ],
] as const)('a back end that is not there is named (%#)', (programs, wanted, message) => {
  expect(() => chooseBackend(survey(machine(programs)), wanted)).toThrow(message)
})

test('zones come before redirects, and what another back end holds goes last', () => {
  const found = survey(machine({ ...BOTH, nft: OWN_NFT }))
  const steps = applySteps(PLAN, 'iptables-legacy', found)
  expect(steps.map(({ program, input }) => `${program} ${input.split('\n')[0]}`)).toEqual([
    'iptables-legacy-restore *raw',
    'ip6tables-legacy-restore *raw',
    'iptables-legacy-restore *nat',
    'ip6tables-legacy-restore *nat',
    'nft delete table inet BYNAME_NAT',
  ])
})

test('the removal takes redirects before zones, wherever they are', () => {
  const own = `${OWN_CHAIN}*raw\n:BYNAME_PREROUTING - [0:0]\nCOMMIT\n`
  const found = survey(machine({ ...BOTH, nft: OWN_NFT, 'ip6tables-nft-save': own }))
  expect(removeSteps(found).map(({ program, input }) => `${program} ${input.split('\n')[0]}`)).toEqual([
    'nft delete table inet BYNAME_NAT',
    'ip6tables-nft-restore *nat',
    'ip6tables-nft-restore *raw',
  ])
  expect(removeSteps(survey(machine(BOTH)))).toEqual([])
})

test("an iptables without IPv6's programs is refused, unless IPv6 is to be left alone", () => {
  const found = survey(machine({ 'iptables --version': 'iptables v1.6.1', 'iptables-save': '' }))
  expect(() => applySteps(PLAN, 'iptables-legacy', found)).toThrow('ip6tables-save is not installed')
  expect(applySteps({ ...PLAN, hasIpv6: false }, 'iptables-legacy', found)).toHaveLength(2)
})

test("Istio's capture is found in whichever back end it is", () => {
  const istio = '*nat\n:ISTIO_OUTPUT_DNS - [0:0]\nCOMMIT\n'
  expect(istioCapture(survey(machine({ ...BOTH, 'ip6tables-legacy-save': istio })))).toBe(
    'iptables-legacy, chain ISTIO_OUTPUT_DNS of table nat',
  )
  expect(istioCapture(survey(machine(BOTH)))).toBeNull()
})

test.each([
  ['0000000000000000', ['CAP_NET_ADMIN', 'CAP_NET_RAW']],
  ['0000000000001000', ['CAP_NET_RAW']],
  ['000001ffffffffff', []],
])('of the capabilities %s these are missing: %j', (effective, missing) => {
  expect(missingCapabilities({ ...machine({}), read: () => `Name:\tnode\nCapEff:\t${effective}\n` })).toEqual(missing)
})

test.each([
  ['nft', '/dev/stdin:4:52-73: Error: Could not process rule: No such file or directory', 'nft_redir'],
  [
    'ip6tables-legacy-restore',
    "ip6tables-restore v1.8.9 (legacy): ip6tables-restore: unable to initialize table 'nat'",
    null,
  ],
  ['ip6tables-restore', "can't initialize ip6tables table `nat': Table does not exist", 'ip6table_nat'],
  ['iptables-nft-restore', 'Error occurred at line: 3: No chain/target/match by that name', 'xt_owner'],
  ['iptables-restore', 'Permission denied', null],
])('%s says %s: the module that is missing is %s', (program, problem, module) => {
  const input =
    program === 'nft'
      ? 'table inet BYNAME_NAT {\n  chain output {\n    type nat hook output priority -105;\n    udp dport 53 counter redirect to :15053\n'
      : '*nat\n:BYNAME_OUTPUT - [0:0]\n-A BYNAME_OUTPUT -m owner --uid-owner 1 -j RETURN\nCOMMIT\n'
  const said = explainRefusal({ program, args: [], input }, problem)
  expect(said).toContain(`${program}: ${problem}`)
  expect(/lacks (\w+)/.exec(said)?.[1] ?? null).toBe(module)
})

test('the first step that fails ends the run', () => {
  const ran: string[] = []
  const failing: Machine = {
    userOfSocket: () => null,
    read: () => null,
    run: ({ input }) => {
      ran.push(input)
      return { isDone: input !== 'b', stdout: '', problem: 'no', isTransient: false }
    },
  }
  const steps = ['a', 'b', 'c'].map((input) => ({ program: 'nft', args: [], input }))
  expect(() => runSteps(failing, steps)).toThrow('nft: no')
  expect(ran).toEqual(['a', 'b'])
})

test('a step can be pasted into a shell', () => {
  expect(stepText({ program: 'nft', args: ['-f', '-'], input: 'add table ip x\n' })).toBe(
    "nft -f - <<'END'\nadd table ip x\nEND\n",
  )
})

test('what cannot be looked at now is not taken for nothing', () => {
  const busy: Machine = {
    userOfSocket: () => null,
    read: () => null,
    run: ({ program }) => ({ isDone: false, stdout: '', problem: `${program}: no memory`, isTransient: true }),
  }
  expect(() => survey(busy)).toThrow('nft cannot be run now')
  expect(() => removeRedirect(busy)).toThrow('nft cannot be run now')
})

test('a removal goes through all back ends, and what another process has removed meanwhile is removed', () => {
  const inputs: string[] = []
  let own = OWN_NFT
  const racing: Machine = {
    userOfSocket: () => null,
    read: () => null,
    run: (step) => {
      if (step.input !== '') {
        inputs.push(step.input)
        const isDone = !step.program.startsWith('nft')
        own = NO_TABLES
        return { isDone, stdout: '', problem: 'No such file or directory', isTransient: false }
      }
      return machine({ ...BOTH, nft: own, 'iptables-legacy-save': inputs.length > 0 ? '' : OWN_CHAIN }).run(step)
    },
  }
  expect(removeRedirect(racing)).toBe(0)
  expect(inputs.map((input) => input.split('\n')[0])).toEqual(['delete table inet BYNAME_NAT', '*nat'])
})
