/** What the evidence says of the machine: limits, processes, capture, resolv.conf, hosts file. Pure. */
import { bytesText, plural } from '../figures.ts'
import { DaemonFile } from './daemon-evidence.ts'
import { at, entriesOf, type Evidence, listOf, numberOf, textOf } from './evidence.ts'
import type { Finding } from './findings.ts'

const NEAR_LIMIT = 0.9
const THROTTLED_SHARE = 0.05
const BUSY_SHARE = 0.95
const MOST_SHOWN = 3

/** Findings about the machine. */
export function machineFindings(evidence: Evidence): Finding[] {
  return [
    ...limits(evidence),
    ...threads(evidence),
    ...files(evidence),
    ...tracking(evidence),
    ...capture(evidence),
    ...hostsFile(evidence),
  ]
}

function limits(evidence: Evidence): Finding[] {
  const file = 'machine/cgroup.json'
  const findings: Finding[] = []
  const kills = evidence.number(file, 'memory', 'kills') ?? 0
  if (kills > 0)
    findings.push({
      severity: 'error',
      text: `the kernel killed processes here for want of memory ${kills === 1 ? 'once' : `${kills} times`}`,
      files: [file],
    })
  const [limit, bytes] = [evidence.number(file, 'memory', 'limitBytes'), evidence.number(file, 'memory', 'bytes')]
  if (limit !== null && bytes !== null && limit > 0 && bytes >= NEAR_LIMIT * limit)
    findings.push({
      severity: 'warning',
      text: `memory limit nearly reached: ${bytesText(bytes)} of ${bytesText(limit)}`,
      files: [file],
    })
  const [periods, throttled] = [
    evidence.number(file, 'cpu', 'periods'),
    evidence.number(file, 'cpu', 'throttledPeriods'),
  ]
  if (periods !== null && throttled !== null && periods > 0 && throttled / periods >= THROTTLED_SHARE) {
    const seconds = evidence.number(file, 'cpu', 'throttledSeconds')
    const waited = seconds === null ? '' : `, for ${Math.round(seconds)} s in all`
    const share = throttled / periods
    findings.push({
      severity: share > 0.25 ? 'error' : 'warning',
      text: `CPU throttled ${Math.round(share * 100)} % of periods${waited}: raise the CPU limit`,
      files: [file],
    })
  }
  const [most, count] = [evidence.number(file, 'processes', 'limit'), evidence.number(file, 'processes', 'count')]
  if (most !== null && count !== null && count >= NEAR_LIMIT * most)
    findings.push({
      severity: 'warning',
      text: `nearly as many processes and threads as may be: ${count} of ${most}`,
      files: [file],
    })
  return findings
}

function threads(evidence: Evidence): Finding[] {
  const file = 'machine/processes.json'
  return evidence.list(file, 'busy').flatMap((thread): Finding[] => {
    const share = numberOf(at(thread, 'share')) ?? 0
    if (share < BUSY_SHARE) return []
    return [
      {
        severity: 'warning',
        text: `thread ${textOf(at(thread, 'name')) ?? '?'} of process ${numberOf(at(thread, 'pid'))} takes ${Math.round(share * 100)} % of a processor`,
        files: [file],
      },
    ]
  })
}

function files(evidence: Evidence): Finding[] {
  const file = 'machine/processes.json'
  return evidence.list(file, 'processes').flatMap((each): Finding[] => {
    const [open, limit] = [numberOf(at(each, 'openFiles')), numberOf(at(each, 'openFilesLimit'))]
    if (open === null || limit === null || open < NEAR_LIMIT * limit) return []
    return [
      {
        severity: 'warning',
        text: `process ${numberOf(at(each, 'pid'))} has ${open} of ${limit} files open`,
        files: [file],
      },
    ]
  })
}

function tracking(evidence: Evidence): Finding[] {
  const file = 'machine/system.json'
  const read = (name: string): number => Number(evidence.string(file, 'settings', name) ?? Number.NaN)
  const [most, count] = [read('net.netfilter.nf_conntrack_max'), read('net.netfilter.nf_conntrack_count')]
  if (!(count >= NEAR_LIMIT * most)) return []
  return [
    {
      severity: 'error',
      text: `the table of tracked connections is nearly full: ${count} of ${most}; when it is, the kernel drops packets`,
      files: [file],
    },
  ]
}

