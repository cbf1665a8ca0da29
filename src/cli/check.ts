import type { LoadedConfig } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import type { FilesExamination } from '../daemon/file-check.ts'
import { type Command, ExitCode } from './command.ts'
import { CONFIG_OPTION, givenLoader, LISTEN_OPTION, SET_OPTION, settingsHelp } from './config-options.ts'
import { alignColumns, printable } from './text-columns.ts'

/** `byname check`: validates configuration and environment. */
export const checkCommand: Command = {
  name: 'check',
  summary: 'Validate the configuration and the environment.',
  options: { config: CONFIG_OPTION, listen: LISTEN_OPTION, set: SET_OPTION },
  details: `Says what byname would do with them, and reads every file that they name. What "byname run" would refuse ends
it with exit code 2; what it would only log is a warning here. Each line names file, line and key.`,
  settings: settingsHelp,
  examples: ['byname check --config byname.yaml'],
  async run(given, context) {
    const loaded = (await givenLoader(given, context))()
    const { examineStart } = await import('../daemon/start-check.ts')
    const { examineFiles } = await import('../daemon/file-check.ts')
    const { warnings: ofStart } = examineStart(loaded)
    const files = await examineFiles(loaded.config)
    const ofFiles = files.warnings.map(({ path, message }) => `${loaded.placeOf(path)}: ${message}`)
    const warnings = [...loaded.warnings, ...ofStart, ...ofFiles]
    const rows = understood(loaded, files)
    context.out(alignColumns(rows.map((row) => row.map(printable))))
    for (const warning of warnings) context.out(`warning: ${printable(warning)}\n`)
    context.out(warnings.length === 0 ? 'The configuration is good.\n' : 'The configuration can be used.\n')
    return ExitCode.done
  },
}

function understood({ config, file }: LoadedConfig, files: FilesExamination): string[][] {
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
    ['mesh names', sourceText(config, files)],
    ['other names', upstreamText(config, files)],
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
    ['admin', `${config.admin.listen?.text ?? 'off'}${config.admin.token === '' ? '' : ', with a token'}`],
  ]
}

function sourceText({ mesh: { source } }: Config, { sourceCount }: FilesExamination): string {
  if (source.kind === 'none') return 'none'
  if (source.kind === 'table') {
    return `from the table ${source.file}${sourceCount === null ? '' : ` (${sourceCount} hosts)`}`
  }
  if (source.kind === 'files') {
    return `from the mesh files in ${source.folder}${sourceCount === null ? '' : ` (${sourceCount} files)`}`
  }
  const { tls, token } = source
  const addresses = source.addresses.map((address) => address.text).join(', then ')
  const mode = source.delta ? 'delta' : 'state of the world'
  return `over xDS (${mode}) from ${addresses}, ${tls === null ? 'plaintext' : 'TLS'}${token === '' ? '' : `, token ${token}`}`
}

function upstreamText({ upstream }: Config, { resolvConf, servers }: FilesExamination): string {
  const attempt = upstream.attemptTimeoutMs === null ? '' : `${upstream.attemptTimeoutMs} ms a try, `
  const policy = `${upstream.policy}, ${attempt}${upstream.deadlineMs} ms in all`
  const search = resolvConf.search.length === 0 ? '' : `; search ${resolvConf.search.join(' ')}`
  if (servers.length === 0) return `no servers${search}`
  const from = upstream.servers.length > 0 ? '' : ` from ${upstream.resolvConf}`
  return `${servers.join(', ')}${from}, ${policy}${search}`
}
