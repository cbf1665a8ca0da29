/**
 * The composition root, as an outline: start, reload, hand over, stop. With the files beside it the only place that knows
 * the configuration and all the parts.
 *
 * ```
 *  NameTables (origin ─→ keeper ─→ compiler ─→ image) ─→ Threads (data workers ⇄ stream worker)   Endpoints: the observer
 *  ConfigReload ─→ DaemonSettings (resolv.conf, hosts) ──↗  ↖── DaemonSockets                      reads all of them
 * ```
 */
import { randomInt } from 'node:crypto'
import { onWholeSeconds, steadyClock } from '../base/clock.ts'
import { socketText } from '../config/address.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import type { EngineSettings } from '../engine/settings.ts'
import { createLog, type ProcessLog } from '../observe/log.ts'
import type { ObserveSources } from '../observe/sources.ts'
import { loadSyscalls, type Syscalls } from '../os/syscalls.ts'
import { QueryFeed } from '../querylog/query-feed.ts'
import { DEFAULT_STREAM_SETTINGS } from '../stream/stream-settings.ts'
import { ConfigReload } from './config-reload.ts'
import { CounterWatch } from './counter-watch.ts'
import { DaemonSockets } from './daemon-sockets.ts'
import { startThread, type StartThread } from './data-thread.ts'
import { type BoundAddress, Endpoints } from './endpoints.ts'
import { type GuardLink, linkToGuard } from './guard-link.ts'
import { handOver, handOverProblem, inherit, type Inherited, mustNotBeOlder } from './handover.ts'
import { chooseDriver, type Driver } from './listeners.ts'
import { NameTables } from './name-tables.ts'
import { observeSources } from './observed.ts'
import { openFilesLimit, roomFor } from './open-files.ts'
import type { PluginFiles } from './plugin-files.ts'
import { QueryLogging } from './query-logging.ts'
import { openServiceManager, type ServiceManager, serviceState } from './service-manager.ts'
import { DaemonSettings } from './settings.ts'
import { isMemoryShort, Settling, settlingSteps } from './settling.ts'
import { DRAIN_MS, Threads } from './threads.ts'

/** Where a daemon that has started listens; ports are the real ones where the configuration said 0. */
export interface StartedDaemon {
  listen: BoundAddress[]
  metrics: BoundAddress | null
  admin: BoundAddress | null
}

