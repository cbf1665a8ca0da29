import { ConfigError } from '../config/config-error.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import type { FilesExamination } from '../daemon/file-check.ts'
import { type Command, ExitCode } from './command.ts'
import {
  CONFIG_OPTION,
  givenLoader,
  ISTIO_DIR_OPTION,
  LISTEN_OPTION,
  SET_OPTION,
  settingsHelp,
} from './config-options.ts'
import { alignColumns } from './text-columns.ts'
import { printable } from '../base/printable.ts'

/** Where systemd-resolved listens, and where it writes what it asks itself (systemd-resolved(8)). */
const RESOLVED: ReadonlySet<string> = new Set(['127.0.0.53', '127.0.0.54'])
const RESOLVED_FILE = '/run/systemd/resolve/resolv.conf'

/** `byname check`: validates configuration and environment. */
export const checkCommand: Command = {
  name: 'check',
  summary: 'Validate the configuration and the environment.',
  options: {
    config: CONFIG_OPTION,
    listen: LISTEN_OPTION,
    set: SET_OPTION,
    'istio-dir': ISTIO_DIR_OPTION,
    connect: { help: 'reach the control plane once, and say how far it came' },
  },
  details: `Says what byname would do with them, and reads every file that they name. What "byname run" would refuse ends
it with exit code 2, and so does a plug-in that cannot be used; what it would only log otherwise is a warning here. Each
line names file, line and key.`,
  settings: settingsHelp,
  examples: ['byname check --config byname.yaml', 'byname check --connect'],
  async run(given, context) {
    const loaded = (await givenLoader(given, context))()
    const { examineStart } = await import('../daemon/start-check.ts')
    const { examineFiles } = await import('../daemon/file-check.ts')
    const { warnings: ofStart } = examineStart(loaded)
    const files = await examineFiles(loaded.config)
    await examinePlugins(loaded)
    const ofFiles = files.warnings.map(({ path, message }) => `${loaded.placeOf(path)}: ${message}`)
    const warnings = [...loaded.warnings, ...ofStart, ...ofFiles]
    const rows = understood(loaded, files)
    context.out(alignColumns(rows.map((row) => row.map(printable))))
    for (const warning of warnings) context.out(`warning: ${printable(warning)}\n`)
    context.out(warnings.length === 0 ? 'The configuration is good.\n' : 'The configuration can be used.\n')
    if (!given.has('connect')) return ExitCode.done
    const { connectOnce } = await import('../daemon/connect-check.ts')
    const isConnected = await connectOnce(
      loaded.config,
      ({ step, isDone, text }) => context.out(`${step}: ${isDone ? '' : 'FAILED: '}${printable(text)}\n`),
      context.signal,
    )
    return isConnected ? ExitCode.done : ExitCode.failed
  },
}

/** Loads every plug-in and tries it. @throws ConfigError with those that cannot be used */
async function examinePlugins({ config, placeOf }: LoadedConfig): Promise<void> {
  if (config.plugins.length === 0) return
  const { pluginProblems } = await import('../daemon/plugin-files.ts')
  const problems = pluginProblems(config.plugins).flatMap((problem, k) =>
    problem === null ? [] : [`${placeOf(['plugins', k, 'file'])}: ${problem}`],
  )
  if (problems.length > 0) throw new ConfigError(problems)
}

function understood(loaded: LoadedConfig, files: FilesExamination): string[][] {
  const { config, file } = loaded
  const { upstream, cache } = config
  return [
    ['configuration', file ?? 'defaults and environment'],
    ['listen', `${config.listen.map((address) => address.text).join(', ')} (UDP and TCP)`],
    ...identityRows(loaded),
    ['mesh names', sourceText(config, files)],
    ['other names', upstreamText(config, files)],
    ...(config.aaaa === 'on' ? [] : [['AAAA outside the mesh', aaaaText(files)]]),
    ...upstream.routes.map((route) => [
      'route',
      `${route.domains.join(', ') || `rules:${route.name}`} to ${route.servers.map((server) => server.label).join(', ')}, ${route.policy}`,
    ]),
    ...rulesRow(config, files),
    [
      'access',
      config.access.map((prefix) => prefix.text).join(', ') || 'this machine (and private ranges on a wildcard)',
    ],
    ['cache', cache.maxBytes === 0 ? 'off' : `${cache.maxBytes.toLocaleString('en-US')} bytes`],
    ...config.plugins.map(({ file: path, timeoutUs, maxMemoryBytes, onError }) => [
      'plug-in',
      `${path}, tried: ${timeoutUs} µs a call, ${maxMemoryBytes.toLocaleString('en-US')} bytes of memory, onError: ${onError}`,
    ]),
    ['metrics', config.metrics.listen?.text ?? 'off'],
    ['admin', `${config.admin.listen?.text ?? 'off'}${config.admin.token === '' ? '' : ', with a token'}`],
  ]
}

