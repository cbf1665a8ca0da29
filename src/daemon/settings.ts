/**
 * What the daemon goes by while it runs: the configuration, and what resolv.conf and the hosts file add to it. Reads the
 * files and watches them; what the engine is told follows from them (engine-settings.ts).
 *
 * ```
 *  configuration, resolv.conf, hosts file, own addresses ─→ EngineSettings ─→ data workers, stream thread
 *                 resolv.conf's search domain ────────────→ TableIdentity ──→ compiler
 * ```
 */
import { randomBytes, randomUUID } from 'node:crypto'
import { existsSync } from 'node:fs'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { type FileWatch, watchFile } from '../base/file-watch.ts'
import { parseHostsFile } from '../config/hosts-file.ts'
import { parseResolvConf, type ResolvConf } from '../config/resolv-conf.ts'
import type { Config } from '../config/schema.ts'
import { COOKIE_SECRET_BYTES } from '../dns/cookie.ts'
import type { EngineSettings, HostEntry } from '../engine/settings.ts'
import { deriveSettings, hostEntries, loopProbeNames } from './engine-settings.ts'
import { LoopWatch } from './loop-watch.ts'
import type { Log } from '../observe/log.ts'
import { addressText } from '../os/socket-address.ts'
import { interfaceAddresses, leftOutMessage } from './start-check.ts'
import type { TableIdentity } from '../table/identity.ts'

/** What the settings are made from, and who is told when they change. */
export interface DaemonSettingsOptions {
  config: Config
  log: Log
  /** Called with each new version, also where nothing differs. */
  onSettings: (settings: EngineSettings) => void
  /** Called after `onSettings` if resolv.conf's search domain is another one now. */
  onIdentity: (identity: TableIdentity) => void
}

/** The settings in use. Files that cannot be read are warned of and count as empty; nothing is watched before `start`. */
export class DaemonSettings {
  #config: Config
  readonly #log: Log
  readonly #onSettings: DaemonSettingsOptions['onSettings']
  readonly #onIdentity: DaemonSettingsOptions['onIdentity']
  readonly #watches: FileWatch[] = []
  readonly #cookieSecret: Uint8Array = new Uint8Array(randomBytes(COOKIE_SECRET_BYTES))
  readonly #loops: LoopWatch = new LoopWatch({
    newId: randomUUID,
    schedule: later,
    onChange: (mended) => this.#loopsChanged(mended),
  })
  #resolvConf: ResolvConf
  #hosts: readonly HostEntry[]
  #settings: EngineSettings
  #searchDomain: string | null

  constructor({ config, log, onSettings, onIdentity }: DaemonSettingsOptions) {
    this.#config = config
    this.#log = log
    this.#onSettings = onSettings
    this.#onIdentity = onIdentity
    this.#resolvConf = this.#readResolvConf(null)
    this.#hosts = this.#readHosts()
    this.#settings = this.#deriveSettings()
    this.#searchDomain = this.identity.searchDomain
  }

  /** The configuration in use. */
  get config(): Config {
    return this.#config
  }

  /** What the engine is told. */
  get engine(): EngineSettings {
    return this.#settings
  }

  /** Labels of the servers that were found to forward to us. */
  get looping(): ReadonlySet<string> {
    return this.#loops.loops
  }

  /** Whose names are short names in the table. */
  get identity(): TableIdentity {
    const { namespace, domain } = this.#config.identity
    return { namespace, domain, searchDomain: this.#resolvConf.search[0] ?? null }
  }

  /** Watches resolv.conf and the hosts file from now on. */
  start(): void {
    this.#watchResolvConf()
    this.#watchHostsFile()
  }

  /** Watches no more. */
  stop(): void {
    for (const watch of this.#watches) watch.close()
    this.#loops.stop()
  }

  /** Takes over a configuration, which has been through `keepFixed`, and reads the files again. */
  reload(config: Config): void {
    this.#config = config
    this.#resolvConf = this.#readResolvConf(this.#resolvConf)
    this.#hosts = this.#readHosts()
    this.#loops.forget()
    this.#applySettings()
  }

  /** A query for a name that only one server was asked for has come to us: that server is asked no more. */
  loopFound(label: string, from: Uint8Array): void {
    if (!this.#loops.found(label)) return
    this.#log.error(
      { server: label, from: addressText(from) },
      `upstream server ${label} is a loop: what byname asks it comes back as a query. It forwards to byname, or queries to it are redirected here; it is asked no more until a check finds it mended`,
    )
    this.#applySettings()
  }

  #loopsChanged(mended: readonly string[]): void {
    for (const label of mended)
      this.#log.info({ server: label }, `upstream server ${label} is no loop any more: it is asked again`)
    this.#applySettings()
  }

  /**
   * What resolv.conf says now. One that cannot be read, or names no server, leaves what was in use (`last`, null at the
   * start): whoever writes it may not be done.
   */
  #readResolvConf(last: ResolvConf | null): ResolvConf {
    const { resolvConf: file, servers } = this.#config.upstream
    const content = readBoundedText(file, MAX_FILE_BYTES.resolvConf)
    if ('text' in content) {
      const read = parseResolvConf(content.text)
      if (read.servers.length > 0 || last === null || last.servers.length === 0) return read
      this.#log.warn({ file }, 'resolv.conf names no server: its last servers stay')
      return { ...read, servers: last.servers }
    } else {
      const reason = content.problem.code
      const none = servers.length > 0 ? 'no search domains' : 'no upstream servers: name some in upstream.servers'
      this.#log.warn(
        { file, reason },
        `resolv.conf cannot be read: ${last === null ? none : 'what it said last stays'}`,
      )
      return last ?? parseResolvConf('')
    }
  }

  #readHosts(): HostEntry[] {
    const file = this.#config.hostsFile
    if (file === '') return []
    const content = readBoundedText(file, MAX_FILE_BYTES.hosts)
    if ('text' in content) return hostEntries(parseHostsFile(content.text))
    this.#log.warn({ file, reason: content.problem.reason }, 'the hosts file cannot be read: no names from it')
    return []
  }

  #deriveSettings(): EngineSettings {
    const { settings, loops } = deriveSettings(this.#config, this.#resolvConf, interfaceAddresses(), this.#hosts)
    for (const label of loops) this.#log.error({ server: label }, leftOutMessage(label))
    const loopProbe = loopProbeNames(this.#loops.id, settings)
    for (const route of settings.routes)
      route.servers = route.servers.filter((index) => !this.#loops.loops.has(settings.servers[index]!.label))
    if (settings.routes.at(-1)!.servers.length === 0) {
      this.#log.warn(
        { resolvConf: this.#config.upstream.resolvConf },
        'no upstream servers: names outside the mesh get SERVFAIL',
      )
    }
    return { ...settings, loopProbe, cookieSecret: this.#cookieSecret }
  }

  /** Hands what the configuration and resolv.conf say now to everybody. */
  #applySettings(): void {
    this.#settings = this.#deriveSettings()
    this.#onSettings(this.#settings)
    const { identity } = this
    if (identity.searchDomain === this.#searchDomain) return
    this.#searchDomain = identity.searchDomain
    this.#onIdentity(identity)
  }

  #watchResolvConf(): void {
    const file = this.#config.upstream.resolvConf
    this.#watches.push(
      watchFile(file, () => {
        if (!existsSync(file)) return this.#log.warn({ file }, 'resolv.conf is gone: its last servers stay')
        this.#resolvConf = this.#readResolvConf(this.#resolvConf)
        this.#loops.forget()
        this.#applySettings()
        this.#log.info({ file, servers: this.#settings.servers.map(({ label }) => label) }, 'resolv.conf changed')
      }),
    )
  }

  #watchHostsFile(): void {
    const file = this.#config.hostsFile
    if (file === '') return
    this.#watches.push(
      watchFile(file, () => {
        if (!existsSync(file)) return this.#log.warn({ file }, 'the hosts file is gone: its last names stay')
        this.#hosts = this.#readHosts()
        this.#applySettings()
        this.#log.info({ file, names: this.#hosts.length }, 'hosts file changed')
      }),
    )
  }
}

