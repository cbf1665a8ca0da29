/**
 * The composition root, as an outline: start, reload, hand over, stop. With the files beside it the only place that knows
 * the configuration and all the parts.
 *
 * ```
 *  table origin ─→ TableKeeper ─→ compiler ─→ image ─→ Threads (data workers ⇄ stream worker)     Observer reads all of them
 *  configuration, resolv.conf, hosts, own addresses ─→ DaemonSettings ──↗
 * ```
 */
import { randomInt } from 'node:crypto'
import { fileURLToPath } from 'node:url'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { onWholeSeconds, steadyClock } from '../base/clock.ts'
import { socketText } from '../config/address.ts'
import { ConfigError } from '../config/config-error.ts'
import type { Config } from '../config/schema.ts'
import type { LoadedConfig } from '../config/load.ts'
import { ConfigFile } from './config-file.ts'
import { type Passed, placeSockets, takePassed } from './activation.ts'
import { chooseDriver, type Driver, openListeners, overlap } from './listeners.ts'
import type { PluginFiles } from './plugin-files.ts'
import { Settling, settlingSteps } from './settling.ts'
import { CounterWatch } from './counter-watch.ts'
import { takeOver } from './reload.ts'
import { DaemonSettings } from './settings.ts'
import { observeSources } from './observed.ts'
import { nextReload, reloadProblems } from './problems.ts'
import {
  closeEndpoints,
  handOver,
  handOverProblem,
  inherit,
  type Inherited,
  type LentEndpoint,
  mustNotBeOlder,
  takeEndpoint,
} from './handover.ts'
import { type GuardLink, linkToGuard } from './guard-link.ts'
import { BucketCounts, COMPILE_BOUNDS } from '../observe/bucket-counts.ts'
import type { HttpServer } from '../http/http-server.ts'
import type { EngineSettings } from '../engine/settings.ts'
import { createLog, type ProcessLog } from '../observe/log.ts'
import type { Endpoint, Observer } from '../observe/observer.ts'
import type {
  CredentialState,
  MeshState,
  ObserveSources,
  Problem,
  Reload,
  XdsEvent,
  XdsStateLike,
} from '../observe/sources.ts'
import { loadSyscalls, type Syscalls } from '../os/syscalls.ts'
import { QueryFeed } from '../querylog/query-feed.ts'
import { examineStart } from './start-check.ts'
import { DEFAULT_STREAM_SETTINGS } from '../stream/stream-settings.ts'
import { TableCompiler } from '../table/compile.ts'
import { TableKeeper } from '../tables/table-keeper.ts'
import { RealDomains } from './real-domains.ts'
import { openTableOrigin, type TableOrigin } from './table-origin.ts'
import { openFilesLimit, roomFor } from './open-files.ts'
import { addSockets, type OpenListener } from './listener-sockets.ts'
import { openServiceManager, type ServiceManager, serviceState } from './service-manager.ts'
import { QueryLogging } from './query-logging.ts'
import { DRAIN_MS, Threads } from './threads.ts'

/** Where a daemon that has started listens; ports are the real ones where the configuration said 0. */
export interface StartedDaemon {
  listen: { address: string; port: number }[]
  metrics: { address: string; port: number } | null
  admin: { address: string; port: number } | null
}

/** What the daemon is started with. */
export interface DaemonOptions extends LoadedConfig {
  /** Aborting drains and stops. */
  signal: AbortSignal
  env: NodeJS.ProcessEnv
  /** Loads the configuration again. @throws ConfigError; without it there is nothing to load again */
  reload?: () => LoadedConfig
  /** Called once every socket is bound and the first table is there, or has been waited for. */
  onStarted?: (started: StartedDaemon) => void
}

/** A data worker that has not collected its garbage by then is not waited for. */
const COLLECT_MS = 5000
/** Made by bin/build.mjs. */
const PAGE: string = fileURLToPath(
  new URL(import.meta.url.endsWith('.ts') ? '../../dist/status-page.html' : './status-page.html', import.meta.url),
)
const OBSERVER_STOP_MS = 1000
const ORIGIN_STOP_MS = 1000
/** A process that has handed over is gone by then, with the ports of its endpoints. */
const PREDECESSOR_STOP_MS = 3 * DRAIN_MS
/** After a handover the new process waits so long for its table before it takes queries. */
const FIRST_TABLE_MS = 15_000
/** After the end of its guard a daemon answers for so long: until then the redirect is gone. */
const WITHOUT_GUARD_MS = 5000
/** Dropping rights is for whoever starts this process: it has threads by now, and each would keep what it has. */
const ROOT_ADVICE =
  'byname runs as root, whose rights it does not need: start it as another user (User= of systemd, runAsUser of a pod, setpriv --reuid 1337 --regid 1337 --clear-groups --no-new-privs), or as root with --capture, which does that'
