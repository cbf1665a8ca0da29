/** Which names are asked for most, fail most, and do not exist below search domains, from samples of the answers. */
import { Rcode } from '../dns/constants.ts'
import type { QuerySample } from '../querylog/query-feed.ts'
import { RCODES, SOURCES } from '../stats/counters.ts'
import { FrequentItems } from './frequent-items.ts'

/** Names of one kind. */
export interface NameShares {
  names: {
    name: string
    /** Of all answers of that kind, 0…1, not too small. */
    share: number
    /** At most too large by so much. */
    error: number
  }[]
}

/** What the samples say. */
export interface TopNames {
  /** What is so old counts half. */
  halfLifeSeconds: number
  asked: NameShares
  /** SERVFAIL. */
  failing: NameShares
  /** NXDOMAIN below a search domain, by the name in front of it: what programs asked for before the domain was appended. */
  searched: NameShares
}

/** A query that ended with SERVFAIL. */
export interface QueryFailure {
  /** Unix time in ms. */
  atMs: number
  name: string
  /** Code of the query type. */
  type: number
  rcode: string
  /** Who answered, as in the `source` label. */
  source: string
  /** Literal address, empty if it is not known. */
  client: string
}

const CAPACITY = 256
const SHOWN = 20
const MOST_FAILURES = 50
const HALF_LIFE_SECONDS = 900
/** Of the NXDOMAIN below search domains: so much is one name's storm. */
const STORM_SHARE = 0.5

/** Collects samples; 100 KB at most for names of usual length. */
export class TopNamesCollector {
  readonly #search: () => readonly string[]
  readonly #asked: FrequentItems = new FrequentItems(CAPACITY)
  readonly #failing: FrequentItems = new FrequentItems(CAPACITY)
  readonly #searched: FrequentItems = new FrequentItems(CAPACITY)
  #failures: QueryFailure[] = []

  /** `search`: the search domains in use, of resolv.conf. */
  constructor(search: () => readonly string[]) {
    this.#search = search
  }

  add({ atMs, name, type, rcode, source, client, weight, isFailure }: QuerySample): void {
    if (name === '') return
    if (weight > 0) this.#asked.add(name, weight)
    if (isFailure) {
      this.#failing.add(name, 1)
      const failure = { atMs, name, type, rcode: RCODES[rcode] ?? String(rcode), source: SOURCES[source] ?? '', client }
      this.#failures.unshift(failure)
      if (this.#failures.length > MOST_FAILURES) this.#failures.pop()
    }
    if (rcode === Rcode.NXDOMAIN && weight > 0) {
      const base = searchedName(name, this.#search())
      if (base !== null) this.#searched.add(base, weight)
    }
  }

  /** So much time has passed: what was collected before counts for less. */
  fade(seconds: number): void {
    const factor = 0.5 ** (seconds / HALF_LIFE_SECONDS)
    for (const items of [this.#asked, this.#failing, this.#searched]) items.fade(factor)
  }

  /** The name that most of the NXDOMAIN below search domains are for; null if there is no such one. */
  stormName(): string | null {
    const [first] = this.#searched.top(1)
    return first !== undefined && first.weight - first.error > STORM_SHARE * this.#searched.total ? first.item : null
  }

  /** SERVFAIL one by one, the newest first. */
  get failures(): readonly QueryFailure[] {
    return this.#failures
  }

  read(): TopNames {
    return {
      halfLifeSeconds: HALF_LIFE_SECONDS,
      asked: sharesOf(this.#asked),
      failing: sharesOf(this.#failing),
      searched: sharesOf(this.#searched),
    }
  }
}

function sharesOf(items: FrequentItems): NameShares {
  const { total } = items
  return {
    names: items.top(SHOWN).map(({ item, weight, error }) => ({
      name: item,
      share: rounded(weight / total),
      error: rounded(error / total),
    })),
  }
}

function rounded(ratio: number): number {
  return Math.round(ratio * 10_000) / 10_000
}

/** What stands in front of a search domain (without dots at the ends) in `name`, the longest domain first; null: nothing. */
export function searchedName(name: string, search: readonly string[]): string | null {
  const domain = search
    .filter((each) => each !== '' && name.endsWith(`.${each.toLowerCase()}.`))
    .reduce((longest, each) => (each.length > longest.length ? each : longest), '')
  return domain === '' ? null : name.slice(0, -domain.length - 2)
}
