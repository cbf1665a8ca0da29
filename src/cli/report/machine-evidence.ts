/** What there is to know of the machine that a daemon runs on, without asking the daemon. */
import { X509Certificate } from 'node:crypto'
import {
  arch,
  cpus,
  freemem,
  hostname,
  loadavg,
  networkInterfaces,
  platform,
  release,
  totalmem,
  uptime,
  version as kernelVersion,
} from 'node:os'
import { type Collector, jsonText } from './collecting.ts'
import { readCgroup } from './cgroup.ts'
import { type Host, mustRead, readOr } from './host.ts'
import { readSockets } from './sockets.ts'

/** What a report about a machine needs to know beforehand. */
export interface MachineQuestion {
  host: Host
  /** Of the daemon; null where none is to be seen here. */
  pid: number | null
  /** byname's own version. */
  version: string
  /** Where byname listens. */
  ports: ReadonlySet<number>
  /** The resolv.conf that byname reads. */
  resolvConf: string
  /** Files of certificates that byname shows or verifies, and of tokens. */
  certificates: readonly string[]
}

const SYSCTLS = ['net/core/rmem_max', 'net/core/rmem_default', 'net/core/wmem_max', 'net/core/somaxconn']
  .concat(['net/core/netdev_max_backlog', 'net/ipv4/ip_local_port_range', 'net/ipv4/ip_unprivileged_port_start'])
  .concat(['net/ipv4/conf/all/route_localnet', 'net/ipv6/conf/all/disable_ipv6', 'net/netfilter/nf_conntrack_max'])
  .concat(['net/netfilter/nf_conntrack_count', 'net/netfilter/nf_conntrack_udp_timeout', 'fs/file-max'])
/** Originals of a resolv.conf that leads to a proxy: `byname vm install`, Istio's packages, systemd-resolved, NetworkManager. */
const ORIGINALS = [
  '/etc/resolv.conf.byname-original',
  '/etc/byname/upstream-resolv.conf',
  '/var/lib/istio/resolv.conf',
].concat(['/run/systemd/resolve/resolv.conf', '/run/NetworkManager/no-stub-resolv.conf'])
const SERVICE_ACCOUNT = '/var/run/secrets/kubernetes.io/serviceaccount'
const TOKENS = [`${SERVICE_ACCOUNT}/token`, '/var/run/secrets/tokens/istio-token']
const DNS_PORT = 53
const MOST_CONNTRACK_LINES = 500

/** Collectors of all of it. */
export function machineCollectors(question: MachineQuestion): Collector[] {
  const { host, pid, ports } = question
  const file = (path: string, name: string, about: string): Collector => ({
    file: `network/${name}`,
    about,
    collect: () => `${linkLine(host, path)}${mustRead(host, path)}`,
  })
  return [
    {
      file: 'versions.json',
      about: 'versions of byname, Node.js, kernel and libc',
      collect: () => jsonText(versions(question.version)),
    },
    {
      file: 'machine/system.json',
      about: 'kernel settings, processors, memory, load',
      collect: () => jsonText(system(host)),
    },
    {
      file: 'machine/cgroup.json',
      about: 'limits of the control group, and how often they were felt',
      collect: () => {
        const state = readCgroup(host, pid ?? 'self')
        if (state === null) throw new Error('no control group is to be seen below /sys/fs/cgroup')
        return jsonText({ of: pid === null ? 'this command' : `process ${pid}`, ...state })
      },
    },
    {
      file: 'machine/journal.txt',
      about: "what systemd's journal has of byname: also of one that has ended",
      collect: (signal) => journal(host, signal),
    },
    { file: 'machine/pressure.txt', about: 'pressure stall information', collect: () => pressure(host) },
    file(question.resolvConf, 'resolv.conf', `resolv.conf that byname reads (${question.resolvConf})`),
    ...(question.resolvConf === '/etc/resolv.conf'
      ? []
      : [file('/etc/resolv.conf', 'application-resolv.conf', 'resolv.conf that applications read (/etc/resolv.conf)')]),
    {
      file: 'network/original-resolv.conf',
      about: 'resolv.conf as it was before byname',
      collect: () => originals(host),
    },
    file('/etc/nsswitch.conf', 'nsswitch.conf', 'order of the sources of host names'),
    file('/etc/hosts', 'hosts', '/etc/hosts'),
    {
      file: 'network/interfaces.json',
      about: 'interfaces and addresses',
      collect: () => jsonText(networkInterfaces()),
    },
    {
      file: 'network/sockets.json',
      about: `sockets on port 53 and byname's`,
      collect: () => jsonText(readSockets(host, new Set([DNS_PORT, ...ports]))),
    },
    {
      file: 'network/conntrack.txt',
      about: 'tracked connections to port 53, with their zones',
      collect: (signal) => conntrack(host, ports, signal),
    },
    {
      file: 'machine/pod.json',
      about: "the pod's service account, without its token",
      collect: () => jsonText(pod(host)),
    },
    {
      file: 'machine/certificates.json',
      about: 'certificates and tokens in files, and when they expire',
      collect: () =>
        jsonText([
          ...question.certificates.flatMap((path) => certificatesIn(host, path)),
          ...TOKENS.flatMap((path) => tokenIn(host, path)),
        ]),
    },
  ]
}

