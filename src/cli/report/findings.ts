/**
 * What the evidence of a report says, the worst first: sentences for whoever opens it in a hurry. Pure; what is not in the
 * evidence leads to no finding.
 */
import { amount, durationText, plural } from '../figures.ts'
import { DaemonFile, samplesOf } from './daemon-evidence.ts'
import { at, entriesOf, type Evidence, listOf, numberOf, textOf } from './evidence.ts'
import { machineFindings } from './machine-findings.ts'

/** One finding. */
export interface Finding {
  /** `error`: names are not answered, or wrongly; `warning`: they may soon; `note`: good to know. */
  severity: 'error' | 'warning' | 'note'
  /** One sentence without its full stop. */
  text: string
  /** Files of the report that show it. */
  files: readonly string[]
}

const SEVERITIES = ['error', 'warning', 'note'] as const
/** A table that an istiod at hand sends is never so old: it sends one with each new connection, every 30 minutes or so. */
const OLD_TABLE_SECONDS = 3600
const SOON_SECONDS = 24 * 3600
const VERY_SOON_SECONDS = 3600
const MOST_REPEATED = 5
/** Below so many replies a share says nothing. */
const LEAST_REPLIES = 100
const STORM_SHARE = 0.5
const SERVFAIL_SHARE = 0.05

/** All findings, errors first. */
export function findingsOf(evidence: Evidence): Finding[] {
  const found = [
    ...redirectToNobody(evidence),
    ...reachability(evidence),
    ...upstreamFindings(evidence),
    ...tableFindings(evidence),
    ...credentialFindings(evidence),
    ...replyFindings(evidence),
    ...daemonFindings(evidence),
    ...machineFindings(evidence),
    // What they tell has its cause above, if it is known.
    ...selfTestFindings(evidence),
    ...logFindings(evidence),
  ]
  return SEVERITIES.flatMap((severity) => found.filter((finding) => finding.severity === severity))
}

/** Applications whose DNS is redirected to a byname that does not answer have none. */
function redirectToNobody(evidence: Evidence): Finding[] {
  const file = 'network/capture.json'
  const local = evidence.list('self-tests.json').find((each) => at(each, 'test') === 'localhost')
  if (evidence.at(file, 'isThere') !== true || at(local, 'result') !== 'failed') return []
  const text = `DNS is redirected to byname, and nothing answers there (${textOf(at(local, 'detail')) ?? ''}): applications here have no DNS; "byname capture remove" takes the redirect away`
  return [{ severity: 'error', text, files: [file, 'self-tests.json'] }]
}

function reachability(evidence: Evidence): Finding[] {
  const { status, config } = DaemonFile
  if (!evidence.has(status)) {
    const stopped = evidence
      .list('machine/processes.json', 'processes')
      .find((each) => /^[Tt] /.test(textOf(at(each, 'state')) ?? ''))
    const why = evidence.reason(status) ?? 'it was not asked'
    if (stopped !== undefined) {
      const pid = numberOf(at(stopped, 'pid'))
      const text = `byname does not answer: its process ${pid} is stopped (SIGSTOP, or a debugger); kill -CONT ${pid} lets it go on`
      return [{ severity: 'error', text, files: ['machine/processes.json'] }]
    }
    const runs = evidence.list('machine/processes.json', 'processes').length > 0
    const text = runs
      ? `byname runs, and its admin endpoint does not answer: ${why}`
      : `byname does not run here, as far as can be seen: ${why}`
    return [{ severity: 'error', text, files: ['machine/processes.json'] }, ...refusedConfiguration(evidence)]
  }
  const findings: Finding[] = []
  const [own, its] = [evidence.string('versions.json', 'byname'), evidence.string(status, 'version')]
  if (its === null)
    findings.push({
      severity: 'warning',
      text: 'the status is not what this version of byname knows: another version may run',
      files: [status],
    })
  else if (own !== its)
    findings.push({
      severity: 'note',
      text: `byname ${its} runs, and this report was made by ${own ?? 'another version'}`,
      files: [status, 'versions.json'],
    })
  if (evidence.at(status, 'ready') === false) {
    const missing = evidence.list(status, 'missing').map(String).join(', ')
    const reason = evidence.string(status, 'xds', 'away', 'reason')
    const cause =
      reason === null
        ? ''
        : `: the control plane ${evidence.string(status, 'xds', 'away', 'address')} is away: ${reason}`
    findings.push({
      severity: 'error',
      text: `byname is not ready: ${missing || 'it does not say why'}${cause}`,
      files: [status],
    })
  }
  const health = evidence.text(DaemonFile.health)
  const sick = /^\/healthz: (?!ok)(.+)$/m.exec(health)?.[1]
  if (sick !== undefined)
    findings.push({ severity: 'error', text: `the health check fails: ${sick}`, files: [DaemonFile.health] })
  return [...findings, ...(evidence.has(config) ? [] : refusedConfiguration(evidence))]
}

