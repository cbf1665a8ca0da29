/**
 * Makes a bug report: asks the daemon, looks at the machine, asks names, takes secrets out, and says what it all means.
 *
 * ```
 *  configuration, processes ─→ daemon ─→ machine, metrics, self-tests ─→ capture ─→ secrets out ─→ [names out] ─→ findings, page
 * ```
 */
import { gzipSync } from 'node:zlib'
import type { Machine } from '../../capture/machine.ts'
import type { CaptureOptions } from '../../capture/plan.ts'
import type { LoadedConfig } from '../../config/load.ts'
import { redact } from '../../observe/redact.ts'
import { durationText, plural } from '../figures.ts'
import { Anonymiser } from './anonymise.ts'
import { captureState } from './capture-evidence.ts'
import { type Collected, type Collector, collectAll, jsonText } from './collecting.ts'
import { type AskDaemon, DaemonFile, daemonCollectors, metricsCollectors, upstreamsLater } from './daemon-evidence.ts'
import { at, Evidence, listOf, type Missing, numberOf, textOf } from './evidence.ts'
import { type Finding, findingsOf } from './findings.ts'
import type { Host } from './host.ts'
import { indexPage } from './index-page.ts'
import { machineCollectors } from './machine-evidence.ts'
import { type BynameProcess, threadTimes } from './processes.ts'
import { redactDocument, type Secrets } from './secrets.ts'
import { type Exchange, runSelfTests, type TestServer } from './self-tests.ts'
import { type ArchiveFile, writeTar } from './tar.ts'

/** What a report is made with. */
export interface ReportOptions {
  host: Host
  /** byname's own version. */
  version: string
  /** Daemons that run here. */
  processes: readonly BynameProcess[]
  /** The configuration as this command finds it, or all that is wrong with it. */
  configuration: LoadedConfig | { problems: readonly string[] }
  /** Variables of this process. */
  environment: Readonly<Record<string, string | undefined>>
  askAdmin: AskDaemon
  /** Asks the metrics endpoint, where it is configured to be; null: nowhere. */
  askMetrics: (configured: { host: string; port: number } | null) => AskDaemon
  exchange: Exchange
  machine: Machine
  /** What the redirect to `port` may be, and whether a daemon was told to have it. @throws Error if that is not to be known */
  capture: (port: number) => { candidates: readonly CaptureOptions[]; isExpected: boolean }
  /** Secrets that are known before anything is collected. */
  secrets: Secrets
  isAnonymised: boolean
  now: Date
  /** Hears of each part as it is there, for people. */
  tell: (line: string) => void
}

/** A report. */
export interface Report {
  /** gzip of a tar archive. */
  archive: Buffer
  findings: readonly Finding[]
  files: number
  missing: readonly Missing[]
}

const DAEMON_MS = 15_000
const MACHINE_MS = 15_000
/** Longer than byname takes to give up (`upstream.deadlineMs`): its SERVFAIL says more than silence. */
const SELF_TEST_MS = 6000
const METRICS_APART_MS = 5000
const CAPTURE_MS = 30_000
const OUTSIDE_NAME = 'example.com'
const DEFAULT_METRICS = { host: '127.0.0.1', port: 9153 }
const DEFAULT_PORT = 15_053
/** Variables that say something about byname; of the others of an environment not even the names are told. */
const OURS =
  /^(?:BYNAME_|ISTIO_|PILOT_|POD_|DNS_|CA_|XDS_|TRUST_DOMAIN$|INSTANCE_IP|SERVICE_ACCOUNT$|NODE_NAME$|HOST_IP$|PROXY_CONFIG$|PROV_CERT$|OUTPUT_CERTS$|CREDENTIAL_|FILE_MOUNTED|NODE_OPTIONS$|NODE_EXTRA|MALLOC_|UV_|LISTEN_|STATE_DIRECTORY$|KUBERNETES_SERVICE_)/

/** Makes a report. Never rejects for what cannot be collected: that is part of the report. */
export async function makeReport(options: ReportOptions): Promise<Report> {
  const { host, secrets, tell } = options
  const collected: Collected[] = []
  const collect = async (collectors: readonly Collector[], deadlineMs: number): Promise<void> => {
    collected.push(...(await collectAll(collectors, deadlineMs, (each) => tell(progressLine(each)))))
  }
  let table: unknown
  tell('asking the daemon')
  await collect([...ownCollectors(options), ...daemonCollectors(options.askAdmin, (read) => (table = read))], DAEMON_MS)
  const known = new Evidence(new Map(collected.flatMap((each) => ('text' in each ? [[each.file, each.text]] : []))), [])
  const running = runningDaemon(known, options)
  tell(`looking at the machine and asking names; two scrapes ${METRICS_APART_MS / 1000} s apart`)
  await collect(
    [
      ...machineCollectors({ host, version: options.version, ...running }),
      ...metricsCollectors(options.askMetrics(running.metrics), METRICS_APART_MS),
      {
        file: 'machine/processes.json',
        about: "byname's processes, and what their threads use",
        collect: (signal) => processEvidence(options, signal),
      },
      {
        file: 'self-tests.json',
        about: 'questions that were asked now, and what came',
        collect: async () =>
          jsonText(
            await runSelfTests(
              { servers: running.servers, table, outsideName: OUTSIDE_NAME, timeoutMs: SELF_TEST_MS },
              options.exchange,
            ),
          ),
      },
    ],
    MACHINE_MS,
  )
  // Last: its programs are waited for without anything beside them.
  await collect(
    [
      ...(known.has(DaemonFile.upstreams) ? [upstreamsLater(options.askAdmin)] : []),
      {
        file: 'network/capture.json',
        about: 'the redirect to byname: rules expected and there',
        collect: () => {
          const { candidates, isExpected } = options.capture(running.port)
          return jsonText(redact(captureState(candidates, isExpected, options.machine)))
        },
      },
    ],
    CAPTURE_MS,
  )
  for (const each of collected) secrets.addPaths('text' in each ? each.text : each.reason)
  return finish(collected, options)
}