function versions(byname: string): unknown {
  // Its own look at sockets would ask DNS for their names.
  Object.assign(process.report, { excludeNetwork: true })
  const header: unknown = process.report.getReport()
  const text = JSON.stringify(header ?? {})
  const glibc = /"glibcVersionRuntime":"([^"]+)"/.exec(text)?.[1]
  return {
    byname,
    node: process.version,
    openssl: process.versions.openssl,
    platform: platform(),
    architecture: arch(),
    kernel: release(),
    libc: glibc === undefined ? 'not glibc (musl?)' : `glibc ${glibc}`,
  }
}

function system(host: Host): unknown {
  const status = readOr(host, '/proc/self/status')
  const lines = ['Uid', 'Gid', 'CapEff', 'Seccomp', 'NoNewPrivs'].map((key) => [
    key,
    new RegExp(`^${key}:\\s*(.*)$`, 'm').exec(status)?.[1] ?? null,
  ])
  return {
    host: hostname(),
    kernel: kernelVersion(),
    processors: { count: cpus().length, model: cpus()[0]?.model ?? null },
    memoryBytes: { total: totalmem(), free: freemem() },
    upSeconds: Math.round(uptime()),
    load: loadavg(),
    thisProcess: Object.fromEntries(lines),
    settings: Object.fromEntries(
      SYSCTLS.map((name) => {
        const read = host.read(`/proc/sys/${name}`)
        return [name.replaceAll('/', '.'), 'text' in read ? read.text.trim() : null]
      }),
    ),
  }
}

function pressure(host: Host): string {
  const parts = ['cpu', 'memory', 'io'].flatMap((name) => {
    const text = readOr(host, `/proc/pressure/${name}`)
    return text === '' ? [] : [`${name}\n${text}`]
  })
  if (parts.length === 0) throw new Error('/proc/pressure is not there')
  return parts.join('\n')
}

function linkLine(host: Host, path: string): string {
  const link = host.link(path)
  return link === null ? '' : `# ${path} is a link to ${link}\n`
}

function originals(host: Host): string {
  const found = ORIGINALS.flatMap((path) => {
    const read = host.read(path)
    return 'text' in read ? [`# ${path}\n${read.text.trimEnd()}\n`] : []
  })
  if (found.length === 0) throw new Error(`there is none of ${ORIGINALS.join(', ')}: resolv.conf was not changed`)
  return found.join('\n')
}