function refusedConfiguration(evidence: Evidence): Finding[] {
  const file = 'configuration.json'
  return evidence
    .list(file, 'problems')
    .slice(0, MOST_REPEATED)
    .map((problem) => ({
      severity: 'error',
      text: `the configuration is refused: ${String(problem)}`,
      files: [file],
    }))
}

function upstreamFindings(evidence: Evidence): Finding[] {
  const listed = [DaemonFile.upstreamsLater, DaemonFile.upstreams].find((each) => evidence.has(each))
  const file = listed ?? DaemonFile.status
  const servers = listed === undefined ? evidence.list(file, 'upstreams') : evidence.list(file)
  return servers.flatMap((server): Finding[] => {
    const label = textOf(at(server, 'label'))
    if (label === null) return []
    if (at(server, 'isLoop') === true)
      return [
        {
          severity: 'error',
          text: `the resolver ${label} forwards to byname, a loop; byname asks it no more`,
          files: [file],
        },
      ]
    const failures = entriesOf(at(server, 'failures')).flatMap(([kind, count]) => {
      const times = numberOf(count) ?? 0
      return times > 0 ? [{ kind, times }] : []
    })
    const asked = entriesOf(at(server, 'requests')).reduce((sum, [, count]) => sum + (numberOf(count) ?? 0), 0)
    const failed = failures.reduce((sum, { times }) => sum + times, 0)
    const isDown = at(server, 'healthy') === false && asked > 0
    if (!isDown && (failed < 3 || failed < asked / 100)) return []
    const words = failures.toSorted((a, b) => b.times - a.times).map(({ kind, times }) => failureText(kind, times))
    const text = `the resolver ${label} ${words.join(', ') || 'fails'} (of ${plural(asked, 'query', 'queries')})${isDown ? ', and does not answer now' : ''}`
    return [{ severity: isDown || failed > asked / 2 ? 'error' : 'warning', text, files: [file] }]
  })
}

function failureText(kind: string, times: number): string {
  const count = times === 1 ? 'once' : `${amount(times)} times`
  switch (kind) {
    case 'timeout':
      return `timed out ${count}`
    case 'network':
      return `could not be reached ${count}`
    case 'tls':
      return `failed in TLS ${count}`
    case 'malformed':
      return `sent a malformed reply ${count}`
    case 'truncated':
      return `cut a reply short ${count}`
    default:
      return `answered ${kind.toUpperCase()} ${count}`
  }
}

function tableFindings(evidence: Evidence): Finding[] {
  const file = DaemonFile.status
  const findings: Finding[] = []
  const age = evidence.number(file, 'table', 'ageSeconds')
  const isAway = evidence.at(file, 'xds', 'connected') === false
  const reason = evidence.string(file, 'xds', 'away', 'reason')
  const address = evidence.string(file, 'xds', 'away', 'address')
  const since = numberOf(evidence.at(file, 'xds', 'away', 'sinceMs'))
  const ago = since === null ? '' : ` since ${new Date(since).toISOString()}`
  if (age !== null && age > OLD_TABLE_SECONDS) {
    const why = isAway ? `, and the control plane ${address ?? ''} is away: ${reason ?? 'no reason is known'}` : ''
    findings.push({
      severity: isAway ? 'error' : 'note',
      text: `the table is ${durationText(age)} old${why}`,
      files: [file, DaemonFile.xdsHistory],
    })
  } else if (isAway && evidence.at(file, 'ready') !== false) {
    findings.push({
      severity: 'warning',
      text: `the control plane is away${ago}: ${address ?? ''}: ${reason ?? 'no reason is known yet'}`,
      files: [DaemonFile.xdsHistory],
    })
  }
  if (evidence.at(file, 'table', 'fromLastKnownGood') === true)
    findings.push({
      severity: 'warning',
      text: 'the table is the one kept on disk: none has come since the start',
      files: [file],
    })
  const refused = evidence.string(DaemonFile.xds, 'refused', 'reason')
  if (refused !== null)
    findings.push({
      severity: 'error',
      text: `the control plane sends tables that cannot be used (NACK): ${refused}`,
      files: [DaemonFile.xds, DaemonFile.xdsHistory],
    })
  if (
    evidence.at(file, 'ready') !== false &&
    evidence.number(file, 'table', 'hosts') === 0 &&
    evidence.string(file, 'table', 'source') !== 'none'
  )
    findings.push({
      severity: 'error',
      text: `the table has no hosts (from ${evidence.string(file, 'table', 'source') ?? '?'})`,
      files: [file],
    })
  const skipped = evidence.number(file, 'table', 'skippedHosts') ?? 0
  if (skipped > 0)
    findings.push({
      severity: 'note',
      text: `${plural(skipped, 'host')} of the table were left out: no valid name or no valid address`,
      files: [file],
    })
  return [...findings, ...outsideNames(evidence)]
}

