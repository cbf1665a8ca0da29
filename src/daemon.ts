/**
 * The composition root: builds everything in reading order, starts it, drains and stops it. The only place that knows
 * the configuration and all the parts.
 *
 * ```
 *  table source ─→ TableKeeper ─→ compiler ─→ image ─→ DataWorkers ⇄ StreamThread        Observer reads all of them
 * ```
 */
import { randomBytes, randomInt, randomUUID } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { networkInterfaces } from 'node:os'
import type { MessagePort } from 'node:worker_threads'
import { socketText } from './config/address.ts'
import { ConfigError } from './config/config-error.ts'
import { type FileWatch, watchFile, watchFolder } from './config/file-watch.ts'
import { parseHostsFile } from './config/hosts-file.ts'
import { parseResolvConf, type ResolvConf } from './config/resolv-conf.ts'
import type { Config } from './config/schema.ts'
import { COOKIE_SECRET_BYTES } from './dns/cookie.ts'
import { nameToWire } from './dns/name.ts'
import type { EngineSettings, HostEntry } from './engine/settings.ts'
import { deriveSettings, hostEntries, loopProbeNames, serverUses, warningsOf } from './engine-settings.ts'
import { type Inherited, handOver, inherit } from './handover.ts'
import { BucketCounts, COMPILE_BOUNDS } from './observe/bucket-counts.ts'
import type { HttpServer } from './observe/http-server.ts'
import { createLog, type Log } from './observe/log.ts'
import type { Observer } from './observe/observer.ts'
import { readSocketTables } from './observe/socket-drops.ts'
import type { Listener, MeshState, ObserveSources, XdsStateLike } from './observe/sources.ts'
import { addressText } from './os/socket-address.ts'
import { loadSyscalls, type Syscalls } from './os/syscalls.ts'
import { StreamCounters } from './stats/stream-counters.ts'
import { DEFAULT_STREAM_SETTINGS } from './stream/stream-settings.ts'
import { StreamThread } from './stream/stream-thread.ts'
import { TableCompiler } from './table/compile.ts'
import type { TableIdentity } from './table/identity.ts'
import { TableKeeper } from './table/table-keeper.ts'
import { version } from './version.ts'
import { DataWorkers } from './worker/data-workers.ts'
import { BindError, bindError, forWorker, type OpenListener, openListener, probeListener } from './worker/listeners.ts'
import type { WorkerListener } from './worker/mailbox.ts'

/** Where a daemon that has started listens; ports are the real ones where the configuration said 0. */
export interface StartedDaemon {
  listen: { address: string; port: number }[]
  metrics: { address: string; port: number } | null
  admin: { address: string; port: number } | null
}

/** What the daemon is started with. */
export interface DaemonOptions {
  config: Config
  /** One line each, from loading the configuration. */
  warnings: string[]
  /** Aborting drains and stops. */
  signal: AbortSignal
  env: NodeJS.ProcessEnv
  /** Loads the configuration again, for SIGHUP. @throws ConfigError; without it SIGHUP changes nothing */
  reload?: () => { config: Config; warnings: string[] }
  /** Called once every socket is bound and the first table is there, or has been waited for. */
  onStarted?: (started: StartedDaemon) => void
}

const DRAIN_MS = 5000
const PING_MS = 1000
const FLUSH_MS = 2000
const OBSERVER_STOP_MS = 1000
const SOURCE_STOP_MS = 1000
/** After a handover the new process waits so long for its table before it takes queries. */
const FIRST_TABLE_MS = 15_000
/** Whoever wants to be told of the start is told after so long without a table. */
const SHOWN_TABLE_MS = 5000

/** Whatever brings the name table. */
interface TableSource {
  start(): void | Promise<void>
  stop(deadlineMs: number): Promise<void>
}

/** Runs the daemon; resolves when it has stopped cleanly. @throws ConfigError, BindError */
export async function runDaemon(options: DaemonOptions): Promise<void> {
  const log = await createLog(options.config.log)
  const inherited = inherit(options.env)
  const daemon = new Daemon(options, log, inherited)
  const handedOver = new AbortController()
  const onHangUp = (): void => daemon.reload(options.reload)
  const onHandOver = (): void => void daemon.handOver().then((isDone) => isDone && handedOver.abort())
  process.on('SIGHUP', onHangUp)
  process.on('SIGUSR2', onHandOver)
  try {
    await daemon.start()
    inherited?.reportReady()
    if (options.onStarted !== undefined) {
      await daemon.firstTable(SHOWN_TABLE_MS)
      options.onStarted(await daemon.started())
    }
    await aborted(AbortSignal.any([options.signal, handedOver.signal]))
    log.info({}, 'draining')
  } finally {
    process.off('SIGHUP', onHangUp)
    process.off('SIGUSR2', onHandOver)
    await daemon.stop(handedOver.signal.aborted)
  }
}

