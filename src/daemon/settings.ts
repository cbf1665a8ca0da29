/**
 * The settings in use: the configuration, and what resolv.conf, the hosts file and own addresses add to it. Reads the
 * files and watches them; what the engine is told follows from them (engine-settings.ts).
 *
 * ```
 *  configuration, resolv.conf, hosts file, own addresses,
 *                                     files of rules ─→ EngineSettings ─→ data workers, stream thread
 *                 file of root certificates ──────────────────────────────────────────────→ stream thread
 *                 resolv.conf's search domain ────────────→ TableIdentity ──→ compiler
 * ```
 */
import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import { type Clock, onWholeSeconds, steadyClock, wallClock } from '../base/clock.ts'
import type { Files } from '../base/files.ts'
import { parseResolvConf } from '../config/resolv-conf.ts'
import { nameToText } from '../dns/name.ts'
import type { Config } from '../config/schema.ts'
import { COOKIE_SECRET_BYTES } from '../dns/cookie.ts'
import type { RuleMatch } from '../engine/rule-reports.ts'
import { type EngineSettings, type HostEntry, isSameRouting } from '../engine/settings.ts'
import type { WorkerCounters } from '../stats/counters.ts'
import type { PluginSettings } from '../engine/plugins/plugin-abi.ts'
import { deriveSettings, loopProbeNames } from './engine-settings.ts'
import { LoopWatch } from './loop-watch.ts'
import { hasIpv6Route } from './ipv6-use.ts'
import { OwnAddresses } from './own-addresses.ts'
import { RuleCounters } from './rule-counters.ts'
import { RuleFiles } from './rule-files.ts'
import { RuleLog } from './rule-log.ts'
import { ServerNumbers } from './server-numbers.ts'
import { SettingsFiles } from './settings-files.ts'
import type { Log } from '../observe/log.ts'
import type { Problem, RulesState } from '../observe/sources.ts'
import { addressText } from '../dns/address.ts'
import { interfaceAddresses, leftOutMessage } from './start-check.ts'
import { NO_IDENTITY, type TableIdentity } from '../table/identity.ts'
import { rulesState } from './rules-state.ts'

/** What the settings are made from, and who is told when they change. */
export interface DaemonSettingsOptions {
  config: Config
  log: Log
  /** Called with each new version, also where nothing differs. */
  onSettings: (settings: EngineSettings) => void
  /** Called after `onSettings` if resolv.conf's search domain is another one now. */
  onIdentity: (identity: TableIdentity) => void
  /** The machine's by default. */
  files?: Files
  clock?: Clock
  /** Of all data workers, where rules are counted; none by default. */
  counters?: () => readonly WorkerCounters[]
  /** Literal addresses of this machine's interfaces. */
  ownAddresses?: () => readonly string[]
  /** Those to hand to the engine; none if not given. See `refresh`. */
  plugins?: () => readonly PluginSettings[]
  /** Whether IPv6 leads out of this machine; as `hasIpv6Route` has it by default. */
  ipv6Route?: () => boolean | null
}

/**
 * The settings in use. Everything is watched before it is read, from the constructor on: call `stop`. A file that cannot be
 * used gets a warning, and its last good state stays in use; before the first good state it counts as empty.
 */
export class DaemonSettings {
  #config: Config
  readonly #log: Log
  readonly #onSettings: DaemonSettingsOptions['onSettings']
  readonly #onIdentity: DaemonSettingsOptions['onIdentity']
  readonly #plugins: () => readonly PluginSettings[]
  readonly #cookieSecret: Uint8Array = new Uint8Array(randomBytes(COOKIE_SECRET_BYTES))
  readonly #loops: LoopWatch
  readonly #numbers: ServerNumbers = new ServerNumbers()
  readonly #files: SettingsFiles
  readonly #addresses: OwnAddresses
  readonly #ruleCounters: RuleCounters
  readonly #ruleFiles: RuleFiles
  readonly #ruleLog: RuleLog
  #settings: EngineSettings
  #searchDomain: string | null
  /** Search domains whose questions are all asked again, and why. */
  readonly #stormsOff: Map<string, string> = new Map()