async function journal(host: Host, signal: AbortSignal): Promise<string> {
  const args = ['--unit=byname*', '--lines=1000', '--no-pager', '--output=short-iso', '--quiet']
  const read = await host.run('journalctl', args, signal)
  if ('reason' in read) throw new Error(read.reason)
  if (read.text.trim() === '') throw new Error('the journal has no line of a unit byname')
  return read.text
}

/** Tracked connections of DNS; `zone=` in a line is its conntrack zone. */
async function conntrack(host: Host, ports: ReadonlySet<number>, signal: AbortSignal): Promise<string> {
  const ofDns = new RegExp(`[sd]port=(?:${[DNS_PORT, ...ports].join('|')})\\b`)
  const listed = await host.run('conntrack', ['-L', '-o', 'extended'], signal)
  const read = 'text' in listed ? listed : host.read('/proc/self/net/nf_conntrack')
  if ('reason' in read)
    throw new Error(`${'reason' in listed ? listed.reason : ''}; /proc/self/net/nf_conntrack: ${read.reason}`)
  const lines = read.text.split('\n').filter((line) => ofDns.test(line))
  const more = lines.length - MOST_CONNTRACK_LINES
  return `# ${lines.length} entries of port 53\n${lines.slice(0, MOST_CONNTRACK_LINES).join('\n')}\n${more > 0 ? `# and ${more} more\n` : ''}`
}

function pod(host: Host): unknown {
  const namespace = host.read(`${SERVICE_ACCOUNT}/namespace`)
  if ('reason' in namespace && host.list(SERVICE_ACCOUNT).length === 0)
    throw new Error(`${SERVICE_ACCOUNT} is not there: this is no pod, or one without a service account`)
  return {
    namespace: 'text' in namespace ? namespace.text.trim() : null,
    files: host.list(SERVICE_ACCOUNT).filter((name) => !name.startsWith('..')),
    tokens: TOKENS.flatMap((path) => tokenIn(host, path)),
  }
}

/** What a token says of itself (RFC 7519), not the token. */
function tokenIn(host: Host, path: string): unknown[] {
  const read = host.read(path)
  if ('reason' in read) return []
  try {
    const claims: Record<string, unknown> = JSON.parse(
      Buffer.from(read.text.split('.')[1] ?? '', 'base64url').toString('utf8'),
    )
    const { iss, sub, aud, exp, iat } = claims
    const expires =
      typeof exp === 'number' ? { expires: timeText(exp * 1000), secondsLeft: Math.round(exp - Date.now() / 1000) } : {}
    return [
      {
        kind: 'claims',
        file: path,
        issuer: iss,
        subject: sub,
        audience: aud,
        ...(typeof iat === 'number' ? { issued: timeText(iat * 1000) } : {}),
        ...expires,
      },
    ]
  } catch {
    return [{ kind: 'claims', file: path, note: 'is no JSON Web Token' }]
  }
}

function timeText(ms: number): string | null {
  return Math.abs(ms) < 8.64e15 ? new Date(ms).toISOString() : null
}

function certificatesIn(host: Host, path: string): unknown[] {
  const read = host.read(path)
  if ('reason' in read) return [{ kind: 'certificate', file: path, problem: read.reason }]
  const texts = read.text.match(/-----BEGIN CERTIFICATE-----[^]+?-----END CERTIFICATE-----/g) ?? []
  return texts.slice(0, 8).map((pem) => {
    try {
      const { subject, subjectAltName, issuer, validFrom, validTo } = new X509Certificate(pem)
      const toMs = Date.parse(validTo)
      return {
        kind: 'certificate',
        file: path,
        subject,
        names: subjectAltName,
        issuer,
        from: timeText(Date.parse(validFrom)),
        expires: timeText(toMs),
        secondsLeft: Math.round((toMs - Date.now()) / 1000),
      }
    } catch {
      return { kind: 'certificate', file: path, problem: 'is no certificate' }
    }
  })
}
