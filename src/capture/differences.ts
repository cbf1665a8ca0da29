/** What is there and what should be there, compared and said in words. */

/** Rules of one chain, each in words that no other rule has (describeRule). */
export interface RuleList {
  /** `IPv4, table nat, chain BYNAME_OUTPUT`. */
  chain: string
  rules: readonly string[]
}

/**
 * Compares the lists chain by chain and explains each difference in one line; none means that all is as it should be. A chain that is
 * in `expected` alone is missing, one in `actual` alone is left over.
 */
export function explainDifferences(expected: readonly RuleList[], actual: readonly RuleList[]): string[] {
  const there = new Map(actual.map(({ chain, rules }) => [chain, rules]))
  const wanted = new Set(expected.map(({ chain }) => chain))
  return [
    ...expected.flatMap(({ chain, rules }) => {
      const found = there.get(chain)
      return found === undefined ? [`${chain}: ${missingText(rules)}`] : differencesOf(chain, rules, found)
    }),
    ...actual
      .filter(({ chain }) => !wanted.has(chain))
      .map(({ chain }) => `${chain}: is there, but none of it is expected`),
  ]
}

function missingText(rules: readonly string[]): string {
  return rules.length === 1 ? `missing: ${rules[0]}` : `is missing with its ${rules.length} rules`
}

function differencesOf(chain: string, expected: readonly string[], actual: readonly string[]): string[] {
  const missing = without(expected, actual)
  const extra = without(actual, expected)
  const lines = [
    ...missing.map((rule) => `${chain}: missing: ${rule}`),
    ...extra.map((rule) =>
      expected.includes(rule) ? `${chain}: more than once: ${rule}` : `${chain}: not expected: ${rule}`,
    ),
  ]
  if (lines.length > 0) return lines
  const at = expected.findIndex((rule, index) => actual[index] !== rule)
  return at < 0 ? [] : [`${chain}: in another order: rule ${at + 1} should be: ${expected[at]}`]
}

/** What of `list` is not in `other`, counted: two of one where the other has one leave one. */
function without(list: readonly string[], other: readonly string[]): string[] {
  const rest = [...other]
  return list.filter((rule) => {
    const at = rest.indexOf(rule)
    if (at >= 0) rest.splice(at, 1)
    return at < 0
  })
}