/** Mostly what ServiceEntries are for; one that nobody knows of leads applications elsewhere. */
function outsideNames(evidence: Evidence): Finding[] {
  const file = DaemonFile.table
  const found = entriesOf(evidence.at(file, 'table')).filter(([, info]) => at(info, 'registry') === 'External')
  if (found.length === 0) return []
  const told = found.slice(0, MOST_REPEATED).map(([host, info]) => {
    const addresses = listOf(at(info, 'ips')).slice(0, MOST_REPEATED).map(String).join(' ')
    const namespace = textOf(at(info, 'namespace'))
    return `${host} (${addresses}${namespace === null || namespace === '' ? '' : `, namespace ${namespace}`})`
  })
  const more = found.length > MOST_REPEATED ? `; and ${amount(found.length - MOST_REPEATED)} more` : ''
  const text = `the name table, and no resolver, has ${plural(found.length, 'name')} of outside the cluster: ${told.join('; ')}${more}`
  return [{ severity: 'note', text, files: [file] }]
}

function credentialFindings(evidence: Evidence): Finding[] {
  const ofDaemon = evidence.list(DaemonFile.status, 'credentials')
  const inFiles = evidence.list('machine/certificates.json')
  const [list, file] = ofDaemon.length > 0 ? [ofDaemon, DaemonFile.status] : [inFiles, 'machine/certificates.json']
  return list.flatMap((each): Finding[] => {
    const said = textOf(at(each, 'kind')) ?? 'credential'
    const kind = said === 'root' ? 'root certificate' : said === 'claims' ? 'token' : said
    const from = textOf(at(each, 'from')) ?? textOf(at(each, 'file')) ?? ''
    const left = numberOf(at(each, 'secondsLeft'))
    const isNeeded = at(each, 'isNeeded') !== false
    const problem = textOf(at(each, 'problem'))
    if (left !== null && left < 0)
      return [
        {
          severity: isNeeded ? 'error' : 'note',
          text: `the ${kind} ${from} expired ${durationText(-left)} ago`,
          files: [file],
        },
      ]
    if (problem !== null)
      return [{ severity: isNeeded ? 'error' : 'note', text: `the ${kind} ${from}: ${problem}`, files: [file] }]
    if (left === null || left > SOON_SECONDS) return []
    // Tokens of a pod live for an hour or a day, and are replaced long before: what is soon depends on the life, which the daemon knows.
    const isSoon = at(each, 'isEndingSoon') === true || left <= VERY_SOON_SECONDS
    const severity = isSoon && isNeeded ? 'warning' : 'note'
    return [{ severity, text: `the ${kind} ${from} expires in ${inWords(left)}`, files: [file] }]
  })
}

/** Minutes in words: what is to be done about it has to be done in that time. */
function inWords(seconds: number): string {
  return seconds < 60
    ? plural(Math.round(seconds), 'second')
    : seconds < 7200
      ? plural(Math.floor(seconds / 60), 'minute')
      : durationText(seconds)
}

function selfTestFindings(evidence: Evidence): Finding[] {
  const file = 'self-tests.json'
  const all = evidence.list(file).filter((each) => at(each, 'result') !== 'skipped')
  const failed = all.filter((each) => at(each, 'result') === 'failed')
  // A daemon that is not there, as was said, answers nothing.
  if (!evidence.has(DaemonFile.status) && failed.length === all.length) return []
  const ofServer = Map.groupBy(failed, (each) => `${textOf(at(each, 'detail'))}`)
  return [...ofServer].map(([detail, tests]) => {
    const names = tests.map((each) => `${textOf(at(each, 'test'))} (${textOf(at(each, 'question'))})`)
    const isMesh = tests.some((each) => /^(?:mesh|localhost)/.test(textOf(at(each, 'test')) ?? ''))
    const shown = names.slice(0, 3).join('; ') + (names.length > 3 ? ` and ${names.length - 3} more` : '')
    return { severity: isMesh ? 'error' : 'warning', text: `self-tests fail: ${shown}: ${detail}`, files: [file] }
  })
}

