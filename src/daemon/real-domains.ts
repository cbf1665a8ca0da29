/** Warns of names of the mesh that may be somebody's real domains: `pay.dev.`, where dev is a namespace and a top-level domain. */
import { LabelSet } from '../dns/label-set.ts'
import { nameToWire } from '../dns/name.ts'
import { TOP_LEVEL_DOMAINS } from '../dns/top-level-domains.ts'
import type { Log } from '../observe/log.ts'
import type { Image } from '../table/image.ts'
import { topLevelNamespaces } from '../table/top-level-namespaces.ts'

/** Namespaces that are named; of more only the number. */
const MOST_NAMED = 5

/** What is to be said of a name `short.ns.` whose namespace is a top-level domain. `isLeft`: only servers are asked for it. */
function realDomainMessage(namespace: string, name: string, isLeft: boolean): string {
  const why = `namespace ${namespace} is a top-level domain`
  return isLeft
    ? `${why}: the absolute name ${name} is asked of servers, and answered from the mesh only with a search domain (mesh.shortNames: auto)`
    : `${why}: ${name} is answered from the mesh, although it may be somebody's real domain; rename the namespace, or set mesh.shortNames to auto where resolv.conf has a search list and ndots of 2 or more`
}

/** What the names of the table in use call for. */
export class RealDomains {
  readonly #log: Pick<Log, 'warn'>
  readonly #topLevel: LabelSet = new LabelSet(TOP_LEVEL_DOMAINS)
  /** By namespace one of its names. */
  #found: ReadonlyMap<string, string> = new Map()

  constructor(log: Pick<Log, 'warn'>) {
    this.#log = log
  }

  /** A table is taken into use. Says in the log what none before it called for. */
  taken(image: Image, isLeft: boolean): void {
    const before = this.#found
    this.#found = topLevelNamespaces(image, this.#topLevel)
    for (const [namespace, name] of [...this.#found].filter(([each]) => !before.has(each)).slice(0, MOST_NAMED))
      this.#log.warn({ namespace, name }, realDomainMessage(namespace, name, isLeft))
  }

  /** A line for each namespace. */
  warnings(isLeft: boolean): string[] {
    return linesOf(this.#found, isLeft)
  }
}

/** The same of services that are known by short name and namespace. */
export function realDomainWarnings(known: readonly string[][], isLeft: boolean): string[] {
  const topLevel = new LabelSet(TOP_LEVEL_DOMAINS)
  const found = new Map<string, string>()
  for (const [short, namespace = ''] of known) {
    const wire = found.has(namespace) ? null : nameToWire(namespace)
    if (wire !== null && wire.length === wire[0]! + 2 && topLevel.has(wire, 0))
      found.set(namespace, `${short}.${namespace}.`)
  }
  return linesOf(found, isLeft)
}

/** `found`: by namespace one of its names. */
function linesOf(found: ReadonlyMap<string, string>, isLeft: boolean): string[] {
  const lines = [...found].slice(0, MOST_NAMED).map(([namespace, name]) => realDomainMessage(namespace, name, isLeft))
  const more = found.size - MOST_NAMED
  return more > 0 ? [...lines, `${more} more namespaces are top-level domains`] : lines
}
