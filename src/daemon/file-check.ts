/** What `byname check` says of the files that a configuration names: what `byname run` would log once it reads them. */
import { readBoundedText, type FileProblem, MAX_FILE_BYTES } from '../base/bounded-file.ts'
import { lineOf } from '../base/log.ts'
import { parseHostsFile } from '../config/hosts-file.ts'
import type { KeyPath } from '../config/layer.ts'
import { parseResolvConf, type ResolvConf } from '../config/resolv-conf.ts'
import type { Config, MeshSourceConfig } from '../config/schema.ts'
import { parseNameTableJson } from '../table/nds.ts'
import { deriveSettings } from './engine-settings.ts'
import { hasIpv6Route } from './ipv6-use.ts'
import { realDomainWarnings } from './real-domains.ts'
import { examineRules } from './rule-check.ts'
import { absentAddresses, type Finding, interfaceAddresses, leftOutMessage } from './start-check.ts'

/** More problems of one source are counted only. */
const MOST_PROBLEMS = 10

/** What the daemon would begin with. */
export interface FilesExamination {
  warnings: Finding[]
  resolvConf: ResolvConf
  /** Labels of the servers that are asked for names of no route. */
  servers: string[]
  /** Why IPv6 addresses of names outside the mesh are not asked for; null: they are. */
  aaaaWithheld: string | null
  /** Hosts of a table file, or files of a mesh folder; null where there is no such file or folder, or it cannot be used. */
  sourceCount: number | null
  /** Names of all rules, those of their files included. */
  ruleNames: number
}

/** Reads every file that the configuration names. Nothing is started, and nothing waits for another process. */
export async function examineFiles(config: Config): Promise<FilesExamination> {
  const warnings: Finding[] = [...absentAddresses(config)]
  const warn = (path: KeyPath, message: string): number => warnings.push({ path, message })
  const resolvConf = readResolvConf(config, warn)
  const { settings, loops } = deriveSettings(config, resolvConf, interfaceAddresses(), [], hasIpv6Route())
  for (const label of loops) warn(['upstream', 'resolvConf'], `${config.upstream.resolvConf}: ${leftOutMessage(label)}`)
  const servers = settings.routes.at(-1)!.servers.map((index) => settings.servers[index]!.label)
  if (servers.length === 0) {
    warn(['upstream', 'servers'], 'there is no upstream server: only mesh names can be answered; name some here')
  }
  readHostsFile(config.hostsFile, warn)
  const { source } = config.mesh
  const known: string[][] = []
  const meshNames: string[] = []
  const sourceCount = await readSource(config, source, warn, known, meshNames)
  if (config.mesh.shortNames !== 'none') {
    for (const line of realDomainWarnings(known, (settings.searchedBelowDots ?? 0) >= 2))
      warn(['mesh', 'shortNames'], line)
  }
  const rules = examineRules(config, meshNames)
  warnings.push(...rules.warnings)
  return {
    ruleNames: rules.names,
    warnings,
    resolvConf,
    servers,
    aaaaWithheld: settings.aaaaWithheld ?? null,
    sourceCount,
  }
}

type Warn = (path: KeyPath, message: string) => void

function readResolvConf({ upstream }: Config, warn: Warn): ResolvConf {
  const { resolvConf: path, servers } = upstream
  const read = readBoundedText(path, MAX_FILE_BYTES.resolvConf)
  if ('text' in read) {
    const resolvConf = parseResolvConf(read.text)
    for (const reason of resolvConf.leftOut) warn(['upstream', 'resolvConf'], `${path}: nameserver ${reason}`)
    if (resolvConf.servers.length === 0 && servers.length === 0) {
      warn(['upstream', 'resolvConf'], `${path} names no server (nameserver ADDRESS)`)
    }
    return resolvConf
  }
  warn(
    ['upstream', 'resolvConf'],
    `${path} cannot be read: it ${read.problem.reason}; no servers and search domains from it`,
  )
  return parseResolvConf('')
}

