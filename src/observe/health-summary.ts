/** How byname is doing, in one sentence: what a person asks first. */
import type { StatusReport } from './status.ts'

/** `failing`: clients get errors, or will not get what they should. `degraded`: they do, and somebody should look. */
export type HealthState = 'well' | 'degraded' | 'failing'

/** The answer to "how is it doing?". */
export interface HealthSummary {
  state: HealthState
  /** `answering; table of 1,204 hosts from istiod 12 s ago; 1 of 2 resolvers slow`. What is wrong comes first. */
  sentence: string
  /** What is wrong, the worst first, a phrase each; empty if nothing is. */
  causes: string[]
}

/** What happened in the last minute; null where nobody has looked for so long. */
export interface RecentTraffic {
  repliesPerSecond: number
  /** Of the replies, 0…1. */
  servfailRatio: number
  nxdomainRatio: number
  /** Name that most of the NXDOMAIN were for, below search domains; null if that is not known. */
  searchedName: string | null
}

/** What the summary is made from. */
export type HealthFacts = Pick<StatusReport, 'ready' | 'missing' | 'table' | 'credentials' | 'upstreams' | 'problems'>

/** Slower than this a resolver is called slow. */
const SLOW_MS = 200
/** A share of errors counts if there is so much traffic at all. */
const LEAST_REPLIES_PER_SECOND = 0.5
const SERVFAIL_RATIO = 0.05
/** Of a healthy pod's answers up to three in four may be NXDOMAIN, if all its names go through three search domains. */
const STORM_RATIO = 0.8
const STORM_REPLIES_PER_SECOND = 20
/** Problems told one by one. */
const MOST_CAUSES = 3

interface Cause {
  text: string
  isFailing: boolean
}

/** Sums up `facts`. Pure; the facts' texts may come from files and servers: whoever shows the sentence escapes it. */
export function healthSummary(facts: HealthFacts, recent: RecentTraffic | null): HealthSummary {
  const causes = [
    ...readinessCauses(facts),
    ...resolverCauses(facts),
    ...facts.problems.map(({ text }): Cause => ({ text, isFailing: false })),
    ...credentialCauses(facts),
    ...trafficCauses(recent),
    ...skippedCauses(facts),
  ]
  const told = causes.slice(0, MOST_CAUSES).map(({ text }) => text)
  if (causes.length > MOST_CAUSES) told.push(`${causes.length - MOST_CAUSES} more problems`)
  const isFailing = causes.some((cause) => cause.isFailing)
  const slow = slowText(facts)
  const state = isFailing ? 'failing' : causes.length > 0 || slow !== null ? 'degraded' : 'well'
  const rest = [facts.ready ? 'answering' : 'not ready', tableText(facts), slow].filter((part) => part !== null)
  return { state, sentence: [...told, ...rest].join('; '), causes: causes.map(({ text }) => text) }
}

function readinessCauses({ ready, missing }: HealthFacts): Cause[] {
  return ready ? [] : missing.map((text) => ({ text, isFailing: true }))
}

/** Resolvers that do not answer. If others answer in their place, whatever the name, nobody gets an error. */
function resolverCauses({ upstreams }: HealthFacts): Cause[] {
  const asked = upstreams.filter(({ requests, isLoop }) => isLoop || Object.keys(requests).length > 0)
  return asked.flatMap(({ label, routes, healthy, isLoop, failures }): Cause[] => {
    if (healthy && !isLoop) return []
    // A loop is in no route any more. What it was asked for is not known: most likely all names.
    const names = isLoop && routes.length === 0 ? ['.'] : routes
    const isAlone = names.some((route) =>
      upstreams.every((other) => other.label === label || !other.routes.includes(route) || !isUsable(other)),
    )
    if (isLoop) return [{ text: `resolver ${label} forwards to byname`, isFailing: isAlone }]
    return [{ text: `resolver ${label} fails: ${failuresText(failures)}`, isFailing: isAlone }]
  })
}

function isUsable({ healthy, isLoop }: HealthFacts['upstreams'][number]): boolean {
  return healthy && !isLoop
}

const FAILURE_WORDS: Readonly<Record<string, readonly [one: string, several: string]>> = {
  timeout: ['timeout', 'timeouts'],
  network: ['network error', 'network errors'],
  tls: ['TLS error', 'TLS errors'],
  malformed: ['malformed reply', 'malformed replies'],
  truncated: ['truncated reply', 'truncated replies'],
}