class Daemon {
  #config: Config
  readonly #log: Log
  #warnings: string[]
  readonly #inherited: Inherited | null
  #isHandingOver = false
  readonly #startedAtMs: number = Date.now()
  readonly #driver: { name: 'batch' | 'dgram'; why: string }
  readonly #sys: Syscalls | null
  readonly #streamCounters: StreamCounters = new StreamCounters()
  readonly #compileDurations: BucketCounts = new BucketCounts(COMPILE_BOUNDS)
  readonly #updates: MeshState['updates'] = { changed: 0, unchanged: 0, refused: 0 }
  readonly #watches: FileWatch[] = []
  readonly #cookieSecret: Uint8Array = new Uint8Array(randomBytes(COOKIE_SECRET_BYTES))
  /** Names that are asked for to find loops, and the servers that were found to forward to us. */
  #loopProbeId: string = randomUUID()
  readonly #looping: Set<string> = new Set()
  #resolvConf: ResolvConf
  #hosts: readonly HostEntry[]
  #settings: EngineSettings
  readonly #rootCertificates: string | null
  #searchDomain: string | null
  #listeners: OpenListener[] = []
  #workers: DataWorkers | null = null
  #stream: StreamThread | null = null
  #keeper: TableKeeper | null = null
  #source: TableSource | null = null
  #observer: Observer | null = null
  #xds: (() => XdsStateLike) | null = null
  readonly #onExit: () => void = () => this.#workers?.endNow()

