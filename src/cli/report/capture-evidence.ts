/** The redirect of DNS to byname: what should be there against what is. */
import { chooseBackend, differences, istioCapture, type Survey, survey } from '../../capture/capture.ts'
import { type Machine, missingCapabilities } from '../../capture/machine.ts'
import type { RuleList } from '../../capture/differences.ts'
import { type CaptureOptions, describeRule, planCapture } from '../../capture/plan.ts'

/** How the redirect stands. */
export interface CaptureState {
  /** Whether rules of byname are anywhere. */
  isThere: boolean
  /** Whether a daemon that runs here was told to capture. */
  isExpected: boolean
  /** Who holds the rules. */
  backend: string
  /** Where Istio captures DNS by itself; null if it does not. */
  istio: string | null
  expected: string[]
  /** A line for each difference between the rules there and those expected. */
  differences: string[]
  /** Rules of byname and Istio, and others' for port 53, as the programs print them; or why there are none, by back end. */
  actual: Record<string, readonly string[] | string>
}

/**
 * Looks at the redirect. `candidates`: what it may be, the one that fits best counts; `isExpected`: a daemon was told to have it.
 * @throws Error if it cannot be looked at: rights or programs are missing
 */
export function captureState(
  candidates: readonly CaptureOptions[],
  isExpected: boolean,
  machine: Machine,
): CaptureState {
  if (missingCapabilities(machine).includes('CAP_NET_ADMIN'))
    throw new Error('this process lacks CAP_NET_ADMIN, and cannot see rules: run it as root')
  const found = survey(machine)
  const backend = chooseBackend(found, null)
  const compared = candidates.map((options) => {
    const plan = planCapture(options)
    return { plan, lines: differences(plan, backend, found) }
  })
  const [best] = compared.toSorted((a, b) => a.lines.length - b.lines.length)
  if (best === undefined) throw new Error('resolv.conf names no name server, and so nothing is to be captured')
  return {
    isThere: !best.lines.some((line) => line.startsWith('there is no redirect')),
    isExpected,
    backend,
    istio: istioCapture(found),
    expected: best.plan.rules.map(
      (rule) => `table ${rule.table}${rule.family === null ? '' : `, IPv${rule.family}`}: ${describeRule(rule)}`,
    ),
    differences: best.lines,
    actual: {
      nftables: typeof found.nftables === 'string' ? found.nftables : found.nftables.lists.flatMap(linesOf),
      ...Object.fromEntries(Object.entries(found.iptables).map(([name, kind]) => [name, iptablesLines(kind)])),
    },
  }
}

function linesOf({ chain, rules }: RuleList): string[] {
  return rules.map((rule) => `${chain}: ${rule}`)
}

function iptablesLines(kind: Survey['iptables']['iptables-nft']): readonly string[] | string {
  if (typeof kind === 'string') return kind
  const lines = ([4, 6] as const).flatMap((family) =>
    [...kind.saved[family].tables].flatMap(([table, chains]) =>
      [...chains.values()].flat().flatMap((line) => (OF_DNS.test(line) ? [`IPv${family}, ${table}: ${line}`] : [])),
    ),
  )
  return lines.slice(0, MOST_LINES)
}

const OF_DNS = /BYNAME_|ISTIO_|port(?:s)? 53\b|15053\b/
const MOST_LINES = 500
