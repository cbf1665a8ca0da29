/**
 * Applies, checks and removes the redirect: looks at what is there, chooses a back end, and says which programs to run with what.
 *
 * ```
 *  survey ─→ chooseBackend ─→ applySteps │ removeSteps │ differences ─→ runSteps (machine.ts)
 * ```
 *
 * Nothing is remembered between calls: what is there says what was done, so that whoever comes after a kill repairs.
 */
import { explainDifferences } from './differences.ts'
import {
  actualLists,
  expectedLists,
  hasOwnChains,
  hasTables,
  istioChain,
  readSaved,
  type SavedTables,
  writeRemoval,
  writeTable,
} from './iptables.ts'
import { CaptureError, explainRefusal, type Machine, type ProgramResult, type Step } from './machine.ts'
import { expectedRulesetLists, readRuleset, type SavedRuleset, writeRuleset, writeRulesetRemoval } from './nftables.ts'
import type { CapturePlan } from './plan.ts'

/** Who holds the rules: nftables by itself, or iptables in one of its two kinds, which do not see each other's rules. */
export type BackendName = 'nftables' | IptablesName
type IptablesName = 'iptables-nft' | 'iptables-legacy'

/** One kind of iptables as it was found. */
interface IptablesFound {
  /** What its programs' names begin with after `ip` or `ip6`: `tables-legacy`. */
  programs: string
  saved: Readonly<Record<4 | 6, SavedTables>>
  /** Why there are no rules of IPv6 to be had, '' if there are. */
  ipv6Problem: string
}

/** What there is of programs and rules. A back end that cannot be used has a reason in its place. */
export interface Survey {
  nftables: SavedRuleset | string
  iptables: Readonly<Record<IptablesName, IptablesFound | string>>
}

const NAMES: readonly BackendName[] = ['nftables', 'iptables-nft', 'iptables-legacy']
const IPTABLES: readonly IptablesName[] = ['iptables-nft', 'iptables-legacy']
const NO_TABLES: SavedTables = { tables: new Map() }
const NO_RULESET: SavedRuleset = { own: [], lists: [], istioTable: null }
const REMOVE_TRIES = 3
/** iptables-legacy opens a raw socket. */
const RIGHTS = /Permission denied|not permitted/
/** Another program that holds iptables' lock has so long. */
const LOCK_SECONDS = '10'

/** As if no back end had any rules, for whoever may not look. */
export const NOTHING_FOUND: Survey = {
  nftables: NO_RULESET,
  iptables: { 'iptables-nft': emptyKind('tables-nft'), 'iptables-legacy': emptyKind('tables-legacy') },
}

function emptyKind(programs: string): IptablesFound {
  return { programs, saved: { 4: NO_TABLES, 6: NO_TABLES }, ipv6Problem: '' }
}

/**
 * Looks at all back ends. Changes nothing, and loads no table that is not in use.
 * @throws CaptureError if the machine cannot run a program now: what is there is not known then
 */
export function survey(machine: Machine): Survey {
  return {
    nftables: surveyNftables(machine),
    iptables: {
      'iptables-nft': surveyIptables(machine, 'iptables-nft'),
      'iptables-legacy': surveyIptables(machine, 'iptables-legacy'),
    },
  }
}

/** What a program says. @throws CaptureError if it is there, and could not run now */
function ask(machine: Machine, program: string, args: readonly string[]): ProgramResult {
  const result = machine.run({ program, args, input: '' })
  if (result.isTransient) throw new CaptureError(`${program} cannot be run now: ${result.problem}`)
  return result
}

function surveyNftables(machine: Machine): SavedRuleset | string {
  const list = (...what: string[]): string | { problem: string } => {
    const { isDone, stdout, problem } = ask(machine, 'nft', ['-j', 'list', ...what])
    return isDone ? stdout : { problem }
  }
  const tables = list('tables')
  if (typeof tables !== 'string') return tables.problem
  const read = readRuleset([tables])
  if (read === null) return 'nft prints no JSON; install one that is built with it'
  // A table that ends meanwhile is none.
  const texts = read.own
    .map(({ family, name }) => list('table', family, name))
    .filter((text) => typeof text === 'string')
  return readRuleset([tables, ...texts]) ?? read
}