  constructor({ config, warnings }: DaemonOptions, log: Log, inherited: Inherited | null) {
    this.#config = config
    this.#inherited = inherited
    this.#log = log
    this.#warnings = [...warnings, ...warningsOf(config)]
    for (const warning of this.#warnings) log.warn({}, warning)
    const sys = loadSyscalls()
    this.#sys = typeof sys === 'string' ? null : sys
    this.#driver = chooseDriver(config.driver, sys)
    this.#rootCertificates = readRootCertificates(config.upstream.rootCert)
    this.#resolvConf = this.#readResolvConf()
    this.#hosts = this.#readHosts()
    this.#settings = this.#deriveSettings(true)
    this.#searchDomain = this.#identity().searchDomain
  }

  async start(): Promise<void> {
    const config = this.#config
    this.#listeners = await this.#openListeners()
    // Nobody outside can choose names that collide in the index or the cache.
    const seed = randomInt(2 ** 32) | 0
    const compiler = new TableCompiler({ identity: this.#identity(), seed, now: epochMs })
    const keeper = new TableKeeper({
      compiler,
      publish: (image) => this.#workers?.publish(image),
      onUpdate: (result, seconds) => {
        this.#updates[result]++
        if (result === 'changed') this.#compileDurations.observe(seconds)
      },
      log: this.#log,
      file: config.mesh.lastKnownGood,
      now: Date.now,
    })
    this.#keeper = keeper
    const ports: { port: MessagePort; wakeFd: number }[] = []
    const workers = new DataWorkers({
      count: config.workers,
      driver: this.#driver.name,
      sys: this.#sys,
      listeners: (index) => this.#workerListeners(index),
      settings: this.#settings,
      startedAtEpochMs: this.#startedAtMs,
      seed,
      log: this.#log,
      images: compiler.pool,
      onAdopted: () => keeper.slotFreed(),
      onLoop: (server, from) => this.#loopFound(server, from),
      onStreamPort: (index, port, wakeFd) => {
        if (this.#stream === null) ports[index] = { port, wakeFd }
        else this.#stream.replace(index, { port, wakeFd })
      },
    })
    this.#workers = workers
    process.on('exit', this.#onExit)
    keeper.loadLastKnownGood()
    if (this.#inherited !== null) {
      // The process before this one answers until this one can.
      await this.#startSource(keeper)
      await keeper.firstTable(FIRST_TABLE_MS)
    }
    // Side by side: the threads come up while the table is read, and what is asked meanwhile waits in the sockets.
    const threads = Promise.all([workers.start(), this.#startStream(workers, ports)])
    await Promise.all([threads, this.#inherited === null ? this.#startSource(keeper) : null])
    this.#watchResolvConf()
    this.#watchHostsFile()
    await this.#startObserver()
    this.#log.info(
      {
        listen: this.#listeners.map(({ address, port }) => socketText(address, port)),
        driver: this.#driver.name,
        why: this.#driver.why,
      },
      'byname is answering',
    )
  }

  /** Not loaded before DNS is answered: it brings an HTTP server and the metrics library. */
  async #startObserver(): Promise<void> {
    const { Observer } = await import('./observe/observer.ts')
    const { metrics, admin } = this.#config
    this.#observer = new Observer({
      sources: this.#sources(),
      metrics: metrics.listen,
      admin: admin.listen,
      log: this.#log,
    })
    await this.#observer.start()
  }

  /** Resolves once there is a table, or after `timeoutMs` without one. */
  async firstTable(timeoutMs: number): Promise<void> {
    await this.#keeper?.firstTable(timeoutMs)
  }

  async started(): Promise<StartedDaemon> {
    return {
      listen: this.#listeners.map(({ address, port }) => ({ address, port })),
      metrics: await boundAddress(this.#observer?.metricsServer),
      admin: await boundAddress(this.#observer?.adminServer),
    }
  }

  /** SIGHUP: takes over what can change while it runs, and says what cannot. A bad configuration changes nothing. */
  reload(load: DaemonOptions['reload']): void {
    const log = this.#log
    if (load === undefined) return log.info({}, 'SIGHUP: there is no configuration file to read again')
    try {
      const { config, warnings } = load()
      const { merged, fixed } = keepFixed(config, this.#config)
      this.#config = merged
      this.#warnings = [...warnings, ...warningsOf(merged)]
      log.level = config.log.level
      this.#resolvConf = this.#readResolvConf()
      this.#hosts = this.#readHosts()
      this.#forgetLoops()
      this.#applySettings()
      log.info({}, 'configuration read again')
      if (fixed.length > 0)
        log.warn({ keys: fixed }, 'these keys changed and need a new process: send SIGUSR2 or restart')
    } catch (error) {
      const problems = error instanceof ConfigError ? error.problems : [String(error)]
      for (const problem of problems) log.error({}, `the configuration stays as it is: ${problem}`)
    }
  }

  /** SIGUSR2: starts a new process and resolves with true once it answers; then this one is to stop. */
  async handOver(): Promise<boolean> {
    const log = this.#log
    if (this.#isHandingOver || this.#observer === null) return false
    if (this.#sys === null || process.pid === 1) {
      const reason =
        process.pid === 1 ? 'this process is the first of its container, which ends with it' : this.#driver.why
      log.warn({ reason }, 'SIGUSR2: cannot hand over; restart instead')
      return false
    }
    this.#isHandingOver = true
    try {
      const pid = await handOver(this.#listeners)
      log.info({ pid }, 'handed over to a new process')
      return true
    } catch (error) {
      log.error(
        { reason: error instanceof Error ? error.message : String(error) },
        'the new process did not take over; this one goes on',
      )
      return false
    } finally {
      this.#isHandingOver = false
    }
  }

  /** Ends everything in the order in which it depends on each other: what clients wait for last. */
  async stop(isHandedOver: boolean): Promise<void> {
    for (const watch of this.#watches) watch.close()
    await this.#source?.stop(SOURCE_STOP_MS)
    await this.#stream?.stop(DRAIN_MS)
    const ended = await this.#workers?.stop(DRAIN_MS, isHandedOver)
    if ((ended?.overdue ?? 0) > 0) {
      // A thread that does not come back would keep the process for ever, `process.exit` included.
      this.#log.error({ workers: ended?.overdue }, 'data workers did not end in time')
      process.kill(process.pid, 'SIGKILL')
    }
    process.off('exit', this.#onExit)
    for (const fd of this.#listeners.flatMap(({ tcpFd, udpFds }) => [tcpFd, ...udpFds]))
      if (fd >= 0) this.#sys?.close(fd)
    await this.#keeper?.stop()
    await this.#observer?.stop(OBSERVER_STOP_MS)
    this.#log.info({}, 'byname has stopped')
  }

  // ── listeners and workers ───────────────────────────────────────────────────────────────────────────────────────────

  async #openListeners(): Promise<OpenListener[]> {
    const { listen, workers } = this.#config
    const sys = this.#sys
    const open: OpenListener[] = []
    const inherited = [...(this.#inherited?.listeners ?? [])]
    for (const { address, port } of listen) {
      const known = inherited.findIndex((other) => other.address === address && (port === 0 || other.port === port))
      if (known >= 0 && inherited[known]!.udpFds.length === workers) {
        open.push(...inherited.splice(known, 1))
        continue
      }
      try {
        const listener =
          sys === null ? await probeListener(address, port, workers) : openListener(sys, address, port, workers)
        if (listener === null)
          this.#log.info({ address }, 'no such address family on this machine: not listening there')
        else open.push(listener)
      } catch (error) {
        for (const { tcpFd, udpFds } of open) for (const fd of [tcpFd, ...udpFds]) sys?.close(fd)
        throw error
      }
    }
    for (const { tcpFd, udpFds } of inherited) for (const fd of [tcpFd, ...udpFds]) sys?.close(fd)
    if (open.length === 0)
      throw new BindError('', 'EADDRNOTAVAIL', 'none of the listen addresses is to be had on this machine')
    return open
  }

  /** The batch driver uses the descriptors as they are; a socket of Node's closes its own, so it gets another one. */
  #workerListeners(index: number): WorkerListener[] {
    return this.#listeners.map((listener) => {
      const lent = forWorker(listener, index)
      return this.#driver.name === 'dgram' && lent.fd >= 0 ? { ...lent, fd: this.#sys!.duplicate(lent.fd) } : lent
    })
  }

  async #startStream(workers: DataWorkers, ports: { port: MessagePort; wakeFd: number }[]): Promise<void> {
    const stream = new StreamThread({
      listeners: () =>
        this.#listeners.map(({ address, port, tcpFd }) => ({
          address,
          port,
          fd: tcpFd < 0 ? null : this.#sys!.duplicate(tcpFd),
        })),
      settings: {
        ...DEFAULT_STREAM_SETTINGS,
        upstream: { ...DEFAULT_STREAM_SETTINGS.upstream, rootCertificates: this.#rootCertificates },
      },
      servers: this.#settings.servers,
      counters: this.#streamCounters.buffer,
      openPorts: () => workers.openStreamPorts(),
      log: this.#log,
    })
    this.#stream = stream
    const { failed } = await stream.start(ports)
    const [first] = failed
    if (first === undefined) return
    if (first.code === 'EADDRINUSE') throw bindError(first.address, first.port, 'TCP', first.code)
    throw new BindError(socketText(first.address, first.port), first.code, first.message)
  }

  // ── settings ────────────────────────────────────────────────────────────────────────────────────────────────────────

  #identity(): TableIdentity {
    const { namespace, domain } = this.#config.identity
    return { namespace, domain, searchDomain: this.#resolvConf.search[0] ?? null }
  }

  #readResolvConf(): ResolvConf {
    const { resolvConf, servers } = this.#config.upstream
    try {
      return parseResolvConf(readFileSync(resolvConf, 'utf8'))
    } catch (error) {
      const reason = errorCode(error)
      const remedy = servers.length > 0 ? 'no search domains' : 'no upstream servers: name some in upstream.servers'
      this.#log.warn({ file: resolvConf, reason }, `resolv.conf cannot be read: ${remedy}`)
      return parseResolvConf('')
    }
  }

  #readHosts(): HostEntry[] {
    const file = this.#config.hostsFile
    if (file === '') return []
    try {
      return hostEntries(parseHostsFile(readFileSync(file, 'utf8')))
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error)
      this.#log.warn({ file, reason }, 'the hosts file cannot be read: no names from it')
      return []
    }
  }

  #deriveSettings(isStart: boolean): EngineSettings {
    const own = Object.values(networkInterfaces()).flatMap((infos) => (infos ?? []).map((info) => info.address))
    const { settings, loops } = deriveSettings(this.#config, this.#resolvConf, own, this.#hosts)
    for (const label of loops) {
      const { servers, routes } = this.#config.upstream
      const isIn = (list: readonly { label: string }[]): boolean => list.some((server) => server.label === label)
      const key = isIn(servers)
        ? 'upstream.servers'
        : routes.some((route) => isIn(route.servers))
          ? 'upstream.routes'
          : null
      const message = `upstream server ${label} is byname's own listener: that would be a loop`
      if (key !== null && isStart) throw new ConfigError([`${key}: ${message}; name the resolver behind it`])
      this.#log.error({ server: label }, `${message}; it is left out`)
    }
    const loopProbe = loopProbeNames(this.#loopProbeId, settings)
    for (const route of settings.routes)
      route.servers = route.servers.filter((index) => !this.#looping.has(settings.servers[index]!.label))
    if (settings.routes.at(-1)!.servers.length === 0) {
      this.#log.warn(
        { resolvConf: this.#config.upstream.resolvConf },
        'no upstream servers: names outside the mesh get SERVFAIL',
      )
    }
    return { ...settings, loopProbe, cookieSecret: this.#cookieSecret }
  }

  /** A query for a name that only one server was asked for has come to us: that server is asked no more. */
  #loopFound(label: string, from: Uint8Array): void {
    if (this.#looping.has(label)) return
    this.#looping.add(label)
    this.#log.error(
      { server: label, from: addressText(from) },
      `upstream server ${label} is a loop: what byname asks it comes back as a query. It forwards to byname, or queries to it are redirected here; it is asked no more until resolv.conf changes`,
    )
    this.#applySettings()
  }

  /** Servers may be others now, or lead elsewhere: loops are looked for anew. */
  #forgetLoops(): void {
    this.#loopProbeId = randomUUID()
    this.#looping.clear()
  }

  /** Hands what the configuration and resolv.conf say now to everybody. */
  #applySettings(): void {
    this.#settings = this.#deriveSettings(false)
    this.#workers?.configure(this.#settings)
    this.#stream?.configure(this.#settings.servers)
    const identity = this.#identity()
    if (identity.searchDomain === this.#searchDomain) return
    this.#searchDomain = identity.searchDomain
    this.#keeper?.setIdentity(identity)
  }

  #watchResolvConf(): void {
    const file = this.#config.upstream.resolvConf
    this.#watches.push(
      watchFile(file, () => {
        if (!existsSync(file)) return this.#log.warn({ file }, 'resolv.conf is gone: its last servers stay')
        this.#resolvConf = this.#readResolvConf()
        this.#forgetLoops()
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

  // ── the table's source ──────────────────────────────────────────────────────────────────────────────────────────────

  async #startSource(sink: TableKeeper): Promise<void> {
    this.#source = await this.#openSource(sink)
    await this.#source.start()
  }

  async #openSource(sink: TableKeeper): Promise<TableSource> {
    const { source } = this.#config.mesh
    const log = this.#log
    if (source.kind === 'table') {
      const { TableFileSource } = await import('./xds/table-file.ts')
      return new TableFileSource({ path: source.file, sink, log, watch: watchFile })
    }
    if (source.kind === 'files') {
      const { MeshFilesSource } = await import('./mesh/files-source.ts')
      const { namespace, network, cluster, domain } = this.#config.identity
      return new MeshFilesSource({
        folder: source.folder,
        node: { namespace, network, cluster, domain },
        sink,
        log,
        watchFolder,
      })
    }
    if (source.tls !== null || source.token !== '') {
      const problem = 'TLS and tokens towards the control plane are not there yet'
      throw new ConfigError([
        `mesh.source.xds: ${problem}; use the plaintext port (15010 of istiod) without tls and token`,
      ])
    }
    const { AdsClient } = await import('./xds/ads-client.ts')
    const { buildNode } = await import('./xds/node.ts')
    const { plaintext } = await import('./xds/credentials.ts')
    const ownAddresses = Object.values(networkInterfaces()).flatMap((infos) =>
      (infos ?? []).filter((info) => !info.internal).map((info) => info.address),
    )
    const client = new AdsClient({
      addresses: source.addresses.map(({ text }) => text),
      delta: source.delta,
      node: buildNode({
        identity: this.#config.identity,
        metadata: this.#config.istio.metadata,
        ownAddresses,
        version,
      }),
      credentials: plaintext,
      sink,
      log,
      random: Math.random,
    })
    this.#xds = () => client.state()
    return client
  }

  // ── what others want to know ────────────────────────────────────────────────────────────────────────────────────────

  #sources(): ObserveSources {
    const workers = this.#workers!
    return {
      version,
      pid: process.pid,
      startedAtMs: this.#startedAtMs,
      nowMs: Date.now,
      driver: () => this.#driver,
      listeners: () =>
        this.#listeners.flatMap(({ address, port }): Listener[] => [
          { proto: 'udp', address, port },
          { proto: 'tcp', address, port },
        ]),
      counters: () => workers.counters,
      workerRestarts: () => workers.restarts + (this.#stream?.restarts ?? 0),
      streamCounters: () => this.#streamCounters,
      serverLabels: () => this.#settings.servers.map(({ label }) => label),
      serverUses: () => serverUses(this.#settings, this.#looping),
      mesh: () => this.#meshState(),
      xds: () => this.#xds?.() ?? null,
      tableJson: () => this.#keeper!.json(),
      config: () => this.#config,
      ready: () => {
        const missing = this.#keeper?.image ? [] : ['no name table has arrived yet']
        return { ready: missing.length === 0, missing }
      },
      ping: () => workers.ping(PING_MS),
      flush: (name) => workers.flush(name === null ? null : lowerWire(name), FLUSH_MS),
      warnings: () => this.#warnings,
      socketTables: readSocketTables,
    }
  }

  #meshState(): MeshState {
    const keeper = this.#keeper!
    const { image } = keeper
    return {
      hosts: image?.hosts ?? 0,
      bytes: image?.byteLength ?? 0,
      version: image?.version ?? '',
      source: sourceText(this.#config),
      fromLastKnownGood: keeper.isFromLastKnownGood,
      updatedAtMs: keeper.updatedAtMs,
      skippedHosts: image?.skippedHosts ?? 0,
      updates: this.#updates,
      compileDurations: this.#compileDurations,
    }
  }
}

/** The new configuration with the old values of what sockets, threads and table are made by, and those keys that differ. */
function keepFixed(config: Config, old: Config): { merged: Config; fixed: string[] } {
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
    mesh: { ...config.mesh, source: old.mesh.source, lastKnownGood: old.mesh.lastKnownGood },
    upstream: {
      ...config.upstream,
      resolvConf: old.upstream.resolvConf,
      maxInFlight: old.upstream.maxInFlight,
      rootCert: old.upstream.rootCert,
    },
  }
  const values: Record<string, unknown> = { ...merged }
  const fixed = Object.entries(config).filter(([key, value]) => JSON.stringify(values[key]) !== JSON.stringify(value))
  return { merged, fixed: fixed.map(([key]) => key) }
}

/** ENOENT and the like; else the error in words. */
function errorCode(error: unknown): string {
  return error instanceof Error && 'code' in error ? String(error.code) : String(error)
}

/** Text of the file of root certificates, null where none is named. @throws ConfigError */
function readRootCertificates(file: string): string | null {
  if (file === '') return null
  const problem = (reason: string): ConfigError =>
    new ConfigError([`upstream.rootCert: ${file} ${reason}; name a file of root certificates (PEM), or leave it empty`])
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw problem(`cannot be read (${errorCode(error)})`)
  }
  if (!text.includes('-----BEGIN CERTIFICATE-----')) throw problem('holds no certificate')
  return text
}

/** The driver that runs, and why that one. @throws ConfigError if `batch` is asked for and is not to be had */
function chooseDriver(wanted: Config['driver'], sys: Syscalls | string): { name: 'batch' | 'dgram'; why: string } {
  if (wanted === 'dgram') return { name: 'dgram', why: 'asked for by the configuration' }
  if (typeof sys !== 'string')
    return {
      name: 'batch',
      why: wanted === 'auto' ? 'batched system calls work here' : 'asked for by the configuration',
    }
  if (wanted === 'batch') throw new ConfigError([`driver: batch is not to be had here: ${sys}; use auto`])
  return { name: 'dgram', why: sys }
}

/** Null as well for one that is busy: it is tried again in the background, and DNS does not wait for it. */
function boundAddress(server: HttpServer | null | undefined): Promise<{ address: string; port: number } | null> | null {
  return server && server.problem === null ? server.bound() : null
}

function sourceText({ mesh: { source } }: Config): string {
  if (source.kind === 'table') return `file ${source.file}`
  if (source.kind === 'files') return `files in ${source.folder}`
  return `xds ${source.addresses.map(({ text }) => text).join(', ')}`
}

function lowerWire(name: string): Uint8Array {
  return nameToWire(name.toLowerCase()) ?? new Uint8Array(0)
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
