import { existsSync } from 'node:fs'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import type { LoadedConfig } from '../config/load.ts'
import { parseResolvConf, type ResolvConf } from '../config/resolv-conf.ts'
import type { Config } from '../config/schema.ts'
import { type Command, ExitCode } from './command.ts'
import { CONFIG_OPTION, LISTEN_OPTION, loadGiven } from './config-options.ts'
import { alignColumns, printable } from './text-columns.ts'

/** `byname check`: validates configuration and environment. */
export const checkCommand: Command = {
  name: 'check',
  summary: 'Validate the configuration and the environment.',
  options: { config: CONFIG_OPTION, listen: LISTEN_OPTION },
  details:
    'Says what byname would do with them. Problems name the file, line and key, or the key alone where only\n"byname run" would find them as it starts; then the exit code is 2.',
  examples: ['byname check --config byname.yaml'],
  async run(given, context) {
    const loaded = loadGiven(given, context)
    const { config } = loaded
    const { checkStart, previewStart } = await import('../daemon/start-check.ts')
    checkStart(config)
    const warnings = [...loaded.warnings]
    const resolvConf = readResolvConf(config, warnings)
    const preview = previewStart(config, resolvConf)
    warnings.push(...preview.warnings)
    if (config.hostsFile !== '' && !existsSync(config.hostsFile))
      warnings.push(`hostsFile: ${config.hostsFile} does not exist (yet)`)
    const rows = understood(loaded, upstreamText(config, resolvConf, preview.servers, warnings), warnings)
    context.out(alignColumns(rows.map((row) => row.map(printable))))
    for (const warning of warnings) context.out(`warning: ${printable(warning)}\n`)
    context.out(warnings.length === 0 ? 'The configuration is good.\n' : 'The configuration can be used.\n')
    return ExitCode.done
  },
}

function understood({ config, file }: LoadedConfig, others: string, warnings: string[]): string[][] {
  const { identity, upstream, cache } = config
  const workload = [
    `namespace ${identity.namespace}`,
    `domain ${identity.domain}`,
    ...(['pod', 'ip', 'serviceAccount', 'cluster', 'network'] as const).flatMap((key) =>
      identity[key] === '' ? [] : [`${key} ${identity[key]}`],
    ),
  ]
  return [
    ['configuration', file ?? 'defaults and environment'],
    ['listen', `${config.listen.map((address) => address.text).join(', ')} (UDP and TCP)`],
    ['workload', workload.join(', ')],
    ['mesh names', sourceText(config, warnings)],
    ['other names', others],
    ...upstream.routes.map((route) => [
      'route',
      `${route.domains.join(', ')} to ${route.servers.map((server) => server.label).join(', ')}, ${route.policy}`,
    ]),
    [
      'access',
      config.access.map((prefix) => prefix.text).join(', ') || 'this machine (and private ranges on a wildcard)',
    ],
    ['cache', cache.maxBytes === 0 ? 'off' : `${cache.maxBytes.toLocaleString('en-US')} bytes`],
    ['metrics', config.metrics.listen?.text ?? 'off'],
    ['admin', config.admin.listen?.text ?? 'off'],
  ]
}

function sourceText(config: Config, warnings: string[]): string {
  const { source } = config.mesh
  if (source.kind !== 'xds') {
    const path = source.kind === 'table' ? source.file : source.folder
    if (!existsSync(path)) warnings.push(`mesh.source.${source.kind}: ${path} does not exist (yet)`)
    return `${source.kind === 'table' ? 'from the table' : 'from the mesh files in'} ${path}`
  }
  const { tls, token } = source
  for (const [key, path] of Object.entries({ ...tls, serverName: '', token })) {
    if (path === '' || path === 'SYSTEM' || existsSync(path)) continue
    warnings.push(`mesh.source.xds.${key === 'token' ? '' : 'tls.'}${key}: ${path} does not exist (yet)`)
  }
  const addresses = source.addresses.map((address) => address.text).join(', then ')
  const mode = source.delta ? 'delta' : 'state of the world'
  return `over xDS (${mode}) from ${addresses}, ${tls === null ? 'plaintext' : 'TLS'}${token === '' ? '' : `, token ${token}`}`
}

function readResolvConf({ upstream: { resolvConf: file } }: Config, warnings: string[]): ResolvConf {
  const read = readBoundedText(file, MAX_FILE_BYTES.resolvConf)
  if ('text' in read) return parseResolvConf(read.text)
  warnings.push(
    `upstream.resolvConf: ${file} cannot be read: it ${read.problem.reason}; no servers and search domains from it`,
  )
  return parseResolvConf('')
}

function upstreamText({ upstream }: Config, resolvConf: ResolvConf, servers: string[], warnings: string[]): string {
  const attempt = upstream.attemptTimeoutMs === null ? '' : `${upstream.attemptTimeoutMs} ms a try, `
  const policy = `${upstream.policy}, ${attempt}${upstream.deadlineMs} ms in all`
  const search = resolvConf.search.length === 0 ? '' : `; search ${resolvConf.search.join(' ')}`
  if (servers.length === 0) {
    warnings.push('there is no upstream server: only mesh names can be answered; name some in upstream.servers')
    return `no servers${search}`
  }
  const from = upstream.servers.length > 0 ? '' : ` from ${upstream.resolvConf}`
  return `${servers.join(', ')}${from}, ${policy}${search}`
}