/** `312 timeouts, 1 network error`, the most frequent first. Reasons as in byname_upstream_failures_total. */
export function failuresText(failures: Readonly<Record<string, number>>): string {
  const texts = Object.entries(failures)
    .toSorted(([, one], [, other]) => other - one)
    .map(([reason, count]) => {
      const [one, several] = FAILURE_WORDS[reason] ?? [reason.toUpperCase(), reason.toUpperCase()]
      return `${amountText(count)} ${count === 1 ? one : several}`
    })
  return texts.join(', ') || 'no answer'
}

function credentialCauses({ credentials }: HealthFacts): Cause[] {
  return credentials.flatMap(({ kind, from, secondsLeft, problem, isNeeded, isEndingSoon }): Cause[] => {
    // One with a problem is among the problems.
    if (!isNeeded || !isEndingSoon || problem !== null || secondsLeft === null) return []
    const name = kind === 'root' ? 'root certificate' : kind
    const when = secondsLeft <= 0 ? 'has expired' : `expires in ${spanText(secondsLeft)}`
    return [{ text: `the ${name} ${from} ${when}`, isFailing: false }]
  })
}

function trafficCauses(recent: RecentTraffic | null): Cause[] {
  if (recent === null || recent.repliesPerSecond < LEAST_REPLIES_PER_SECOND) return []
  const { repliesPerSecond, servfailRatio, nxdomainRatio, searchedName } = recent
  const causes: Cause[] = []
  if (servfailRatio >= SERVFAIL_RATIO)
    causes.push({ text: `${percentText(servfailRatio)} of the replies are SERVFAIL`, isFailing: true })
  if (repliesPerSecond >= STORM_REPLIES_PER_SECOND && nxdomainRatio >= STORM_RATIO) {
    const name = searchedName === null ? '' : `, most for ${searchedName} below search domains`
    causes.push({ text: `${percentText(nxdomainRatio)} of the replies are NXDOMAIN${name}`, isFailing: false })
  }
  return causes
}

function skippedCauses({ table }: HealthFacts): Cause[] {
  if (table.skippedHosts === 0) return []
  const hosts = table.skippedHosts === 1 ? '1 host' : `${amountText(table.skippedHosts)} hosts`
  return [{ text: `${hosts} of the name table left out: no valid name or address`, isFailing: false }]
}

function slowText({ upstreams }: HealthFacts): string | null {
  const slow = upstreams.filter((server) => isUsable(server) && server.rttMs !== null && server.rttMs > SLOW_MS)
  if (slow.length === 0) return null
  return upstreams.length === 1 ? 'the resolver is slow' : `${slow.length} of ${upstreams.length} resolvers slow`
}

function tableText({ table }: HealthFacts): string | null {
  if (table.source === 'none') return null
  if (table.ageSeconds === null && table.hosts === 0) return `no table from ${originText(table.source)} yet`
  const hosts = `table of ${amountText(table.hosts)} ${table.hosts === 1 ? 'host' : 'hosts'}`
  if (table.fromLastKnownGood) return `${hosts} kept from the last run`
  const age = table.ageSeconds === null ? '' : ` ${spanText(table.ageSeconds)} ago`
  return `${hosts} from ${originText(table.source)}${age}`
}

/** `xds istiod.istio-system.svc:15012, …` is known as istiod. */
function originText(source: string): string {
  const host = /^xds ([^\s,:[\]]+)/.exec(source)?.[1]
  if (host === undefined) return source.replace(/^xds /, '')
  return /^[\d.]+$/.test(host) ? source.slice('xds '.length) : host.split('.', 1)[0]!
}

function percentText(ratio: number): string {
  return `${Math.round(ratio * 100)} %`
}

/** A number with its thousands apart. Intl would cost the daemon a megabyte. */
export function amountText(count: number): string {
  return String(count).replace(/\B(?=(?:\d{3})+$)/g, ',')
}

/** A time span in one unit. */
export function spanText(seconds: number): string {
  if (seconds < 60) return `${Math.round(seconds)} s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3600)} h`
  return `${Math.floor(seconds / 86_400)} days`
}