/**
 * The new configuration with the old values of what sockets, threads, table and log are made by, and the paths of those
 * keys that differ.
 */
export function keepFixed(config: Config, old: Config): { merged: Config; fixed: string[] } {
  const { listen, workers, driver, identity, maxUdpPayload, hostsFile, metrics, admin, istio } = old
  const merged: Config = {
    ...config,
    listen,
    workers,
    driver,
    identity,
    maxUdpPayload,
    hostsFile,
    metrics,
    admin,
    istio,
    log: { ...config.log, format: old.log.format },
    mesh: { ...config.mesh, source: old.mesh.source, lastKnownGood: old.mesh.lastKnownGood },
    upstream: {
      ...config.upstream,
      resolvConf: old.upstream.resolvConf,
      maxInFlight: old.upstream.maxInFlight,
      rootCert: old.upstream.rootCert,
    },
  }
  return { merged, fixed: keysThatDiffer(config, merged) }
}

/** Paths of keys, at most two deep: what is below is one value to people (`mesh.source`). */
function keysThatDiffer(config: Config, other: Config): string[] {
  return Object.entries(config).flatMap(([key, value]) => {
    const otherValue = valueAt(other, key)
    if (!isSection(value)) return isSame(value, otherValue) ? [] : [key]
    return Object.keys(value)
      .filter((below) => !isSame(valueAt(value, below), valueAt(otherValue, below)))
      .map((below) => `${key}.${below}`)
  })
}

function isSection(value: unknown): value is object {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function valueAt(section: unknown, key: string): unknown {
  return isSection(section) ? Object.entries(section).find(([name]) => name === key)?.[1] : undefined
}

function isSame(one: unknown, other: unknown): boolean {
  return JSON.stringify(one) === JSON.stringify(other)
}

/** Runs something after a while, which keeps no process alive. Returns how to call it off. */
function later(run: () => void, ms: number): () => void {
  const timer = setTimeout(run, ms).unref()
  return () => clearTimeout(timer)
}