function capture(evidence: Evidence): Finding[] {
  const file = 'network/capture.json'
  if (!evidence.has(file)) return []
  const lines = evidence.list(file, 'differences').map(String)
  const isThere = evidence.at(file, 'isThere') === true
  const isExpected = evidence.at(file, 'isExpected') === true
  if ((isThere || isExpected) && lines.length > 0) {
    const shown =
      lines.slice(0, MOST_SHOWN).join('; ') +
      (lines.length > MOST_SHOWN ? `; and ${lines.length - MOST_SHOWN} more` : '')
    return [{ severity: 'error', text: `capture rules missing or wrong: ${shown}`, files: [file] }]
  }
  if (isThere || evidence.string(file, 'istio') !== null || !evidence.has(DaemonFile.status)) return []
  const resolvConf = evidence.text('network/application-resolv.conf') || evidence.text('network/resolv.conf')
  const servers = [...resolvConf.matchAll(/^\s*nameserver\s+(\S+)/gm)].map(([, address]) => address!)
  if (servers.length === 0 || servers.some((address) => /^127\.|^::1$/.test(address))) return []
  return [
    {
      severity: 'note',
      text: `nothing leads applications to byname here: resolv.conf names ${servers.join(', ')}, and there is no redirect`,
      files: [file, 'network/resolv.conf'],
    },
  ]
}

/** What applications find in /etc/hosts, which they read before they ask anybody: other addresses of mesh hosts, and outside names. */
function hostsFile(evidence: Evidence): Finding[] {
  const file = 'network/hosts'
  const mesh = meshAddresses(evidence)
  const own = (evidence.string('machine/system.json', 'host') ?? '').toLowerCase()
  const contradictions: string[] = []
  const outside: string[] = []
  for (const { address, name } of hostsEntries(evidence.text(file))) {
    const ips = mesh.get(name)
    if (ips !== undefined) {
      if (!ips.includes(address)) contradictions.push(`${name} is ${address} there and ${ips.join(' ')} in the table`)
    } else if (name.includes('.') && name !== own && !name.startsWith(`${own}.`) && !LOCAL.test(name))
      outside.push(`${name} (${address})`)
  }
  const findings: Finding[] = []
  if (contradictions.length > 0) {
    const text = `/etc/hosts contradicts the name table for ${plural(contradictions.length, 'name')}: ${firstOf(contradictions)}; applications that read it first never ask byname`
    findings.push({ severity: 'error', text, files: [file, DaemonFile.table] })
  }
  if (outside.length > 0) {
    const text = `/etc/hosts has addresses for ${plural(outside.length, 'outside name')}, for which applications never ask byname: ${firstOf(outside)}`
    findings.push({ severity: 'note', text, files: [file] })
  }
  return findings
}

const LOCAL = /^(?:localhost|ip6-|ip6\.)|\.(?:localdomain|localhost|arpa)$/

function hostsEntries(text: string): { address: string; name: string }[] {
  return text.split('\n').flatMap((line) => {
    const [address, ...names] = line.replace(/#.*/, '').trim().split(/\s+/)
    return names.map((name) => ({ address: address ?? '', name: name.toLowerCase().replace(/\.$/, '') }))
  })
}

/** Addresses of mesh hosts by all names that do not depend on the search list. */
function meshAddresses(evidence: Evidence): Map<string, string[]> {
  const mesh = new Map<string, string[]>()
  for (const [host, info] of entriesOf(evidence.at(DaemonFile.table, 'table'))) {
    const ips = listOf(at(info, 'ips')).map(String)
    const [short, namespace] = [textOf(at(info, 'shortname')), textOf(at(info, 'namespace'))]
    const names = short === null || namespace === null ? [] : [`${short}.${namespace}`, `${short}.${namespace}.svc`]
    for (const name of [host, ...names]) if (ips.length > 0) mesh.set(name.toLowerCase(), ips)
  }
  return mesh
}

function firstOf(texts: readonly string[]): string {
  const more = texts.length > MOST_SHOWN ? `; and ${texts.length - MOST_SHOWN} more` : ''
  return `${texts.slice(0, MOST_SHOWN).join('; ')}${more}`
}
