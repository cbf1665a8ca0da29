import { existsSync, readFileSync } from 'node:fs'
import type { LoadedConfig } from '../config/load.ts'
import { parseResolvConf } from '../config/resolv-conf.ts'
import type { Config } from '../config/schema.ts'
import { type Command, ExitCode } from './command.ts'
import { CONFIG_OPTION, LISTEN_OPTION, loadGiven } from './config-options.ts'
import { alignColumns, printable } from './text-columns.ts'

/** `byname check`: validates configuration and environment. */
export const checkCommand: Command = {
  name: 'check',
  summary: 'Validate the configuration and the environment.',
  options: { config: CONFIG_OPTION, listen: LISTEN_OPTION },
  details: 'Says what byname would do with them. Problems name the file, line and key; then the exit code is 2.',
  examples: ['byname check --config byname.yaml'],
  // oxlint-disable-next-line require-await -- commands are asynchronous
  async run(given, context) {
    const loaded = loadGiven(given, context)
    const warnings = [...loaded.warnings]
    const rows = understood(loaded, warnings)
    context.out(alignColumns(rows.map((row) => row.map(printable))))
    for (const warning of warnings) context.out(`warning: ${printable(warning)}\n`)
    context.out(warnings.length === 0 ? 'The configuration is good.\n' : 'The configuration can be used.\n')
    return ExitCode.done
  },
}

function understood({ config, file }: LoadedConfig, warnings: string[]): string[][] {
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
    ['other names', upstreamText(config, warnings)],
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

function upstreamText({ upstream }: Config, warnings: string[]): string {
  const attempt = upstream.attemptTimeoutMs === null ? '' : `${upstream.attemptTimeoutMs} ms a try, `
  const policy = `${upstream.policy}, ${attempt}${upstream.deadlineMs} ms in all`
  let found = { servers: upstream.servers, search: '' }
  let from = ''
  try {
    const resolvConf = parseResolvConf(readFileSync(upstream.resolvConf, 'utf8'))
    found = { servers: resolvConf.servers, search: resolvConf.search.join(' ') }
    from = ` from ${upstream.resolvConf}`
  } catch {
    warnings.push(`upstream.resolvConf: ${upstream.resolvConf} cannot be read: no servers and search domains from it`)
  }
  if (upstream.servers.length > 0) {
    found.servers = upstream.servers
    from = ''
  }
  const search = found.search === '' ? '' : `; search ${found.search}`
  if (found.servers.length === 0) {
    warnings.push('there is no upstream server: only mesh names can be answered; name some in upstream.servers')
    return `no servers${search}`
  }
  return `${found.servers.map((server) => server.label).join(', ')}${from}, ${policy}${search}`
}