function readHostsFile(path: string, warn: Warn): void {
  if (path === '') return
  const read = readBoundedText(path, MAX_FILE_BYTES.hosts)
  if ('problem' in read) return warn(['hostsFile'], `${path} ${briefly(read.problem)}`)
  const hasText = /^[^#\S]*[^#\s]/m.test(read.text)
  if (hasText && parseHostsFile(read.text).addresses.size === 0) {
    warn(['hostsFile'], `${path} holds no line of an address and names: is it a hosts file (hosts(5))?`)
  }
}

/** `known`: is given short name and namespace of each service; `meshNames`: the full name of each host, as far as files tell. */
async function readSource(
  config: Config,
  source: MeshSourceConfig,
  warn: Warn,
  known: string[][],
  meshNames: string[],
): Promise<number | null> {
  if (source.kind === 'table') return readTable(source.file, warn, known, meshNames)
  if (source.kind === 'files') return await readFolder(source.folder, config, warn, known, meshNames)
  if (source.kind === 'none') return null
  if (source.tls !== null) await readCredentials(config, source, warn)
  return null
}

/** What would keep a secured connection from being made. */
async function readCredentials(
  { istio }: Config,
  { tls, token, certificate }: Extract<MeshSourceConfig, { kind: 'xds' }>,
  warn: Warn,
): Promise<void> {
  const {
    readCredentialFile: read,
    readKeyPair,
    readRoots,
    readToken,
  } = await import('../credentials/credential-files.ts')
  const { rootCert, cert, key } = tls!
  const now = Date.now()
  const roots = readRoots(rootCert === '' ? istio.rootCerts : [rootCert], read)
  const pair = readKeyPair(cert === '' ? istio.certificates : [{ cert, key }], read, now)
  const bearer = readToken(token, read, now)
  const say = (path: KeyPath, { from, problem }: { from: string; problem: string | null }): void => {
    if (problem !== null) warn(['mesh', 'source', 'xds', ...path], `${from} ${problem}`)
  }
  say(['tls', 'rootCert'], roots.credential)
  if (pair !== null) say(['tls', 'cert'], pair.credential)
  if (bearer !== null) say(['token'], bearer.credential)
  if (pair?.value || bearer?.value) return
  const remedy =
    certificate === 'none' ? 'name a token, or tls.cert and tls.key' : 'the first certificate needs a token'
  warn(['mesh', 'source', 'xds'], `there is neither a certificate nor a token to show to the control plane; ${remedy}`)
}

function readTable(path: string, warn: Warn, known: string[][], meshNames: string[]): number | null {
  const key = ['mesh', 'source', 'table']
  const read = readBoundedText(path, MAX_FILE_BYTES.nameTable)
  if ('problem' in read) {
    warn(key, `${path} ${briefly(read.problem)}`)
    return null
  }
  try {
    const table = parseNameTableJson(read.text)
    for (const { registry, shortname, namespace } of table.values())
      if (registry === 'Kubernetes' && shortname !== '') known.push([shortname, namespace])
    for (const host of table.keys()) meshNames.push(host)
    return table.size
  } catch (error) {
    warn(key, `${path}: ${lineOf(error)}`)
    return null
  }
}

async function readFolder(
  path: string,
  { identity }: Config,
  warn: Warn,
  known: string[][],
  meshNames: string[],
): Promise<number | null> {
  const key = ['mesh', 'source', 'files']
  // Loaded here: no other origin needs the schemas of mesh files.
  const { MeshFiles } = await import('../mesh/mesh-files.ts')
  const read = await new MeshFiles(path).read()
  if ('failure' in read) {
    warn(key, /ENOENT/.test(read.failure) ? `${path} does not exist (yet)` : read.failure)
    return null
  }
  const cluster = identity.domain.replace(/^[^.]*\./, '')
  for (const each of read.resources) {
    if (each.kind === 'Service') {
      known.push([each.name, each.namespace])
      meshNames.push(`${each.name}.${each.namespace}.${cluster}`)
    } else if (each.kind === 'ServiceEntry') for (const host of each.hosts) meshNames.push(host)
  }
  for (const problem of read.problems.slice(0, MOST_PROBLEMS)) warn(key, `${path}: ${problem}`)
  const more = read.problems.length - MOST_PROBLEMS
  if (more > 0) warn(key, `${path}: and ${more} more problems`)
  return read.files
}

/** What is not there may come: it is watched. */
function briefly({ code, reason }: FileProblem): string {
  return code === 'ENOENT' ? 'does not exist (yet)' : reason
}
