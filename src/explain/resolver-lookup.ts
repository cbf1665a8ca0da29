/**
 * What an application's stub resolver asks when a program calls `getaddrinfo`, and what it makes of the replies. Modelled on
 * glibc 2.36 (resolv/res_query.c, nss_dns) and musl 1.2 (lookup_name.c, res_msend.c), for both families at once; a test
 * asks the real ones.
 *
 * ```
 *           names asked                                          goes on to the next name after
 *  glibc    ≥ ndots dots: as given, then search; else reversed   NXDOMAIN, NODATA, SERVFAIL; REFUSED ends the search list
 *  musl     ≥ ndots dots: as given only; else search, as given   NXDOMAIN only, of A or AAAA
 * ```
 */

/** C libraries that look names up in different ways. */
export type Libc = 'glibc' | 'musl'

/** What resolv.conf tells a stub resolver. */
export interface StubConfiguration {
  /** Without trailing dots. */
  search: readonly string[]
  ndots: number
}

/** What one question gets, as far as a look-up cares. `upstream`: not known here, a server would be asked. */
export type Outcome = 'addresses' | 'nodata' | 'nxdomain' | 'servfail' | 'refused' | 'upstream'

/** One name of a look-up, for which A and AAAA are asked. */
export interface LookupStep {
  /** Absolute, with its trailing dot. */
  name: string
  a: Outcome
  aaaa: Outcome
  /** What the resolver does next: it has its answer, tries the next name, or gives up. */
  verdict: 'found' | 'next' | 'fails' | 'depends'
}

/** A look-up from the first question to its end. */
export interface Lookup {
  libc: Libc
  /** Up to the one that ends it for certain. */
  steps: LookupStep[]
  /** Result for the program, in one line. */
  result: string
}

/** The names that `getaddrinfo(name)` asks for, in their order, each with its trailing dot. */
export function namesAsked(libc: Libc, { search, ndots }: StubConfiguration, name: string): string[] {
  if (name.endsWith('.')) return [name]
  const asGiven = `${name}.`
  const searched = search.map((domain) => (domain === '' || domain === '.' ? asGiven : `${name}.${domain}.`))
  const dots = name.split('.').length - 1
  const names = dots < ndots ? [...searched, asGiven] : libc === 'musl' ? [asGiven] : [asGiven, ...searched]
  return [...new Set(names)]
}

/** Plays a look-up of `name` with the outcomes of A and AAAA for each name that is asked. */
export function playLookup(
  libc: Libc,
  configuration: StubConfiguration,
  name: string,
  outcomesOf: (name: string) => { a: Outcome; aaaa: Outcome },
): Lookup {
  const steps: LookupStep[] = []
  let depends = ''
  let isSearchOver = false
  for (const asked of namesAsked(libc, configuration, name)) {
    const isSearched = asked !== absolute(name)
    if (isSearched && isSearchOver) continue
    const { a, aaaa } = outcomesOf(asked)
    const verdict = verdictOf(libc, a, aaaa)
    steps.push({ name: asked, a, aaaa, verdict })
    if (verdict === 'found') return { libc, steps, result: `the addresses of ${asked.replace(/\.$/, '')}${depends}` }
    if (verdict === 'fails') return { libc, steps, result: `${muslFailure(a, aaaa)}${depends}` }
    if (verdict === 'depends') depends = ', unless an upstream server has addresses for an earlier name'
    isSearchOver ||= isSearched && libc === 'glibc' && decisive(a, aaaa) === 'refused'
  }
  return { libc, steps, result: `${endOf(libc, absolute(name), steps)}${depends}` }
}

/** The name with its trailing dot. */
export function absolute(name: string): string {
  return name.endsWith('.') ? name : `${name}.`
}

function verdictOf(libc: Libc, a: Outcome, aaaa: Outcome): LookupStep['verdict'] {
  if (libc === 'musl') return muslVerdict(a, aaaa)
  if (a === 'addresses' || aaaa === 'addresses') return 'found'
  return a === 'upstream' || aaaa === 'upstream' ? 'depends' : 'next'
}

/** Both replies count, that for A first: an error of one makes the other's addresses void. */
function muslVerdict(a: Outcome, aaaa: Outcome): LookupStep['verdict'] {
  for (const outcome of [a, aaaa]) {
    if (outcome === 'nxdomain') return 'next'
    if (outcome === 'upstream') return 'depends'
    if (outcome !== 'addresses' && outcome !== 'nodata') return 'fails'
  }
  return a === 'addresses' || aaaa === 'addresses' ? 'found' : 'fails'
}

/** The outcome that glibc goes by where there are no addresses: NODATA of one type outweighs a failure of the other. */
function decisive(a: Outcome, aaaa: Outcome): Outcome {
  if (a === 'nxdomain' || aaaa === 'nxdomain') return 'nxdomain'
  return aaaa === 'nodata' ? aaaa : a
}

const NO_ADDRESS = 'no address (EAI_NODATA)'
const TRY_AGAIN = 'a temporary failure (EAI_AGAIN)'
const NO_NAME = 'no such name (EAI_NONAME)'

function muslFailure(a: Outcome, aaaa: Outcome): string {
  const outcome = a === 'addresses' || a === 'nodata' ? aaaa : a
  if (outcome === 'nodata') return 'no address (EAI_NODATA, or EAI_NONAME in older versions)'
  // It goes on waiting for another reply.
  return outcome === 'refused' ? `${TRY_AGAIN} after its time-out, as musl ignores REFUSED` : TRY_AGAIN
}

/** No name had an address: glibc reports the name as given where it was asked first, else the best that it has seen. */
function endOf(libc: Libc, asGiven: string, steps: readonly LookupStep[]): string {
  if (libc === 'musl') return NO_NAME
  const [first] = steps
  const outcomes = (first?.name === asGiven ? [first] : steps).map(({ a, aaaa }) => decisive(a, aaaa))
  if (outcomes.includes('nodata')) return NO_ADDRESS
  if (outcomes.includes('servfail') || outcomes.at(-1) === 'refused') return TRY_AGAIN
  return NO_NAME
}