  constructor(options: DaemonSettingsOptions) {
    const { config, log, files, clock = wallClock, ipv6Route = hasIpv6Route } = options
    this.#config = config
    this.#log = log
    this.#onSettings = options.onSettings
    this.#onIdentity = options.onIdentity
    this.#plugins = options.plugins ?? ((): readonly PluginSettings[] => [])
    this.#loops = new LoopWatch({
      newId: randomUUID,
      schedule: (run, ms) => clock.after(ms, run),
      onChange: (mended) => this.#loopsChanged(mended),
    })
    const surroundings = { log, clock, ...(files && { files }) }
    this.#files = new SettingsFiles({
      ...surroundings,
      config: () => this.#config,
      onResolvConf: () => this.#resolvConfChanged(),
      onHosts: (hosts) => this.#hostsChanged(hosts),
      onRootCertificates: () => this.#rootCertificatesChanged(),
    })
    this.#files.configure()
    this.#addresses = new OwnAddresses({
      look: options.ownAddresses ?? interfaceAddresses,
      lookForIpv6Route: () => (this.#config.aaaa === 'auto' ? ipv6Route() : null),
      clock: options.clock ?? onWholeSeconds(steadyClock),
      onChange: (gained, lost) => this.#addressesChanged(gained, lost),
    })
    this.#addresses.start()
    this.#ruleLog = new RuleLog(log)
    this.#ruleCounters = new RuleCounters(options.counters ?? ((): readonly WorkerCounters[] => []))
    this.#ruleFiles = new RuleFiles({
      ...surroundings,
      counters: this.#ruleCounters,
      seed: randomInt(2 ** 32) | 0,
      onChange: () => this.#applySettings(),
    })
    this.#ruleFiles.configure(config.rules)
    this.#settings = this.#deriveSettings()
    this.#tellOfAaaa(undefined)
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

  /** Text of the root certificates (PEM) by which upstream servers over TLS are verified; null: the system's. */
  get rootCertificates(): string | null {
    return this.#files.rootCertificates
  }

  /** Labels of the servers that were found to forward to us. */
  get looping(): ReadonlySet<string> {
    return this.#loops.loops
  }

  /** Whose names are short names in the table. */
  get identity(): TableIdentity {
    const { identity, mesh } = this.#config
    if (mesh.shortNames === 'none') return NO_IDENTITY
    const { namespace, domain } = identity
    return { namespace, domain, searchDomain: this.#files.resolvConf?.search[0] ?? null }
  }

  /** How resolv.conf has names searched (resolv.conf(5)). */
  get search(): { domains: readonly string[]; ndots: number } {
    const { search = [], options } = this.#files.resolvConf ?? {}
    return { domains: search, ndots: options?.ndots ?? 1 }
  }

  /** What an operator should know of what was found out, a line each. */
  get warnings(): string[] {
    const domains = (this.#settings.searchStorms ?? []).map((domain) => nameToText(domain))
    return [...this.#stormsOff]
      .filter(([domain]) => domains.includes(domain))
      .map(([domain, why]) => stormsOffMessage(domain, why))
  }

  /** Label of the upstream server with this number, also of one that is asked no more; null if there is none. */
  serverLabel(number: number): string | null {
    return this.#numbers.labelOf(number)
  }

  /** What is wrong with the files now. */
  get problems(): Problem[] {
    return [...this.#files.problems, ...this.#ruleFiles.problems]
  }

  /** Watches no more. */
  stop(): void {
    this.#files.stop()
    this.#ruleFiles.stop()
    this.#addresses.stop()
    this.#loops.stop()
  }

  /** Takes over a configuration, which has been through `takeOver` (reload.ts), and reads the files again. */
  reload(config: Config): void {
    this.#config = config
    this.#files.configure()
    this.#ruleFiles.configure(config.rules)
    this.#loops.forget()
    if (!this.#addresses.lookAgain()) this.#applySettings()
  }

  /** The plug-ins are others than before. */
  refresh(): void {
    this.#applySettings()
  }

  /** A client was refused: it may be this machine under an address that it did not have a moment ago. */
  clientRefused(): void {
    this.#addresses.lookAgain()
  }

  /** A server has begun to fail: our address may be another one, or what it asks itself comes back to us, as with a redirect that is new. */
  serverFails(): void {
    this.#addresses.lookAgain()
    this.#loops.suspect()
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

  /** A data worker tells of a query that a rule logs, or would have done something about. */
  ruleMatched(match: RuleMatch): void {
    this.#ruleLog.matched(match)
  }

  /** The rules in use, and what they did so far. */
  get rules(): RulesState {
    return rulesState(this.#config, this.#ruleCounters, this.#ruleFiles, this.#ruleLog, this.#settings.rules ?? null)
  }

  /** A data worker asks every question below a search domain again. */
  stormsOff(domain: string, why: string): void {
    if (this.#stormsOff.has(domain)) return
    this.#stormsOff.set(domain, why)
    this.#log.warn({ domain, why }, stormsOffMessage(domain, why))
  }

  #rootCertificatesChanged(): void {
    this.#applySettings()
    this.#log.info({ file: this.#config.upstream.rootCert }, 'the root certificates of upstream servers changed')
  }

  #resolvConfChanged(): void {
    const file = this.#config.upstream.resolvConf
    this.#loops.forget()
    this.#applySettings()
    this.#log.info({ file, servers: this.#settings.servers.map(({ label }) => label) }, 'resolv.conf changed')
  }

  #hostsChanged(hosts: readonly HostEntry[]): void {
    this.#applySettings()
    this.#log.info({ file: this.#config.hostsFile, names: hosts.length }, 'hosts file changed')
  }

  #addressesChanged(gained: readonly string[], lost: readonly string[]): void {
    this.#applySettings()
    const what = gained.length + lost.length === 0 ? 'IPv6 routes' : 'addresses'
    this.#log.info({ gained, lost }, `this machine's ${what} changed`)
  }

  #loopsChanged(mended: readonly string[]): void {
    for (const label of mended)
      this.#log.info({ server: label }, `upstream server ${label} is no loop any more: it is asked again`)
    this.#applySettings()
  }

  #deriveSettings(): EngineSettings {
    const { settings, loops } = deriveSettings(
      this.#config,
      this.#files.resolvConf ?? parseResolvConf(''),
      this.#addresses.current,
      this.#files.hosts,
      this.#addresses.isIpv6Routed,
    )
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
    const servers = this.#numbers.number(settings.servers)
    const rules = this.#ruleFiles.ruleSet(this.#config, this.search.domains)
    const plugins = this.#plugins()
    return {
      ...settings,
      servers,
      loopProbe,
      cookieSecret: this.#cookieSecret,
      ...(rules && { rules }),
      ...(plugins.length > 0 && { plugins }),
    }
  }

  /** `before`: why AAAA was withheld. */
  #tellOfAaaa(before: string | undefined): void {
    const { aaaaWithheld } = this.#settings
    if (aaaaWithheld === before) return
    this.#log.info(
      {},
      aaaaWithheld === undefined
        ? 'IPv6 addresses of names outside the mesh are asked for'
        : `IPv6 addresses of names outside the mesh are not asked for (NODATA): ${aaaaWithheld}`,
    )
  }

  /** Hands what the configuration and resolv.conf say now to everybody. */
  #applySettings(): void {
    const before = this.#settings
    this.#settings = this.#deriveSettings()
    // Data workers find it out anew.
    if (!isSameRouting(before, this.#settings)) this.#stormsOff.clear()
    this.#onSettings(this.#settings)
    this.#tellOfAaaa(before.aaaaWithheld)
    const { identity } = this
    if (identity.searchDomain === this.#searchDomain) return
    this.#searchDomain = identity.searchDomain
    this.#onIdentity(identity)
  }
}

function stormsOffMessage(domain: string, why: string): string {
  return `search storms are not ended below ${domain} (${why}): every question there is asked of servers; search.storms: off says the same for all domains`
}