function replyFindings(evidence: Evidence): Finding[] {
  const file = DaemonFile.metrics
  const replies = new Map<string, number>()
  for (const [sample, count] of samplesOf(evidence.text(file))) {
    const rcode = /^byname_dns_responses_total\{.*rcode="([^"]+)"/.exec(sample)?.[1]
    if (rcode !== undefined) replies.set(rcode, (replies.get(rcode) ?? 0) + count)
  }
  const all = [...replies.values()].reduce((sum, count) => sum + count, 0)
  if (all < LEAST_REPLIES) return []
  const findings: Finding[] = []
  const missing = (replies.get('NXDOMAIN') ?? 0) / all
  if (missing > STORM_SHARE) {
    const { search, ndots } = searchOf(evidence)
    const isSearch = search.length > 0 && ndots > 1
    const searched = evidence.list(DaemonFile.lastHour, 'top', 'searched', 'names')
    const name = textOf(at(searched[0], 'name'))
    const most = name === null ? 'most of them' : `most for ${name}`
    const text =
      isSearch || name !== null
        ? `search storm: ${percent(missing)} of ${amount(all)} answers are NXDOMAIN, ${most} below search domains: with ndots:${ndots} and ${plural(search.length, 'search domain')} each outside name is asked up to ${search.length + 1} times; names written with a dot at the end, or a smaller ndots, avoid it`
        : `${percent(missing)} of ${amount(all)} answers are NXDOMAIN`
    findings.push({ severity: 'warning', text, files: [file, DaemonFile.lastHour, 'network/resolv.conf'] })
  }
  const broken = (replies.get('SERVFAIL') ?? 0) / all
  if (broken > SERVFAIL_SHARE)
    findings.push({
      severity: 'error',
      text: `${percent(broken)} of ${amount(all)} answers are SERVFAIL`,
      files: [file],
    })
  return findings
}

/** What the application's resolv.conf says. */
function searchOf(evidence: Evidence): { search: string[]; ndots: number } {
  const text = evidence.text('network/application-resolv.conf') || evidence.text('network/resolv.conf')
  const search = /^\s*search\s+(.+)$/gm.exec(text)?.[1]?.trim().split(/\s+/) ?? []
  return { search, ndots: Number(/^\s*options\b.*\bndots:(\d+)/m.exec(text)?.[1] ?? 1) }
}

function daemonFindings(evidence: Evidence): Finding[] {
  const file = DaemonFile.status
  const findings: Finding[] = []
  for (const problem of evidence.list(file, 'problems').slice(0, 20)) {
    const text = textOf(at(problem, 'text'))
    // Said above, with more of it.
    const about = at(problem, 'about')
    if (
      text === null ||
      about === 'credentials' ||
      (about === 'control_plane' && evidence.at(file, 'xds', 'away') !== null)
    )
      continue
    findings.push({
      severity: 'error',
      text: `${text} (for ${durationText(numberOf(at(problem, 'forSeconds')) ?? 0)})`,
      files: [file],
    })
  }
  for (const warning of evidence.list(file, 'warnings').slice(0, 20)) {
    const text = String(warning)
    if (
      !/^upstream server .* keeps failing$|^mesh answers come from the table kept|were left out: no valid name|^the kernel dropped/.test(
        text,
      )
    )
      findings.push({ severity: 'warning', text, files: [file] })
  }
  const restarts = evidence.number(file, 'workers', 'restarts') ?? 0
  if (restarts > 0)
    findings.push({
      severity: 'warning',
      text: `workers died and were started again ${restarts === 1 ? 'once' : `${amount(restarts)} times`}`,
      files: [file, DaemonFile.log],
    })
  const kernel = evidence.number(file, 'socketDrops') ?? 0
  if (kernel > 0)
    findings.push({
      severity: 'warning',
      text: `the kernel dropped ${plural(kernel, 'datagram')} before byname could read them: raise net.core.rmem_max, or give it more CPU`,
      files: [file, 'network/sockets.json'],
    })
  for (const reason of ['in_flight_full', 'waiters_full', 'rate_limited', 'send_failed', 'spoofed_reply']) {
    const count = evidence.number(file, 'drops', reason) ?? 0
    if (count > 0)
      findings.push({
        severity: 'warning',
        text: `${plural(count, 'packet was', 'packets were')} not served: ${reason}`,
        files: [file],
      })
  }
  return findings
}

function logFindings(evidence: Evidence): Finding[] {
  const file = DaemonFile.log
  const failures = evidence.list(file, 'failures').filter((line) => at(line, 'level') === 'error')
  const last = failures.at(-1)
  if (last === undefined) return []
  const text = `${plural(failures.length, 'error')} in the log, the last at ${textOf(at(last, 'time')) ?? '?'}: ${textOf(at(last, 'message')) ?? '?'}`
  return [{ severity: 'warning', text, files: [file] }]
}

function percent(share: number): string {
  return `${Math.round(share * 100)} %`
}
