/** Mistakes in rules, changed questions and plug-ins. */
import type { PlantedBug } from './planted-bug.ts'

export const RULES_BUGS: readonly PlantedBug[] = [
  {
    name: 'rules take names of the mesh whether they are to or not',
    find: 'if ((!isMesh || rule.takesMesh) && hasClient(rule, query)) {',
    replace: 'if (hasClient(rule, query)) {',
    seeds: 60,
  },
  {
    name: 'the last rule that matches decides',
    find: 'if (rule < least || (this.rule >= 0 && rule >= this.rule)) continue',
    replace: 'if (rule < least || (this.rule >= 0 && rule < this.rule)) continue',
    seeds: 200,
  },
  {
    name: 'exceptions of a rule count for nothing',
    find: 'if (exceptions[this.rule] === 0 || ',
    replace: 'if (exceptions[this.rule] !== 2 || ',
    seeds: 400,
  },
  {
    name: 'a rule under audit does what it would do',
    find: 'if (rule.act !== Act.LOG && !rule.isAudit) {',
    replace: 'if (rule.act !== Act.LOG) {',
    seeds: 60,
  },
  {
    name: 'names below a search domain are denied by NODATA where nothing is allowed',
    find: 'return isNodata && !this.matcher.isSearched(query)',
    replace: 'return isNodata && query.original === null',
    seeds: 400,
  },
  {
    name: 'a name that a rule allows for another type is denied as a whole',
    find: 'if (this.matcher.existsOtherwise || query.name.labels === 0) return true',
    replace: 'if (query.name.labels === 0) return true',
    seeds: 600,
  },
  {
    name: 'a rule for a name of the mesh is not for that name with the search domain',
    find: 'if (bareBytes === 0 || matcher.rule !== null) return hasMatched',
    replace: 'if (bareBytes >= 0 || matcher.rule !== null) return hasMatched',
    seeds: 200,
  },
  {
    name: 'a matched rule is counted twice for names of the mesh',
    find: '    if (this.#hasBeenSeen && !this.#isBeforeMesh) this.hasMatched = false\n',
    replace: '',
    seeds: 200,
  },
  {
    name: 'a question that a rule has rewritten is kept in the bytes of the next query',
    find: 'return new Uint8Array(packet.subarray(at, questionEnd))',
    replace: 'return packet.slice(at, questionEnd)',
    seeds: 60,
  },
  {
    name: 'records of a rewritten question keep its name',
    find: 'const isOurs = type !== Type.OPT && !isAlias && isOwner(',
    replace: 'const isOurs = type === Type.OPT && !isAlias && isOwner(',
    seeds: 60,
  },
  {
    name: 'a plug-in that has trapped is asked again',
    find: '    this.instance = null\n    this.#events.discarded',
    replace: '    this.#events.discarded',
    seeds: 200,
  },
  {
    name: 'a plug-in is never switched off',
    find: 'if (this.#failuresInRow < MOST_FAILURES || this.#isOff) return',
    replace: 'if (this.#failuresInRow < MOST_FAILURES || !this.#isOff) return',
    seeds: 200,
  },
]