/** Without secrets, and where asked for without names; with findings and page, packed. */
function finish(collected: readonly Collected[], options: ReportOptions): Report {
  const { secrets, now, version } = options
  const clean = collected.map((each): Collected => {
    const { file, about } = each
    return 'text' in each
      ? { file, about: secrets.clean(about), text: secrets.clean(each.text) }
      : { file, about: secrets.clean(about), reason: secrets.clean(each.reason) }
  })
  const shown = options.isAnonymised ? new Anonymiser().all(clean) : clean
  const files = new Map(shown.flatMap((each) => ('text' in each ? [[each.file, each.text]] : [])))
  const missing = shown
    .flatMap((each) => ('reason' in each ? [each] : []))
    .toSorted((a, b) => (a.file < b.file ? -1 : 1))
  const evidence = new Evidence(files, missing)
  const findings = findingsOf(evidence).map((finding) => ({
    ...finding,
    files: finding.files.filter((file) => files.has(file)),
  }))
  const madeAt = now.toISOString()
  const page = indexPage({
    madeAt,
    version,
    isAnonymised: options.isAnonymised,
    findings,
    files: shown
      .flatMap((each) =>
        'text' in each ? [{ file: each.file, about: each.about, bytes: Buffer.byteLength(each.text) }] : [],
      )
      .toSorted((a, b) => (a.file < b.file ? -1 : 1)),
    missing,
    facts: factsOf(evidence),
  })
  const archived: ArchiveFile[] = [
    ...[...files].map(([path, text]) => ({ path, bytes: Buffer.from(text) })),
    { path: 'index.html', bytes: Buffer.from(page) },
    { path: 'findings.json', bytes: Buffer.from(jsonText({ madeAt, version, findings, missing })) },
  ]
  const folder = `byname-bug-report-${madeAt.replace(/[-:]|\.\d+/g, '')}`
  return {
    archive: gzipSync(writeTar(folder, archived, now.getTime() / 1000)),
    findings,
    files: archived.length,
    missing,
  }
}

function progressLine(each: Collected): string {
  return `  ${each.file}: ${'text' in each ? plural(Buffer.byteLength(each.text), 'byte') : `not collected: ${each.reason}`}`
}

/** What this command knows without asking anybody. */
function ownCollectors({ configuration, environment, processes }: ReportOptions): Collector[] {
  return [
    {
      file: 'configuration.json',
      about: 'the configuration as this command finds it, with the place of each value',
      collect: () => jsonText(configurationEvidence(configuration)),
    },
    {
      file: 'environment.json',
      about: "variables that say something about byname, the daemon's and this command's",
      collect: () =>
        jsonText({
          daemons: processes.map(({ pid, environment: its }) => ({ pid, variables: ours(its) })),
          command: { variables: ours(environment) },
        }),
    },
  ]
}

function configurationEvidence(configuration: ReportOptions['configuration']): unknown {
  if ('problems' in configuration) return { problems: configuration.problems.map(withoutValue) }
  const { config, file, warnings } = configuration
  return { file, warnings, problems: [], config: redactDocument(config) }
}

/** What is written under a key that holds a secret is quoted in no problem. */
function withoutValue(problem: string): string {
  return /token|passw|secret|key/i.test(problem)
    ? problem.replace(/, not .*$/s, ', not what is written there')
    : problem
}

function ours(variables: Readonly<Record<string, string | undefined>>): unknown {
  const kept = Object.entries(variables).filter(([name]) => OURS.test(name))
  return redactDocument(
    Object.fromEntries(
      kept.toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([name, value]) => [name, parsed(value ?? '')]),
    ),
  )
}