/** Each part of the identity, and what is told of it to the control plane, with the place that says so. */
function identityRows({ config, writtenAt }: LoadedConfig): string[][] {
  const { identity, istio, mesh } = config
  const rows = Object.entries(identity).flatMap(([key, value]) => {
    const text =
      typeof value === 'string'
        ? value
        : Object.entries(value)
            .map(([name, each]) => `${name}=${each}`)
            .join(', ')
    if (key === 'domain' && writtenAt(['identity', 'domain']) === null)
      return [['identity.domain', `${text} (of the namespace)`]]
    return text === '' ? [] : [[`identity.${key}`, `${text}${placeText(writtenAt(['identity', key]), istio.origins)}`]]
  })
  if (mesh.source.kind !== 'xds') return rows
  const metadata = Object.entries(istio.metadata).map(([key, value]) => [
    `metadata ${key}`,
    `${typeof value === 'string' ? value : JSON.stringify(value)}${placeText(`ISTIO_META_${key}`, istio.origins)}`,
  ])
  return [...rows, ...metadata]
}

/** ` (POD_NAMESPACE in vm/cluster.env)`, ` (default)`. */
function placeText(from: string | null, origins: Readonly<Record<string, string>>): string {
  if (from === null) return ' (default)'
  const file = origins[from]
  if (file === undefined) return ` (${from})`
  return file.includes('/') ? ` (${from} in ${file})` : ` (${file})`
}

function sourceText({ mesh: { source } }: Config, { sourceCount }: FilesExamination): string {
  if (source.kind === 'none') return 'none'
  if (source.kind === 'table') {
    return `from the table ${source.file}${sourceCount === null ? '' : ` (${sourceCount} hosts)`}`
  }
  if (source.kind === 'files') {
    return `from the mesh files in ${source.folder}${sourceCount === null ? '' : ` (${sourceCount} files)`}`
  }
  const { tls, token, certificate } = source
  const addresses = source.addresses.map((address) => address.text).join(', then ')
  const mode = source.delta ? 'delta' : 'state of the world'
  return `over xDS (${mode}) from ${addresses}, ${tls === null ? 'plaintext' : 'TLS'}${token === '' ? '' : `, token ${token}`}${certificate === 'none' ? '' : ', a certificate of its own'}`
}

function rulesRow({ egress, rules }: Config, { ruleNames }: FilesExamination): string[][] {
  const how = egress.audit ? 'would be denied (audit)' : `are denied with ${egress.deny.toUpperCase()}`
  const rest = egress.default === 'allow' ? '' : `; names outside the mesh that none allows ${how}`
  if (rules.length === 0 && rest === '') return []
  return [['rules', `${rules.length}, of ${ruleNames.toLocaleString('en-US')} names${rest}`]]
}

function aaaaText({ aaaaWithheld }: FilesExamination): string {
  if (aaaaWithheld !== null) return `NODATA, not asked for: ${aaaaWithheld}`
  return 'asked for: aaaa is auto, and this machine has an IPv6 address or route, or does not show them'
}

function upstreamText({ upstream }: Config, { resolvConf, servers }: FilesExamination): string {
  const attempt = upstream.attemptTimeoutMs === null ? '' : `${upstream.attemptTimeoutMs} ms a try, `
  const policy = `${upstream.policy}, ${attempt}${upstream.deadlineMs} ms in all`
  const search = resolvConf.search.length === 0 ? '' : `; search ${resolvConf.search.join(' ')}`
  if (servers.length === 0) return `no servers${search}`
  const isStub = resolvConf.servers.some(({ address }) => RESOLVED.has(address))
  const behind = isStub ? ` (systemd-resolved, whose own servers are in ${RESOLVED_FILE})` : ''
  const from = upstream.servers.length > 0 ? '' : ` from ${upstream.resolvConf}${behind}`
  return `${servers.join(', ')}${from}, ${policy}${search}`
}
