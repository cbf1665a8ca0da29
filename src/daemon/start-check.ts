/**
 * What a configuration is refused for, and warned of, at the start: beyond its form, which config/ looks at. By `byname run`
 * and `byname check` alike, so that the one never refuses what the other has approved. Nothing is started.
 */
import { networkInterfaces } from 'node:os'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { ConfigError } from '../config/config-error.ts'
import { parseResolvConf, type ResolvConf } from '../config/resolv-conf.ts'
import type { Config } from '../config/schema.ts'
import { chooseDriver } from './listeners.ts'
import { deriveSettings, warningsOf } from './engine-settings.ts'
import { loadSyscalls, type Syscalls } from '../os/syscalls.ts'
import { checkSource } from './table-origin.ts'

/**
 * Looks for all that keeps the daemon from starting with this configuration. `loadCalls`: the system calls, or why there
 * are none; asked only if it matters.
 * @throws ConfigError with everything that was found
 */
export function checkStart(config: Config, loadCalls: () => Syscalls | string = loadSyscalls): void {
  const problems = [
    ...problemsOf(() => config.driver === 'batch' && chooseDriver(config.driver, loadCalls())),
    ...problemsOf(() => readRootCertificates(config.upstream.rootCert)),
    ...problemsOf(() => checkSource(config)),
    ...ownListeners(config),
  ]
  if (problems.length > 0) throw new ConfigError(problems)
}

/** What the daemon would begin with. */
export interface StartPreview {
  /** Labels of the servers that are asked for names of no route. */
  servers: string[]
  /** What an operator should know, a sentence each. */
  warnings: string[]
}

/** What becomes of a configuration that `checkStart` has let pass, with what resolv.conf says now. */
export function previewStart(config: Config, resolvConf: ResolvConf): StartPreview {
  const { settings, loops } = deriveSettings(config, resolvConf, interfaceAddresses())
  const leftOut = loops.map((label) => `${config.upstream.resolvConf}: ${leftOutMessage(label)}`)
  return {
    servers: settings.routes.at(-1)!.servers.map((index) => settings.servers[index]!.label),
    warnings: [...warningsOf(config), ...leftOut],
  }
}

/** Of a server that is one of our own listeners, and not worth ending for: resolv.conf may be another one any moment. */
export function leftOutMessage(label: string): string {
  return `${loopMessage(label)}; it is left out`
}

function loopMessage(label: string): string {
  return `upstream server ${label} is byname's own listener: that would be a loop`
}

/** Literal addresses of this machine's interfaces. */
export function interfaceAddresses(): string[] {
  return Object.values(networkInterfaces()).flatMap((infos) => (infos ?? []).map((info) => info.address))
}

/** Text of the file of root certificates, null where none is named. @throws ConfigError */
export function readRootCertificates(file: string): string | null {
  if (file === '') return null
  const problem = (reason: string): ConfigError =>
    new ConfigError([`upstream.rootCert: ${file} ${reason}; name a file of root certificates (PEM), or leave it empty`])
  const read = readBoundedText(file, MAX_FILE_BYTES.credentials)
  if ('problem' in read) {
    const { code, reason } = read.problem
    throw problem(code === 'ENOTREG' || code === 'EFBIG' ? reason.replace(/;.*/, '') : `cannot be read (${code})`)
  }
  if (!read.text.includes('-----BEGIN CERTIFICATE-----')) throw problem('holds no certificate')
  return read.text
}

/** Servers of the configuration itself that are our own listeners. */
function ownListeners(config: Config): string[] {
  const { servers, routes } = config.upstream
  const { loops } = deriveSettings(config, parseResolvConf(''), interfaceAddresses())
  return [...new Set(loops)].map((label) => {
    const isIn = (list: readonly { label: string }[]): boolean => list.some((server) => server.label === label)
    const key = isIn(servers) || !routes.some((route) => isIn(route.servers)) ? 'upstream.servers' : 'upstream.routes'
    return `${key}: ${loopMessage(label)}; name the resolver behind it`
  })
}

function problemsOf(check: () => unknown): readonly string[] {
  try {
    check()
    return []
  } catch (error) {
    if (error instanceof ConfigError) return error.problems
    throw error
  }
}