/** ISTIO_METAJSON_… hold JSON, whose secrets have names. */
function parsed(value: string): unknown {
  if (!/^\s*[{[]/.test(value)) return value
  try {
    return JSON.parse(value)
  } catch {
    return value
  }
}

/** What the daemon says of itself, else the configuration, else the defaults. */
function runningDaemon(
  known: Evidence,
  { configuration, processes }: ReportOptions,
): {
  pid: number | null
  port: number
  ports: ReadonlySet<number>
  servers: TestServer[]
  metrics: { host: string; port: number } | null
  resolvConf: string
  certificates: string[]
} {
  const own: unknown = 'config' in configuration ? configuration.config : undefined
  const its = known.at(DaemonFile.config) ?? own
  const listeners = [...known.list(DaemonFile.status, 'listeners'), ...listOf(at(its, 'listen'))]
  const servers = listeners.flatMap((each): TestServer[] => {
    const [address, port] = [textOf(at(each, 'address')), numberOf(at(each, 'port'))]
    if (address === null || port === null || port === 0) return []
    const asked = reachable(address)
    return [{ address: asked, port, text: asked.includes(':') ? `[${asked}]:${port}` : `${asked}:${port}` }]
  })
  const pid = known.number(DaemonFile.status, 'pid')
  const port = servers[0]?.port ?? DEFAULT_PORT
  const process = processes.find((each) => each.pid === pid) ?? (pid === null ? processes[0] : undefined)
  return {
    pid: process?.pid ?? null,
    port,
    ports: new Set([port, ...servers.map((each) => each.port)]),
    servers: servers.length > 0 ? servers : [{ address: '127.0.0.1', port, text: `127.0.0.1:${port}` }],
    metrics: metricsOf(at(its, 'metrics')),
    resolvConf: textOf(at(its, 'upstream', 'resolvConf')) ?? '/etc/resolv.conf',
    certificates: certificateFiles(its),
  }
}

function metricsOf(configured: unknown): { host: string; port: number } | null {
  const listen = at(configured, 'listen')
  if (listen === null) return null
  const [host, port] = [textOf(at(listen, 'address')), numberOf(at(listen, 'port'))]
  return host === null || port === null ? DEFAULT_METRICS : { host: reachable(host), port }
}

/** One that listens on every address is asked on loopback. */
function reachable(address: string): string {
  return address === '0.0.0.0' ? '127.0.0.1' : address === '::' ? '::1' : address
}

function certificateFiles(config: unknown): string[] {
  const source = at(config, 'mesh', 'source')
  const folder = textOf(at(source, 'certificateFolder')) ?? ''
  const files = [
    textOf(at(source, 'tls', 'rootCert')),
    textOf(at(source, 'tls', 'cert')),
    textOf(at(config, 'upstream', 'rootCert')),
  ]
  if (folder !== '') files.push(`${folder}/cert-chain.pem`)
  return [...new Set(files.filter((file) => file !== null))].filter((file) => file !== '' && file !== 'SYSTEM')
}

async function processEvidence({ host, processes }: ReportOptions, signal: AbortSignal): Promise<string> {
  if (processes.length === 0) throw new Error('no process of byname is to be seen here')
  const startedAt = performance.now()
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, METRICS_APART_MS / 2)
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
  })
  const seconds = (performance.now() - startedAt) / 1000
  const busy = processes.flatMap(({ pid, threads }) =>
    threadTimes(host, pid).flatMap(({ id, name, seconds: used }) => {
      const before = threads.find((thread) => thread.id === id)
      const share = before === undefined ? 0 : (used - before.seconds) / seconds
      return share > 0 ? [{ pid, thread: id, name, share: Math.round(share * 1000) / 1000 }] : []
    }),
  )
  // The environment has a file of its own.
  const shown = processes.map((process) => ({ ...process, environment: undefined }))
  return jsonText({ processes: redact(shown), busy: busy.toSorted((a, b) => b.share - a.share) })
}

function factsOf(evidence: Evidence): [string, string][] {
  const file = DaemonFile.status
  const facts: [string, string | null][] = [
    [
      'byname',
      evidence.string(file, 'version') ??
        `does not say (this command: ${evidence.string('versions.json', 'byname') ?? '?'})`,
    ],
    ['up for', inTime(evidence.number(file, 'uptimeSeconds'))],
    ['driver', evidence.string(file, 'driver', 'name')],
    ['table', tableText(evidence)],
    [
      'control plane',
      evidence.at(file, 'xds', 'connected') === undefined
        ? null
        : evidence.at(file, 'xds', 'connected') === true
          ? 'connected'
          : 'away',
    ],
    ['Node.js', evidence.string('versions.json', 'node')],
    ['kernel', evidence.string('versions.json', 'kernel')],
    ['libc', evidence.string('versions.json', 'libc')],
  ]
  return facts.flatMap(([name, value]): [string, string][] => (value === null ? [] : [[name, value]]))
}

function tableText(evidence: Evidence): string | null {
  const hosts = evidence.number(DaemonFile.status, 'table', 'hosts')
  if (hosts === null) return null
  const age = evidence.number(DaemonFile.status, 'table', 'ageSeconds')
  return `${plural(hosts, 'host')} from ${evidence.string(DaemonFile.status, 'table', 'source') ?? '?'}${age === null ? '' : `, ${durationText(age)} old`}`
}

function inTime(seconds: number | null): string | null {
  return seconds === null ? null : durationText(seconds)
}
