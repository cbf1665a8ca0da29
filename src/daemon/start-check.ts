/**
 * What a configuration is refused for, and warned of, beyond its form, which config/ looks at: by `byname run`, by each
 * reload and by `byname check` alike, so that none of them refuses what another has approved. Nothing is started.
 */
import { X509Certificate } from 'node:crypto'
import { accessSync, constants, statSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import { dirname, resolve } from 'node:path'
import { type FileProblem, MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { ConfigError } from '../config/config-error.ts'
import type { KeyPath } from '../config/layer.ts'
import type { LoadedConfig } from '../config/load.ts'
import { parseResolvConf } from '../config/resolv-conf.ts'
import type { Config } from '../config/schema.ts'
import { isLoopback } from '../engine/access.ts'
import { addressBytes } from '../dns/address.ts'
import { isWildcard } from '../os/socket-address.ts'
import { loadSyscalls, type Syscalls } from '../os/syscalls.ts'
import { readAdminToken } from './admin-token.ts'
import { deriveSettings } from './engine-settings.ts'
import { chooseDriver } from './listeners.ts'
import { sourceProblem } from './table-origin.ts'

/** What is to be said about a key. */
export interface Finding {
  path: KeyPath
  /** One line, without the key. */
  message: string
}

/** What was found before anything is started. */
export interface StartExamination {
  /** Lines with place and key, for people. */
  warnings: string[]
}

/**
 * Looks for all that keeps the daemon from starting with this configuration, and for what an operator should know of it.
 * `loadCalls`: the system calls, or why there are none; asked only if it matters.
 * @throws ConfigError with everything that keeps it from starting
 */
export function examineStart(
  { config, placeOf }: Pick<LoadedConfig, 'config' | 'placeOf'>,
  loadCalls: () => Syscalls | string = loadSyscalls,
): StartExamination {
  const rootCert = readRootCertificates(config.upstream.rootCert)
  const token = readAdminToken(config.admin.token) ?? { token: '' }
  const problems: (Finding | null)[] = [
    config.driver === 'batch' ? driverProblem(loadCalls()) : null,
    'problem' in rootCert ? { path: ['upstream', 'rootCert'], message: rootCert.problem } : null,
    at(['mesh', 'source', 'xds'], sourceProblem(config)),
    ...ownListeners(config),
    openAdmin(config),
    'problem' in token ? { path: ['admin', 'token'], message: token.problem } : null,
  ]
  const lineOf = ({ path, message }: Finding): string => `${placeOf(path)}: ${message}`
  const found = problems.filter((each) => each !== null).map(lineOf)
  if (found.length > 0) throw new ConfigError(found)
  return { warnings: warningsOf(config).map(lineOf) }
}

/** What an operator should know about the configuration. */
export function warningsOf(config: Config): Finding[] {
  const { access, listen, mesh } = config
  const open = access.length > 0 ? [] : listen.map(({ address, text }, index) => ({ address, text, index }))
  return [
    ...open
      .filter(({ address }) => isWildcard(address))
      .map(({ text, index }) => ({
        path: ['listen', index],
        message: `${text} is every address of this machine, and access is empty: only this machine and private ranges are answered; list in access who may ask`,
      })),
    at(
      ['mesh', 'source'],
      mesh.source.kind === 'none'
        ? "no control plane, table or folder is named, and there is no environment of Istio's: there are no mesh names, and every name goes upstream"
        : null,
    ),
    at(['mesh', 'lastKnownGood'], folderProblem(mesh.lastKnownGood)),
  ].filter((each) => each !== null)
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

function at(path: KeyPath, message: string | null): Finding | null {
  return message === null ? null : { path, message }
}

function driverProblem(sys: Syscalls | string): Finding | null {
  try {
    chooseDriver('batch', sys)
    return null
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return { path: ['driver'], message: error.problems[0]!.replace(/^driver: /, '') }
  }
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g

/** Text of the file of root certificates, null where none is named, or what is wrong with it. */
function readRootCertificates(file: string): { text: string | null } | { problem: string } {
  if (file === '') return { text: null }
  const advice = 'name a file of root certificates (PEM), or leave it empty'
  const read = readBoundedText(file, MAX_FILE_BYTES.credentials)
  if ('problem' in read) return { problem: `${file} ${brief(read.problem)}; ${advice}` }
  const problem = rootCertificatesProblem(read.text)
  if (problem === null) return { text: read.text }
  return { problem: `${file}${problem.startsWith('certificate') ? ':' : ''} ${problem}; ${advice}` }
}

/** What is wrong with the text of a file of root certificates, null if nothing is. */
export function rootCertificatesProblem(text: string): string | null {
  const certificates = text.match(CERTIFICATE) ?? []
  if (certificates.length === 0) return 'holds no certificate'
  const bad = certificates.findIndex((pem) => !isCertificate(pem))
  return bad < 0 ? null : `certificate ${bad + 1} of ${certificates.length} is damaged`
}

function isCertificate(pem: string): boolean {
  try {
    return new X509Certificate(pem).raw.length > 0
  } catch {
    return false
  }
}

/** Without the remedy, where there is a better one. */
function brief({ code, reason }: FileProblem): string {
  return /^E(?:NOTREG|ISDIR|FBIG)$/.test(code) ? reason.replace(/;.*/, '') : `cannot be read (${code})`
}

/** Servers of the configuration itself that are our own listeners. */
function ownListeners(config: Config): Finding[] {
  const { servers, routes } = config.upstream
  const { loops } = deriveSettings(config, parseResolvConf(''), interfaceAddresses())
  const places = [
    ...servers.map(({ label }, index) => ({ label, path: ['upstream', 'servers', index] })),
    ...routes.flatMap((route, k) =>
      route.servers.map(({ label }, index) => ({ label, path: ['upstream', 'routes', k, 'servers', index] })),
    ),
  ]
  return [...new Set(loops)].flatMap((loop) =>
    places
      .filter(({ label }) => label === loop)
      .slice(0, 1)
      .map(({ path }) => ({ path, message: `${loopMessage(loop)}; name the resolver behind it` })),
  )
}

/** Whoever reaches the admin endpoint sees what the workload asks for, and may change things. */
function openAdmin({ admin: { listen, token } }: Config): Finding | null {
  if (listen === null || token !== '') return null
  const bytes = addressBytes(listen.address)
  if (isLoopback(bytes, 0, bytes.length)) return null
  const message = `${listen.text} is not on loopback, and whoever reaches it may see and change what byname does; name a file with a token in admin.token, or listen on 127.0.0.1`
  return { path: ['admin', 'listen'], message }
}

/** Why the last known good table cannot be kept at `file`. */
function folderProblem(file: string): string | null {
  if (file === '') return null
  const folder = dirname(resolve(file))
  const why = ((): string | null => {
    if (kindOf(file) === 'folder') return `${file} is a folder; name a file in it`
    const kind = kindOf(folder)
    if (kind === 'file') return `${folder} is no folder`
    if (kind === 'folder') return mayWrite(folder) ? null : `${folder} may not be written; check its owner and mode`
    return `there is no folder ${folder}; make it`
  })()
  return why === null ? null : `the name table will not outlive a restart: ${why}`
}

function kindOf(path: string): 'file' | 'folder' | null {
  try {
    return statSync(path).isDirectory() ? 'folder' : 'file'
  } catch {
    return null
  }
}

function mayWrite(folder: string): boolean {
  try {
    accessSync(folder, constants.W_OK | constants.X_OK)
    return true
  } catch {
    return false
  }
}

/** Addresses to listen on that this machine does not have: `byname run` would end at them. */
export function absentAddresses({ listen }: Config): Finding[] {
  const own = new Set(interfaceAddresses().map((address) => addressBytes(address).join('.')))
  return listen.flatMap(({ address, text }, index) => {
    const bytes = addressBytes(address)
    if (isWildcard(address) || isLoopback(bytes, 0, bytes.length) || own.has(bytes.join('.'))) return []
    return [{ path: ['listen', index], message: `${text} is not an address of this machine now` }]
  })
}