/**
 * With the service manager's sockets the first table is awaited so long before queries are taken: they wait there, and most
 * clients for 5 s. Without it they get what `mesh.beforeSync` says.
 */
const QUEUED_MS = 2000
/**
 * Whoever wants to be told of the start, the service manager among them, is told after so long without a table: a control
 * plane that is away must not hold up a machine's start. `mesh.beforeSync: auto` forwards from then on.
 */
const SHOWN_TABLE_MS = 5000

/** Runs the daemon; resolves when it has stopped cleanly. @throws ConfigError, BindError */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const log = await createLog(options.config.log)
  // However it ends.
  const flushLog = (): void => log.flush()
  process.on('exit', flushLog)
  const inherited = inherit(options.env)
  const unguarded = new AbortController()
  const guard = linkToGuard(options.env, () => {
    log.error({}, 'the process that held the redirect is gone, and with it the redirect: this one ends as well')
    setTimeout(() => unguarded.abort(), WITHOUT_GUARD_MS)
  })
  const daemon = new Daemon(options, log, inherited, guard)
  if (process.geteuid?.() === 0) log.info({}, ROOT_ADVICE)
  const handedOver = new AbortController()
  const ending = AbortSignal.any([options.signal, handedOver.signal, unguarded.signal])
  // They are there to the end: without them these signals end the process at once.
  const { manager } = daemon
  const onHangUp = (): void => {
    if (ending.aborted) return
    manager?.reloading()
    daemon.reload('SIGHUP')
    daemon.reopenLogs()
    manager?.reloaded()
  }
  const onHandOver = (): void => {
    if (!ending.aborted) void daemon.handOver(ending).then((isDone) => isDone && handedOver.abort())
  }
  options.signal.addEventListener('abort', () => manager?.stopping(), { once: true })
  process.on('SIGHUP', onHangUp)
  process.on('SIGUSR2', onHandOver)
  try {
    await daemon.start(ending)
    if (!ending.aborted) {
      guard?.reportReady()
      inherited?.reportReady()
    }
    if (options.onStarted !== undefined || manager !== null) {
      await daemon.firstTable(SHOWN_TABLE_MS, ending)
      if (!ending.aborted) manager?.ready(serviceState(daemon.sources!))
      options.onStarted?.(await daemon.started())
    }
    await aborted(ending)
    log.info({}, 'draining')
  } finally {
    await daemon.stop(handedOver.signal.aborted)
    process.off('SIGHUP', onHangUp)
    process.off('SIGUSR2', onHandOver)
    process.off('exit', flushLog)
  }
  if (!handedOver.signal.aborted) guard?.reportEnd()
}

class Daemon {
  readonly #log: ProcessLog
  readonly #load: DaemonOptions['reload']
  #warnings: string[]
  readonly #realDomains: RealDomains
  readonly #configFile: ConfigFile
  /** Null where no service manager is to be told. */
  readonly manager: ServiceManager | null
  /** What there is to see of this daemon, null before it answers. */
  sources: ObserveSources | null = null
  readonly #inherited: Inherited | null
  readonly #guard: GuardLink | null
  readonly #passed: Passed
  /** Sockets for the HTTP endpoints that nobody has taken yet. */
  #endpoints: LentEndpoint[]
  #isHandingOver = false
  readonly #startedAtMs: number = Date.now()
  readonly #driver: Driver
  readonly #sys: Syscalls | null
  /** Why there are no system calls, '' where there are. */
  readonly #sysProblem: string
  readonly #compileDurations: BucketCounts = new BucketCounts(COMPILE_BOUNDS)
  readonly #updates: MeshState['updates'] = { changed: 0, unchanged: 0, refused: 0 }
  readonly #settings: DaemonSettings
  #listeners: OpenListener[] = []
  #threads: Threads | null = null
  #keeper: TableKeeper | null = null
  #origin: TableOrigin | null = null
  #counterWatch: CounterWatch | null = null
  /** Names of the rules in use. */
  #ruleImage: SharedArrayBuffer | null = null
  #settling: Settling | null = null
  #queryLogging: QueryLogging | null = null
  /** Null as long as no plug-in is configured: nothing of them is loaded then. */
  #plugins: PluginFiles | null = null
  #observer: Observer | null = null
  #xds: (() => XdsStateLike) | null = null
  #xdsHistory: () => readonly XdsEvent[] = () => []
  #originProblems: () => Problem[] = () => []
  #lastReload: Reload | null = null
  /** TCP connections of clients that there is room for. */
  #maxConnections = DEFAULT_STREAM_SETTINGS.maxConnections
  #credentials: () => CredentialState[] = () => []

