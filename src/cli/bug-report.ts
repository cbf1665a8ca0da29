import { existsSync, statSync } from 'node:fs'
import { link, open, rename, rm } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { dirname, join, resolve } from 'node:path'
import { type HostPort, socketText } from '../config/address.ts'
import { ConfigError } from '../config/config-error.ts'
import type { LoadedConfig } from '../config/load.ts'
import { version } from '../version.ts'
import { ADMIN_OPTIONS, getFromAdmin } from './admin-client.ts'
import type { Machine } from '../capture/machine.ts'
import { type CommandArguments, parseArguments, UsageError } from './arguments.ts'
import { CAPTURE_OPTIONS, readCaptureOptions } from './capture-options.ts'
import { type Command, type CommandContext, ExitCode } from './command.ts'
import { CONFIG_OPTION, ISTIO_DIR_OPTION, LISTEN_OPTION, SET_OPTION } from './config-options.ts'
import { endpointAddress } from './endpoint-address.ts'
import { bytesText, plural } from './figures.ts'
import { printable } from '../base/printable.ts'
import type { AskDaemon } from './report/daemon-evidence.ts'
import type { Host } from './report/host.ts'
import type { BynameProcess } from './report/processes.ts'
import type { Report, ReportOptions } from './report/report.ts'
import type { Secrets } from './report/secrets.ts'

const MODE = 0o600
const SERVICE_CONFIG = '/etc/byname/byname.yaml'
const ISTIO_FILES = ['var/lib/istio/envoy/cluster.env', 'var/lib/istio/envoy/sidecar.env', 'etc/istio/config/mesh']
const OWN_FILES = ['cluster.env', 'sidecar.env', 'mesh.yaml']
const MOST_MESH_FILES = 50
/** A scrape takes some milliseconds. */
const METRICS_MS = 4000
/** A scrape of all metrics has some 100 KiB. */
const MOST_METRICS_BYTES: number = 16 * 1024 * 1024

/** `byname bug-report`: all that somebody who helps from afar needs, in one archive. */
export const bugReportCommand: Command = {
  name: 'bug-report',
  summary: 'Write all that is needed to find a fault into one archive.',
  options: {
    output: {
      value: 'FILE',
      help: 'where to write it, - for standard output (default byname-bug-report-TIME.tar.gz here)',
    },
    anonymise: { help: 'replace names and addresses, the same one by the same everywhere' },
    config: CONFIG_OPTION,
    listen: LISTEN_OPTION,
    set: SET_OPTION,
    'istio-dir': ISTIO_DIR_OPTION,
    ...ADMIN_OPTIONS,
    metrics: {
      value: 'ADDR:PORT',
      help: 'metrics endpoint of the daemon (default as it is configured)',
    },
  },
  details: `Open index.html in it: what is wrong comes first, then the evidence. It holds versions, configuration, name table,
state of the daemon and its log, resolv.conf and hosts file, redirect, sockets, limits of the machine, and what came of
some questions asked now. Secrets are left out; names and addresses are not, unless --anonymise is given. It takes some
10 seconds and works without a daemon: the report says what could not be collected, and why. As root it sees more.`,
  examples: [
    'byname bug-report',
    'byname bug-report --anonymise --output /tmp/report.tar.gz',
    'byname bug-report --output - > report.tar.gz',
  ],
  async run(given, context) {
    const now = new Date()
    const output = given.text('output') ?? `byname-bug-report-${now.toISOString().replace(/[-:]|\.\d+/g, '')}.tar.gz`
    mustBeWritable(output)
    const report = await make(given, context, now)
    if (output === '-') context.out(report.archive)
    else await writeNew(output, report.archive)
    for (const { severity, text } of report.findings) context.err(`${severity}: ${printable(text)}\n`)
    const to = output === '-' ? 'standard output' : output
    const missing = report.missing.length === 0 ? '' : `, ${report.missing.length} not collected`
    context.err(`${to}: ${plural(report.files, 'file')} in ${bytesText(report.archive.length)}${missing}\n`)
    return ExitCode.done
  },
}

async function make(given: CommandArguments, context: CommandContext, now: Date): Promise<Report> {
  const { makeReport } = await import('./report/report.ts')
  const { thisHost } = await import('./report/host.ts')
  const { findProcesses } = await import('./report/processes.ts')
  const { Secrets } = await import('./report/secrets.ts')
  const { thisMachine } = await import('../capture/machine.ts')
  const { exchangeTcp, exchangeUdp } = await import('./dns-exchange.ts')
  const host = thisHost(context.env['PATH'] ?? '')
  const machine = thisMachine(context.env['PATH'] ?? '')
  const processes = findProcesses(host, process.pid)
  const secrets = new Secrets()
  const start = startOf(given, context, processes)
  learn(secrets, host, start, context, processes)
  const configuration = await loadOrProblems(start)
  if ('config' in configuration) learnOfMesh(secrets, host, configuration.config)
  const metrics = given.text('metrics')
  const metricsEndpoint = metrics === undefined ? null : endpointAddress('metrics', metrics)
  const asking = adminContext(context, configuration)
  return await makeReport({
    host,
    version,
    processes,
    configuration,
    environment: context.env,
    askAdmin: (path) => getFromAdmin(path, given, asking),
    askMetrics: (configured) => askEndpoint(metricsEndpoint ?? configured),
    exchange: (server, query, transport, timeoutMs) =>
      transport === 'tcp' ? exchangeTcp(server, query, timeoutMs) : exchangeUdp(server, query, timeoutMs),
    machine,
    capture: captureOf(processes, machine),
    secrets,
    isAnonymised: given.has('anonymise'),
    now,
    tell: (line) => context.err(`${printable(secrets.clean(line))}\n`),
  })
}