function surveyIptables(machine: Machine, name: IptablesName): IptablesFound | string {
  const kind = name === 'iptables-nft' ? 'nf_tables' : 'legacy'
  const programs = [name.slice(2), 'tables'].find((each) => {
    const { isDone, stdout } = ask(machine, `ip${each}`, ['--version'])
    // Versions before 1.8 know one kind and do not name it.
    return isDone && (stdout.includes(`(${kind})`) || (kind === 'legacy' && !stdout.includes('(')))
  })
  if (programs === undefined) return `${name} is not installed`
  const ipv4 = ask(machine, `ip${programs}-save`, [])
  if (!ipv4.isDone)
    return `ip${programs}-save: ${ipv4.problem}${RIGHTS.test(ipv4.problem) ? ' (CAP_NET_RAW is missing)' : ''}`
  const ipv6 = ask(machine, `ip6${programs}-save`, [])
  return {
    programs,
    saved: { 4: readSaved(ipv4.stdout), 6: ipv6.isDone ? readSaved(ipv6.stdout) : NO_TABLES },
    ipv6Problem: ipv6.isDone ? '' : `ip6${programs}-save: ${ipv6.problem}`,
  }
}

/**
 * Chooses what holds the rules: `wanted`, else where byname's rules are, else what the machine uses, else nftables (one transaction
 * for all of it). `iptables` stands for the kind that the machine uses.
 * @throws CaptureError if that cannot be used: it says why
 */
export function chooseBackend(found: Survey, wanted: BackendName | 'iptables' | null): BackendName {
  const order = [...NAMES].filter((name) => isHolder(found, name))
  order.push(...inUse(found), ...NAMES)
  const fitting = order.filter(
    (name) => wanted === null || name === wanted || (wanted === 'iptables' && name !== 'nftables'),
  )
  const usable = fitting.find((name) => typeof foundOf(found, name) !== 'string')
  if (usable !== undefined) return usable
  const reasons = [...new Set(fitting)].map((name) => foundOf(found, name)).filter((each) => typeof each === 'string')
  const remedy = `: install ${wanted?.startsWith('ip') === true ? 'iptables' : 'nftables or iptables'}`
  throw new CaptureError(`${reasons.join('; ')}${reasons.some((each) => each.includes('install')) ? remedy : ''}`)
}

function foundOf(found: Survey, name: BackendName): SavedRuleset | IptablesFound | string {
  return name === 'nftables' ? found.nftables : found.iptables[name]
}

/** Back ends with rules of others, the likeliest first. */
function inUse({ iptables }: Survey): BackendName[] {
  // Both kinds may be there; iptables-legacy has tables only if somebody asked for them.
  return IPTABLES.toReversed().filter((name) => {
    const kind = iptables[name]
    return typeof kind !== 'string' && (hasTables(kind.saved[4]) || hasTables(kind.saved[6]))
  })
}

function isHolder(found: Survey, name: BackendName): boolean {
  const of = foundOf(found, name)
  if (typeof of === 'string') return false
  return 'own' in of ? of.own.length > 0 : hasOwnChains(of.saved[4]) || hasOwnChains(of.saved[6])
}

/** Where Istio captures DNS by itself; null if it does not. */
export function istioCapture({ nftables, iptables }: Survey): string | null {
  if (typeof nftables !== 'string' && nftables.istioTable !== null) return nftables.istioTable
  for (const name of IPTABLES) {
    const kind = iptables[name]
    const chain = typeof kind === 'string' ? null : (istioChain(kind.saved[4]) ?? istioChain(kind.saved[6]))
    if (chain !== null) return `${name}, ${chain}`
  }
  return null
}

/**
 * The programs to run, so that `plan` is in force in `backend` and nothing of byname's is anywhere else. None if it is so already.
 * @throws CaptureError if IPv6 is asked for and cannot be had
 */