  constructor(options: DaemonOptions, log: ProcessLog, inherited: Inherited | null, guard: GuardLink | null) {
    const { config } = options
    this.#guard = guard
    this.#inherited = inherited
    this.#endpoints = inherited?.endpoints ?? []
    this.#passed = takePassed(options.env, process.pid)
    this.#log = log
    this.#load = options.reload
    const sys = loadSyscalls()
    const examined = examineStart(options, () => sys)
    this.#warnings = [...options.warnings, ...examined.warnings]
    for (const warning of this.#warnings) log.warn({}, warning)
    this.#sys = typeof sys === 'string' ? null : sys
    this.#sysProblem = typeof sys === 'string' ? sys : ''
    this.manager = openServiceManager(options.env, this.#sys, log)
    this.#driver = chooseDriver(config.driver, sys)
    this.#configFile = new ConfigFile({ ...options, log, onChange: () => this.reload('the file has changed') })
    this.#realDomains = new RealDomains(log)
    this.#settings = new DaemonSettings({
      config,
      log,
      onSettings: (settings) => this.#configureThreads(settings),
      counters: () => this.#threads?.workers.counters ?? [],
      onIdentity: (identity) => this.#keeper?.setIdentity(identity),
      plugins: () => this.#plugins?.settings ?? [],
    })
  }