/** What the daemon is started with. */
export interface DaemonOptions extends LoadedConfig {
  /** Aborting drains and stops. */
  signal: AbortSignal
  env: NodeJS.ProcessEnv
  /** Loads the configuration again. @throws ConfigError; without it there is nothing to load again */
  reload?: () => LoadedConfig
  /** How threads of data workers are started, if one was started before this. */
  startThread?: StartThread
  /** Called once every socket is bound and the first table is there, or has been waited for. */
  onStarted?: (started: StartedDaemon) => void
}

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
  readonly #startThread: StartThread
  readonly #startedAtMs: number = Date.now()
  readonly #guard: GuardLink | null
  readonly #inherited: Inherited | null
  readonly #sys: Syscalls | null
  /** Why there are no system calls, '' where there are. */
  readonly #sysProblem: string
  readonly #driver: Driver
  /** Null where no service manager is to be told. */
  readonly manager: ServiceManager | null
  readonly #config: ConfigReload
  readonly #settings: DaemonSettings
  readonly #sockets: DaemonSockets
  readonly #tables: NameTables
  readonly #endpoints: Endpoints
  /** Of all name hashes. Nobody outside can choose names that collide in the index or the cache. */
  readonly #seed: number = randomInt(2 ** 32) | 0
  /** Null as long as no plug-in is configured: nothing of them is loaded then. */
  #plugins: PluginFiles | null = null
  #threads: Threads | null = null
  #counterWatch: CounterWatch | null = null
  #settling: Settling | null = null
  #queryLogging: QueryLogging | null = null
  /** What there is to see of this daemon, null before it answers. */
  sources: ObserveSources | null = null
  #isHandingOver = false

  constructor(options: DaemonOptions, log: ProcessLog, inherited: Inherited | null, guard: GuardLink | null) {
    const { config, env } = options
    this.#startThread = options.startThread ?? startThread
    this.#log = log
    this.#guard = guard
    this.#inherited = inherited
    const sys = loadSyscalls()
    this.#sys = typeof sys === 'string' ? null : sys
    this.#sysProblem = typeof sys === 'string' ? sys : ''
    const calls = { sys: this.#sys, sysProblem: this.#sysProblem, log }
    this.#sockets = new DaemonSockets({ ...calls, env, inherited, warn: (line) => this.#config.warn(line) })
    this.#config = new ConfigReload({
      ...calls,
      loaded: options,
      load: options.reload,
      current: () => this.#settings.config,
      listeners: () => this.#sockets.listeners,
      take: (taken) => this.#takeConfig(taken),
    })
    this.manager = openServiceManager(env, this.#sys, log)
    this.#driver = chooseDriver(config.driver, sys)
    this.#settings = new DaemonSettings({
      config,
      log,
      onSettings: (settings) => this.#configureThreads(settings),
      counters: () => this.#threads?.workers.counters ?? [],
      onIdentity: (identity) => this.#tables.keeper.setIdentity(identity),
      plugins: () => this.#plugins?.settings ?? [],
    })
    this.#tables = new NameTables({
      config,
      identity: this.#settings.identity,
      seed: this.#seed,
      resolvers: { engine: () => this.#settings.engine, search: () => this.#settings.search },
      areRealDomainsLeft: () => (this.#settings.engine.searchedBelowDots ?? 0) >= 2,
      publish: (image) => this.#threads?.workers.publish(image),
      onChanged: () => this.#settling?.stir(),
      log,
    })
    this.#endpoints = new Endpoints({ config, log })
  }

  /** `signal`: it is to end; what waits for the first table need not. */
  async start(signal: AbortSignal): Promise<void> {
    const { config } = this.#settings
    const maxConnections = this.#roomForConnections()
    await this.#loadPlugins()
    await this.#sockets.open(config)
    const threads = this.#makeThreads(maxConnections)
    this.#threads = threads
    const tables = this.#tables
    tables.loadLastKnownGood()
    if (this.#inherited !== null) {
      // The process before this one answers until this one can.
      await tables.startOrigin()
      await tables.firstFromOrigin(FIRST_TABLE_MS, signal)
      if (signal.aborted) return
      if (tables.hasOrigin) mustNotBeOlder(tables.keeper, this.#inherited.tableTimeMs, FIRST_TABLE_MS)
      this.#sockets.addFor(config.workers)
    }
    const isQueued = this.#inherited === null && this.#sockets.areActivated
    if (isQueued) {
      await tables.startOrigin()
      await tables.first(QUEUED_MS, signal)
    }
    // Side by side: the data workers come up while the table is read, and what is asked meanwhile waits in the sockets.
    await Promise.all([threads.start(), this.#inherited === null && !isQueued ? tables.startOrigin() : null])
    this.#config.watch()
    this.#counterWatch = new CounterWatch({
      settings: this.#settings,
      counters: () => threads.workers.counters,
      clock: onWholeSeconds(steadyClock),
      log: this.#log,
    })
    this.#counterWatch.start()
    await this.#startEndpoints(threads)
    this.#settling = new Settling({
      clock: steadyClock,
      isHurried: isMemoryShort(),
      steps: settlingSteps(this.#sys, () => threads.collect()),
    })
    this.#settling.stir()
    this.#log.info(
      {
        listen: this.#sockets.listeners.map(({ address, port }) => socketText(address, port)),
        driver: this.#driver.name,
        why: this.#driver.why,
      },
      'byname is answering',
    )
  }

  /** @throws Error if so few files may be open that it could not answer everybody everything */
  #roomForConnections(): number {
    const { config, engine } = this.#settings
    const plan = {
      listeners: config.listen.length,
      workers: config.workers,
      driver: this.#driver.name,
      servers: engine.servers.length,
      connections: DEFAULT_STREAM_SETTINGS.maxConnections,
    }
    const room = roomFor(plan, openFilesLimit())
    if ('problem' in room) throw new Error(room.problem)
    if (room.warning !== null) this.#config.warn(room.warning)
    return room.connections
  }

  #makeThreads(maxConnections: number): Threads {
    const settings = this.#settings
    return new Threads({
      config: settings.config,
      listeners: this.#sockets.listeners,
      driver: this.#driver,
      sys: this.#sys,
      settings: settings.engine,
      rootCertificates: settings.rootCertificates,
      maxConnections,
      startedAtMs: this.#startedAtMs,
      seed: this.#seed,
      images: this.#tables.images,
      startThread: this.#startThread,
      log: this.#log,
      onAdopted: () => this.#tables.keeper.slotFreed(),
      onLoop: (server, from) => settings.loopFound(server, from),
      onStormsOff: (domain, why) => settings.stormsOff(domain, why),
      onRuleMatch: (match) => settings.ruleMatched(match),
      onPluginOff: (id, why) => this.#plugins?.switchedOff(id, why),
    })
  }

  async #startEndpoints(threads: Threads): Promise<void> {
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
      config: this.#config,
      settings: this.#settings,
      listeners: this.#sockets.listeners,
      threads,
      feed,
      queryLogging,
      plugins: () => this.#plugins,
      tables: this.#tables,
      recentLog: () => this.#log.recent(),
    })
    // The process before this one leaves the ports when this one has said that it answers.
    const busyAllowedMs = this.#inherited === null ? 0 : PREDECESSOR_STOP_MS
    await this.#endpoints.start(this.sources, this.#sockets.endpoints, busyAllowedMs)
  }

  /** Loads what loads plug-ins, and the plug-ins. */
  async #loadPlugins(): Promise<void> {
    if (this.#settings.config.plugins.length === 0 || this.#plugins !== null) return
    const { PluginFiles } = await import('./plugin-files.ts')
    this.#plugins ??= new PluginFiles({ log: this.#log, onChange: () => this.#settings.refresh() })
    this.#plugins.configure(this.#settings.config.plugins)
    this.#settings.refresh()
  }

  #configureThreads(settings: EngineSettings): void {
    // What is left behind may be large.
    if (this.#threads?.configure(settings, this.#settings.rootCertificates)) this.#settling?.stir()
  }

  /** Resolves once there is a table, or none is to come; after `timeoutMs`, or on `signal`, without one. */
  async firstTable(timeoutMs: number, signal: AbortSignal): Promise<void> {
    await this.#tables.first(timeoutMs, signal)
  }

  async started(): Promise<StartedDaemon> {
    const listen = this.#sockets.listeners.map(({ address, port }) => ({ address, port }))
    return { listen, ...(await this.#endpoints.bound()) }
  }

  /** Reads the configuration again, see `ConfigReload.reload`. */
  reload(why: string): void {
    this.#config.reload(why)
  }

  #takeConfig(config: Config): void {
    this.#log.level = config.log.level
    this.#plugins?.configure(config.plugins)
    this.#settings.reload(config)
    void this.#loadPlugins()
    this.#queryLogging?.configure(config)
  }

  /** Files that were moved away are begun anew, whether or not the configuration can be read again. */
  reopenLogs(): void {
    this.#queryLogging?.reopen()
  }

  /**
   * SIGUSR2: starts a new process and resolves with true once it answers; then this one is to stop. `signal`: this one is
   * to stop anyway, and a new one that is not ready yet ends as well.
   */
  async handOver(signal: AbortSignal): Promise<boolean> {
    const log = this.#log
    if (this.#isHandingOver || !this.#endpoints.areOpen) return false
    const problem = handOverProblem(this.#sys, this.#sysProblem)
    if (problem !== null) {
      log.warn({ reason: problem }, 'SIGUSR2: cannot hand over; restart instead')
      return false
    }
    this.#isHandingOver = true
    try {
      const given = {
        listeners: this.#sockets.listeners,
        endpoints: this.#endpoints.lend(),
        tableTimeMs: this.#tables.keeper.image?.timeMs ?? null,
        environment: this.manager?.environment ?? {},
      }
      const pid = await handOver(given, this.#guard?.fd ?? null, signal)
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
    if (isHandedOver || this.#sockets.areActivated) this.#threads?.workers.leaveListeners()
    // While the workers are still there to be asked: the new process takes what comes from now on.
    if (isHandedOver) await this.#endpoints.stop()
    this.#counterWatch?.stop()
    this.#settling?.stop()
    this.#settings.stop()
    this.#plugins?.stop()
    this.#config.stop()
    await this.#tables.stopOrigin(ORIGIN_STOP_MS)
    // First: when the stream worker listens no more, nobody does, and who connects is refused at once instead of being reset later.
    this.#sockets.closeTcp()
    await this.#threads?.stop()
    await this.#queryLogging?.stop()
    this.#sockets.closeUdp()
    await this.#tables.stop()
    if (!isHandedOver) await this.#endpoints.stop()
    this.#log.flush()
    this.#log.info({}, 'byname has stopped')
  }
}

function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve()
    else signal.addEventListener('abort', () => resolve(), { once: true })
  })
}