export function applySteps(plan: CapturePlan, backend: BackendName, found: Survey): Step[] {
  const others = NAMES.filter((name) => name !== backend).flatMap((name) => removalOf(found, name))
  if (differencesIn(plan, backend, found).length === 0) return others
  if (backend === 'nftables') {
    const saved = typeof found.nftables === 'string' ? NO_RULESET : found.nftables
    return [nftStep(writeRuleset(plan, saved)), ...others]
  }
  const kind = kindOf(found, backend)
  if (plan.hasIpv6 && kind.ipv6Problem !== '')
    throw new CaptureError(`${kind.ipv6Problem}: install ip6${kind.programs}, or leave IPv6 alone with --no-ipv6`)
  const families = plan.hasIpv6 ? ([4, 6] as const) : ([4] as const)
  const written = (['raw', 'nat'] as const).flatMap((table) =>
    families.map((family) => restoreStep(kind, family, writeTable(plan, family, table, kind.saved[family]))),
  )
  return [...written, ...(plan.hasIpv6 ? [] : removalOfFamily(kind, 6)), ...others]
}

/** The programs to run, so that nothing of byname's is left, whoever holds it. */
export function removeSteps(found: Survey): Step[] {
  return NAMES.flatMap((name) => removalOf(found, name))
}

/**
 * Removes what is byname's, whoever holds it, as far as it can be removed. Returns how many programs had to run.
 * @throws CaptureError if something is left: the first reason
 */
export function removeRedirect(machine: Machine): number {
  for (let tries = 1; ; tries++) {
    const steps = removeSteps(survey(machine))
    const problems = steps.flatMap((step) => {
      const { isDone, problem } = machine.run(step)
      return isDone ? [] : [explainRefusal(step, problem)]
    })
    if (problems.length === 0) return steps.length
    // Another process may have removed it in the meantime, or changed the tables under it.
    if (tries === REMOVE_TRIES) throw new CaptureError(problems[0])
  }
}

/** What is otherwise than `plan` says, a line each, in `backend` and in all others. */
export function differences(plan: CapturePlan, backend: BackendName, found: Survey): string[] {
  if (!NAMES.some((name) => isHolder(found, name))) return ['there is no redirect: no back end has rules of byname']
  const others = NAMES.filter((name) => name !== backend && isHolder(found, name))
  return [
    ...differencesIn(plan, backend, found),
    ...others.map((name) => `${name}: has rules of byname as well, and ${backend} is to have them`),
  ]
}

function differencesIn(plan: CapturePlan, backend: BackendName, found: Survey): string[] {
  if (backend === 'nftables') {
    const { lists } = typeof found.nftables === 'string' ? NO_RULESET : found.nftables
    return explainDifferences(expectedRulesetLists(plan), lists)
  }
  const { saved } = kindOf(found, backend)
  return ([4, 6] as const).flatMap((family) =>
    explainDifferences(
      family === 4 || plan.hasIpv6 ? expectedLists(plan, family) : [],
      actualLists(saved[family], family),
    ),
  )
}

/** As if nothing were there, where it cannot be looked at. */
function kindOf({ iptables }: Survey, name: IptablesName): IptablesFound {
  const kind = iptables[name]
  return typeof kind === 'string' ? emptyKind('tables') : kind
}

function removalOf(found: Survey, name: BackendName): Step[] {
  const of = foundOf(found, name)
  if (typeof of === 'string') return []
  if ('own' in of) {
    const text = writeRulesetRemoval(of)
    return text === null ? [] : [nftStep(text)]
  }
  return (['nat', 'raw'] as const).flatMap((table) =>
    ([4, 6] as const).flatMap((family) => removalOfTable(of, family, table)),
  )
}

function removalOfFamily(kind: IptablesFound, family: 4 | 6): Step[] {
  return (['nat', 'raw'] as const).flatMap((table) => removalOfTable(kind, family, table))
}

function removalOfTable(kind: IptablesFound, family: 4 | 6, table: 'raw' | 'nat'): Step[] {
  const text = writeRemoval(table, kind.saved[family])
  return text === null ? [] : [restoreStep(kind, family, text)]
}

function nftStep(input: string): Step {
  return { program: 'nft', args: ['-f', '-'], input }
}

function restoreStep({ programs }: IptablesFound, family: 4 | 6, input: string): Step {
  const program = `${family === 4 ? 'ip' : 'ip6'}${programs}-restore`
  return { program, args: ['--noflush', '-w', LOCK_SECONDS], input }
}