  /** `signal`: it is to end; what waits for the first table need not. */
  async start(signal: AbortSignal): Promise<void> {
    const { config } = this.#settings
    this.#lookForRoom()
    await this.#loadPlugins()
    const open = this.#inherited?.listeners ?? this.#activated()
    this.#listeners = await openListeners(config, this.#sys, open, this.#log)
    // Nobody outside can choose names that collide in the index or the cache.
    const seed = randomInt(2 ** 32) | 0
    const compiler = new TableCompiler({ identity: this.#settings.identity, seed, now: epochMs })
    const keeper = new TableKeeper({
      compiler,
      publish: (image) => {
        this.#threads?.workers.publish(image)
        if (config.mesh.shortNames !== 'none') this.#realDomains.taken(image, this.#areLeft)
      },
      onUpdate: (result, seconds) => {
        this.#updates[result]++
        if (result !== 'changed') return
        this.#compileDurations.observe(seconds)
        this.#settling?.stir()
      },
      log: this.#log,
      file: config.mesh.lastKnownGood,
      now: Date.now,
    })
    this.#keeper = keeper
    const threads = new Threads({
      config,
      listeners: this.#listeners,
      driver: this.#driver,
      sys: this.#sys,
      settings: this.#settings.engine,
      rootCertificates: this.#settings.rootCertificates,
      maxConnections: this.#maxConnections,
      startedAtMs: this.#startedAtMs,
      seed,
      images: compiler.pool,
      log: this.#log,
      onAdopted: () => keeper.slotFreed(),
      onLoop: (server, from) => this.#settings.loopFound(server, from),
      onStormsOff: (domain, why) => this.#settings.stormsOff(domain, why),
      onRuleMatch: (match) => this.#settings.ruleMatched(match),
      onPluginOff: (id, why) => this.#plugins?.switchedOff(id, why),
    })
    this.#threads = threads
    const hasOrigin = config.mesh.source.kind !== 'none'
    if (hasOrigin) keeper.loadLastKnownGood()
    if (this.#inherited !== null) {
      // The process before this one answers until this one can.
      await this.#startOrigin(keeper)
      if (hasOrigin) await keeper.firstFromOrigin(FIRST_TABLE_MS, signal)
      if (signal.aborted) return
      if (hasOrigin) mustNotBeOlder(keeper, this.#inherited.tableTimeMs, FIRST_TABLE_MS)
      if (this.#sys !== null) for (const listener of this.#listeners) addSockets(this.#sys, listener, config.workers)
    }
    const isQueued = this.#inherited === null && this.#isActivated
    if (isQueued) {
      await this.#startOrigin(keeper)
      await this.firstTable(QUEUED_MS, signal)
    }
    // Side by side: the data workers come up while the table is read, and what is asked meanwhile waits in the sockets.
    await Promise.all([threads.start(), this.#inherited === null && !isQueued ? this.#startOrigin(keeper) : null])
    this.#configFile.watch(config.watchConfig)
    this.#counterWatch = new CounterWatch({
      settings: this.#settings,
      counters: () => threads.workers.counters,
      clock: onWholeSeconds(steadyClock),
      log: this.#log,
    })
    this.#counterWatch.start()
    await this.#startObserver(threads, keeper)
    this.#settle(threads)
    this.#log.info(
      {
        listen: this.#listeners.map(({ address, port }) => socketText(address, port)),
        driver: this.#driver.name,
        why: this.#driver.why,
      },
      'byname is answering',
    )
  }

  #configureThreads(settings: EngineSettings): void {
    const threads = this.#threads
    if (threads === null) return
    threads.configure(settings, this.#settings.rootCertificates)
    const image = settings.rules?.image ?? null
    if (image === this.#ruleImage) return
    this.#ruleImage = image
    // A worker that allocates nothing collects nothing: it would keep the image of before, which may be large.
    void threads.workers.request('collect', null, COLLECT_MS)
    this.#settling?.stir()
  }

  /** The listeners that the service manager passed. @throws Error if they cannot be used, as nobody else can have them */
  #activated(): OpenListener[] {
    const { sockets, problem } = this.#passed
    if (problem !== null) this.#warn(problem)
    if (sockets.length === 0) return []
    if (this.#sys === null)
      throw new Error(
        `the service manager passed ${sockets.length} sockets, and ${this.#sysProblem}; without that they cannot be used: stop the socket unit`,
      )
    const { listeners, endpoints, problems } = placeSockets(sockets, this.#settings.config, this.#sys)
    this.#endpoints = endpoints
    for (const each of problems) this.#warn(each)
    return listeners
  }

  /** All that is asked over UDP waits in sockets that the service manager keeps. */
  get #isActivated(): boolean {
    return this.#listeners.length > 0 && this.#listeners.every((each) => each.isActivated)
  }

  #warn(text: string): void {
    this.#warnings.push(text)
    this.#log.warn({}, text)
  }

  /** Loads what loads plug-ins, and the plug-ins. */
  async #loadPlugins(): Promise<void> {
    if (this.#settings.config.plugins.length === 0 || this.#plugins !== null) return
    const { PluginFiles } = await import('./plugin-files.ts')
    this.#plugins ??= new PluginFiles({ log: this.#log, onChange: () => this.#settings.refresh() })
    this.#plugins.configure(this.#settings.config.plugins)
    this.#settings.refresh()
  }

  /** @throws Error if so few files may be open that it could not answer everybody everything */
  #lookForRoom(): void {
    const { config, engine } = this.#settings
    const plan = {
      listeners: config.listen.length,
      workers: config.workers,
      driver: this.#driver.name,
      servers: engine.servers.length,
      connections: this.#maxConnections,
    }
    const room = roomFor(plan, openFilesLimit())
    if ('problem' in room) throw new Error(room.problem)
    this.#maxConnections = room.connections
    if (room.warning !== null) this.#warn(room.warning)
  }

  async #startOrigin(sink: TableKeeper): Promise<void> {
    const settings = this.#settings
    const resolvers = { engine: () => settings.engine, search: () => settings.search }
    const opened = await openTableOrigin(settings.config, sink, resolvers, this.#log)
    const { origin, xds, problems } = opened
    this.#origin = origin
    this.#xds = xds
    this.#xdsHistory = opened.xdsHistory
    this.#originProblems = problems
    this.#credentials = opened.credentials
    await origin.start()
  }

  #settle({ workers }: Threads): void {
    const collectInWorkers = (): void => void workers.request('collect', null, COLLECT_MS)
    this.#settling = new Settling({ clock: steadyClock, steps: settlingSteps(this.#sys, collectInWorkers) })
    this.#settling.stir()
  }

  /** Whether short names that may be real domains are left to servers. */
  get #areLeft(): boolean {
    return (this.#settings.engine.searchedBelowDots ?? 0) >= 2
  }

  /** Not loaded before DNS is answered: it brings an HTTP server and the metrics library. */
  async #startObserver(threads: Threads, keeper: TableKeeper): Promise<void> {
    const [{ Observer }, { processUsage }] = await Promise.all([
      import('../observe/observer.ts'),
      import('../observe/process-usage.ts'),
    ])
    const { metrics, admin } = this.#settings.config
    const feed = new QueryFeed(threads.workers.queryRings, onWholeSeconds(steadyClock))
    const queryLogging = new QueryLogging({
      feed,
      serverLabel: (number) => this.#settings.serverLabel(number),
      log: this.#log,
    })
    this.#queryLogging = queryLogging
    queryLogging.configure(this.#settings.config)
    this.sources = observeSources({
      startedAtMs: this.#startedAtMs,
      driver: this.#driver,
      settings: this.#settings,
      warnings: () => [...this.#warnings, ...this.#settings.warnings, ...this.#realDomains.warnings(this.#areLeft)],
      listeners: this.#listeners,
      workers: threads.workers,
      feed,
      threadRestarts: () => threads.restarts,
      streamCounters: threads.streamCounters,
      queryLogging,
      plugins: () => this.#plugins,
      keeper,
      xds: this.#xds,
      xdsHistory: this.#xdsHistory,
      recentLog: () => this.#log.recent(),
      problems: () => [...reloadProblems(this.#lastReload), ...this.#originProblems(), ...this.#settings.problems],
      reload: () => this.#lastReload,
      credentials: this.#credentials,
      updates: this.#updates,
      compileDurations: this.#compileDurations,
    })
    this.#observer = new Observer({
      sources: this.sources,
      metrics: this.#endpoint('metrics', metrics.listen),
      admin: this.#endpoint('admin', admin.listen),
      clock: onWholeSeconds(steadyClock),
      usage: processUsage,
      pageTemplate,
      // The process before this one leaves the ports when this one has said that it answers.
      busyAllowedMs: this.#inherited === null ? 0 : PREDECESSOR_STOP_MS,
      log: this.#log,
    })
    closeEndpoints(this.#endpoints)
    await this.#observer.start()
  }

  #endpoint(name: LentEndpoint['name'], listen: Endpoint | null): Endpoint | null {
    if (listen === null) return null
    const { address, port } = listen
    return { address, port, inheritedFd: takeEndpoint(this.#endpoints, name, address, port) }
  }

  #lentEndpoints(): LentEndpoint[] {
    const { metrics, admin } = this.#settings.config
    const { metricsServer, adminServer } = this.#observer!
    return [lent('metrics', metrics.listen, metricsServer), lent('admin', admin.listen, adminServer)].flat()
  }

  /** Resolves once there is a table, or none is to come; after `timeoutMs`, or on `signal`, without one. */
  async firstTable(timeoutMs: number, signal: AbortSignal): Promise<void> {
    if (this.#settings.config.mesh.source.kind !== 'none') await this.#keeper?.firstTable(timeoutMs, signal)
  }

  async started(): Promise<StartedDaemon> {
    return {
      listen: this.#listeners.map(({ address, port }) => ({ address, port })),
      metrics: await boundAddress(this.#observer?.metricsServer),
      admin: await boundAddress(this.#observer?.adminServer),
    }
  }

  /**
   * Loads the configuration again and takes over what can change while it runs; says what cannot. It goes through all that a
   * start does: one with a problem changes nothing.
   */
  reload(why: string): void {
    const log = this.#log
    if (this.#load === undefined) {
      const problem = 'there is no configuration to read again'
      // Whoever asked is told, and nothing is wrong from now on.
      this.#lastReload = { ...nextReload(this.#lastReload, Date.now(), [problem], []), refusedSinceMs: null }
      return log.info({}, `${why}: ${problem}`)
    }
    try {
      const loaded = this.#load()
      const examined = examineStart(loaded, () => this.#sys ?? this.#sysProblem)
      const { config, changed, waiting } = takeOver(loaded.config, this.#settings.config)
      this.#warnings = [...loaded.warnings, ...examined.warnings]
      for (const warning of this.#warnings) log.warn({}, warning)
      log.level = config.log.level
      this.#plugins?.configure(config.plugins)
      this.#settings.reload(config)
      void this.#loadPlugins()
      this.#queryLogging?.configure(config)
      this.#configFile.loaded(loaded.text)
      this.#configFile.watch(config.watchConfig)
      log.info({ why, keys: changed }, 'configuration read again')
      this.#noteReload([], waiting)
      if (waiting.length > 0) this.#sayWhatWaits(waiting, loaded.config)
    } catch (error) {
      const problems = error instanceof ConfigError ? error.problems : [String(error)]
      for (const problem of problems) log.error({}, `the configuration stays as it is: ${problem}`)
      this.#noteReload(problems, [])
    }
  }

  /** Files that were moved away are begun anew, whether or not the configuration can be read again. */
  reopenLogs(): void {
    this.#queryLogging?.reopen()
  }

  #noteReload(problems: readonly string[], fixedKeys: readonly string[]): void {
    this.#lastReload = nextReload(this.#lastReload, Date.now(), problems, fixedKeys)
  }

  #sayWhatWaits(keys: readonly string[], { listen }: Config): void {
    const overlaps = overlap(listen, this.#listeners) ? 'listen overlaps with what is listened on now' : null
    const reason = handOverProblem(this.#sys, this.#sysProblem) ?? overlaps
    const advice = reason === null ? 'a new process: send SIGUSR2 or restart' : `a restart (${reason})`
    this.#log.warn({ keys }, `these keys changed and need ${advice}`)
  }

  /**
   * SIGUSR2: starts a new process and resolves with true once it answers; then this one is to stop. `signal`: this one is
   * to stop anyway, and a new one that is not ready yet ends as well.
   */
  async handOver(signal: AbortSignal): Promise<boolean> {
    const log = this.#log
    if (this.#isHandingOver || this.#observer === null) return false
    const problem = handOverProblem(this.#sys, this.#sysProblem)
    if (problem !== null) {
      log.warn({ reason: problem }, 'SIGUSR2: cannot hand over; restart instead')
      return false
    }
    this.#isHandingOver = true
    try {
      const tableTimeMs = this.#keeper?.image?.timeMs ?? null
      const given = { listeners: this.#listeners, endpoints: this.#lentEndpoints(), tableTimeMs }
      const environment = this.manager?.environment ?? {}
      const pid = await handOver({ ...given, environment }, this.#guard?.fd ?? null, signal)
      this.manager?.handedOver(pid)
      log.info({ pid }, 'handed over to a new process')
      return true
    } catch (error) {
      log.error(
        { reason: error instanceof Error ? error.message : String(error) },
        signal.aborted
          ? 'the new process was not ready yet, and has been ended'
          : 'the new process did not take over; this one goes on',
      )
      return false
    } finally {
      this.#isHandingOver = false
    }
  }

  /** Ends everything in the order in which it depends on each other: what clients wait for last. */
  async stop(isHandedOver: boolean): Promise<void> {
    // Datagrams first: from here on no table comes any more, and the next process has the newest. What is queued in the
    // service manager's sockets waits for it there.
    if (isHandedOver || this.#isActivated) this.#threads?.workers.leaveListeners()
    if (isHandedOver) {
      // While the workers are still there to be asked: the new process takes what comes from now on.
      await this.#observer?.stop(OBSERVER_STOP_MS)
    }
    this.#counterWatch?.stop()
    this.#settling?.stop()
    this.#settings.stop()
    this.#plugins?.stop()
    this.#configFile.watch(false)
    await this.#origin?.stop(ORIGIN_STOP_MS)
    // First: when the stream worker listens no more, nobody does, and who connects is refused at once instead of being reset later.
    this.#close(this.#listeners.map(({ tcpFd }) => tcpFd))
    await this.#threads?.stop()
    await this.#queryLogging?.stop()
    this.#close(this.#listeners.flatMap(({ udpFds }) => udpFds))
    await this.#keeper?.stop()
    if (!isHandedOver) await this.#observer?.stop(OBSERVER_STOP_MS)
    this.#log.flush()
    this.#log.info({}, 'byname has stopped')
  }

  #close(fds: readonly number[]): void {
    for (const fd of fds) if (fd >= 0) this.#sys?.close(fd)
  }
}

/** @throws Error in one line */
function pageTemplate(): string {
  const read = readBoundedText(PAGE, MAX_FILE_BYTES.statusPage)
  if ('problem' in read) throw new Error(`${PAGE} ${read.problem.reason}`)
  return read.text
}

function lent(name: LentEndpoint['name'], listen: Endpoint | null, server: HttpServer | null): LentEndpoint[] {
  const fd = server?.descriptor ?? null
  return listen === null || fd === null ? [] : [{ name, address: listen.address, port: listen.port, fd }]
}

/** Null as well for one that is busy: it is tried again in the background, and DNS does not wait for it. */
function boundAddress(server: HttpServer | null | undefined): Promise<{ address: string; port: number } | null> | null {
  return server && server.problem === null ? server.bound() : null
}

/** Milliseconds since 1970 with fractions. */
function epochMs(): number {
  return performance.timeOrigin + performance.now()
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