/** How a daemon was started here, or how this command would start one. */
interface Start {
  file: string | undefined
  istioFolder: string | undefined
  env: Readonly<Record<string, string | undefined>>
  listen: readonly string[]
  set: readonly string[]
}

/** What this command is given counts; else what a daemon that runs here was given. */
function startOf(given: CommandArguments, { env }: CommandContext, processes: readonly BynameProcess[]): Start {
  const isTold = ['config', 'listen', 'set', 'istio-dir'].some((option) => given.has(option)) || env['BYNAME_CONFIG']
  const [daemon] = processes
  const its = isTold || daemon === undefined ? null : argumentsOf(daemon)
  const from = its ?? given
  const file = from.text('config') ?? (its === null ? env : daemon!.environment)['BYNAME_CONFIG']
  return {
    file: file || (existsSync(SERVICE_CONFIG) && !isTold ? SERVICE_CONFIG : undefined),
    istioFolder: from.text('istio-dir'),
    env: its === null || Object.keys(daemon!.environment).length === 0 ? env : daemon!.environment,
    listen: from.texts('listen'),
    set: from.texts('set'),
  }
}

/** Arguments of a daemon; null where they mean nothing to this version. */
function argumentsOf(daemon: BynameProcess): CommandArguments | null {
  const at = daemon.arguments.indexOf('run')
  if (at < 0) return null
  const option = { value: 'X', isMultiple: true, help: '' }
  const known = [
    'config',
    'listen',
    'set',
    'istio-dir',
    'backend',
    'port',
    'resolv-conf',
    'uid',
    'gid',
    'exclude',
    'exclude-interface',
    'user',
  ]
  const flags = ['capture', 'all-dns', 'no-ipv6', 'force']
  try {
    return parseArguments(
      {
        options: {
          ...Object.fromEntries(known.map((name) => [name, option])),
          ...Object.fromEntries(flags.map((name) => [name, { help: '' }])),
        },
      },
      daemon.arguments.slice(at + 1),
    )
  } catch {
    return null
  }
}

async function loadOrProblems(start: Start): Promise<LoadedConfig | { problems: readonly string[] }> {
  const { loadConfig } = await import('../config/load.ts')
  const { parseAssignments } = await import('../config/assignment.ts')
  try {
    const listen = start.listen.length === 0 ? [] : [{ path: ['listen'], value: start.listen, from: '--listen' }]
    return loadConfig({
      file: start.file,
      istioFolder: start.istioFolder,
      env: { ...start.env },
      flags: [...parseAssignments(start.set, '--set'), ...listen],
    })
  } catch (error) {
    if (error instanceof ConfigError) return { problems: error.problems }
    return { problems: [error instanceof Error ? error.message : String(error)] }
  }
}

/** Where the admin endpoint is by the configuration, unless somebody said otherwise. */
function adminContext(
  context: CommandContext,
  configuration: Awaited<ReturnType<typeof loadOrProblems>>,
): CommandContext {
  if (!('config' in configuration)) return context
  const { listen, token } = configuration.config.admin
  const env = { ...context.env }
  if (listen !== null && listen.port !== 0) env['BYNAME_ADMIN_LISTEN'] ||= listen.text
  if (token !== '' && !env['BYNAME_ADMIN_TOKEN']) env['BYNAME_ADMIN_TOKEN_FILE'] ||= token
  return { ...context, env }
}

/** Learns what is secret here from all that may hold a secret. */
function learn(
  secrets: Secrets,
  host: Host,
  { file, istioFolder, set }: Start,
  context: CommandContext,
  processes: readonly BynameProcess[],
): void {
  for (const variables of [context.env, ...processes.map(({ environment }) => environment)]) {
    secrets.addFrom(variables, host)
    for (const value of Object.values(variables))
      if (value !== undefined && /[\n{]/.test(value)) secrets.addFromYaml(value, host)
  }
  for (const written of [set, ...processes.map((each) => each.arguments)].flat())
    secrets.addFromYaml(written.replace(/^--set=/, ''), host)
  const folders =
    istioFolder === undefined
      ? ISTIO_FILES.map((path) => join('/', path))
      : OWN_FILES.map((path) => join(istioFolder, path))
  const configs = [file, SERVICE_CONFIG].filter((path) => path !== undefined)
  for (const path of [...configs, ...folders]) {
    const read = host.read(resolve(path))
    if ('text' in read) secrets.addFromYaml(read.text, host)
  }
}

/** Learns what the configuration and the mesh files that it names hold. */
function learnOfMesh(secrets: Secrets, host: Host, config: LoadedConfig['config']): void {
  secrets.addFrom(config, host)
  const { source } = config.mesh
  if (source.kind !== 'files') return
  for (const name of host.list(resolve(source.folder)).slice(0, MOST_MESH_FILES)) {
    const read = host.read(resolve(source.folder, name))
    if ('text' in read) secrets.addFromYaml(read.text, host)
  }
}

/**
 * What the redirect should be: as a daemon was told (`run --capture`), else as "byname capture apply" makes it with or
 * without --all-dns, whichever fits what is there.
 */
function captureOf(processes: readonly BynameProcess[], machine: Machine): ReportOptions['capture'] {
  return (port) => {
    const guard = processes.map(argumentsOf).find((its) => its?.has('capture'))
    if (guard) return { candidates: [readCaptureOptions(guard, machine)], isExpected: true }
    const plain = ['--port', String(port)]
    const candidates = [plain, [...plain, '--all-dns', '--force']].flatMap((argv) => {
      try {
        return [
          readCaptureOptions(parseArguments({ options: { ...CAPTURE_OPTIONS, force: { help: '' } } }, argv), machine),
        ]
      } catch (error) {
        // A resolv.conf without name servers: only all of DNS can be captured then.
        if (error instanceof UsageError || error instanceof ConfigError) return []
        throw error
      }
    })
    return { candidates, isExpected: false }
  }
}

/** Asks an endpoint without a token. */
function askEndpoint(endpoint: Pick<HostPort, 'host' | 'port'> | null): AskDaemon {
  if (endpoint === null) return () => Promise.reject(new Error('metrics.listen is off'))
  const { host, port } = endpoint
  const where = socketText(host, port)
  return (path, given) =>
    new Promise((done, fail) => {
      const signal = AbortSignal.any([given, AbortSignal.timeout(METRICS_MS)])
      const refuse = (error: Error): void => {
        const why = signal.aborted ? `does not answer within ${METRICS_MS / 1000} s` : error.message
        fail(new Error(`${where}: ${why}`, { cause: error }))
      }
      const asked = request({ host, port, path, signal, agent: false }, (response) => {
        const chunks: Buffer[] = []
        let bytes = 0
        response.on('data', (chunk: Buffer) => {
          chunks.push(chunk)
          bytes += chunk.length
          if (bytes > MOST_METRICS_BYTES) asked.destroy(new Error('the answer does not end'))
        })
        response.on('error', refuse)
        response.on('end', () => done(Buffer.concat(chunks).toString('utf8')))
      })
      asked.on('error', refuse)
      asked.end()
    })
}

/** @throws Error before anything is collected, if the archive could not be written */
function mustBeWritable(output: string): void {
  if (output === '') throw new UsageError('--output needs a file')
  if (output === '-') {
    if (process.stdout.isTTY)
      throw new UsageError('--output -: an archive does no good on a terminal; lead it into a file')
    return
  }
  if (existsSync(output)) throw new Error(`${output} exists already; remove it, or name another file with --output`)
  const folder = dirname(resolve(output))
  if (!existsSync(folder) || !statSync(folder).isDirectory())
    throw new Error(`${folder} is no folder; name a file in one that exists with --output`)
}

/** Renames where nothing is. @throws with code EEXIST where something is */
async function putInPlace(from: string, to: string): Promise<void> {
  try {
    // Unlike a rename it fails where there is a file.
    await link(from, to)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined
    if (code === 'EEXIST') throw error
    // A file system without hard links: whoever makes the file is the one who may replace it.
    await (await open(to, 'wx', MODE)).close()
    await rename(from, to)
  }
}

/** Writes a file that must be new, whole or not at all. @throws Error in one line */
async function writeNew(path: string, bytes: Uint8Array): Promise<void> {
  const beside = `${path}.${process.pid}.${randomBytes(8).toString('hex')}.tmp`
  try {
    const file = await open(beside, 'wx', MODE)
    try {
      await file.writeFile(bytes)
      await file.sync()
    } finally {
      await file.close()
    }
    await putInPlace(beside, path)
  } catch (cause) {
    const code = cause instanceof Error && 'code' in cause ? String(cause.code) : String(cause)
    const why =
      code === 'EEXIST'
        ? 'exists already; remove it, or name another file with --output'
        : `cannot be written (${code}); name another file with --output`
    throw new Error(`${path} ${why}`, { cause })
  } finally {
    await rm(beside, { force: true })
  }
}
