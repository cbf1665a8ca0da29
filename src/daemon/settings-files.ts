/**
 * resolv.conf, the hosts file and the root certificates, whose paths are settings: they are watched; what counts as good, and
 * what is said of them when they are not.
 */
import { MAX_FILE_BYTES, textOf } from '../base/bounded-file.ts'
import { type Taken, WatchedFile, type WatchedFileOptions } from '../base/watched-file.ts'
import type { Clock } from '../base/clock.ts'
import type { Files } from '../base/files.ts'
import type { Log } from '../base/log.ts'
import { parseHostsFile } from '../config/hosts-file.ts'
import { parseResolvConf, type ResolvConf } from '../config/resolv-conf.ts'
import type { Config } from '../config/schema.ts'
import type { HostEntry } from '../engine/settings.ts'
import type { Problem } from '../observe/sources.ts'
import { hostEntries } from './engine-settings.ts'
import { fileProblems } from './problems.ts'
import { rootCertificatesProblem } from './start-check.ts'

/** What the files are watched with, and who is told of each that has changed. */
export interface SettingsFilesOptions {
  /** In use at the moment. */
  config: () => Config
  log: Log
  clock: Clock
  files?: Files
  onResolvConf: () => void
  onHosts: (hosts: readonly HostEntry[]) => void
  onRootCertificates: () => void
}

/** The files that settings are made from, beside the configuration. Nothing is read before `configure`. */
export class SettingsFiles {
  readonly #config: () => Config
  readonly #resolvConf: ConfiguredFile<ResolvConf>
  readonly #hosts: ConfiguredFile<readonly HostEntry[]>
  readonly #rootCertificates: ConfiguredFile<string>

  constructor({ config, onHosts, onResolvConf, onRootCertificates, ...surroundings }: SettingsFilesOptions) {
    this.#config = config
    const needsServers = (): boolean => config().upstream.servers.length === 0
    this.#resolvConf = new ConfiguredFile((path, last) =>
      watchedResolvConf({ ...surroundings, path, last, needsServers, onChange: onResolvConf }),
    )
    this.#hosts = new ConfiguredFile((path, last) => watchedHosts({ ...surroundings, path, last, onChange: onHosts }))
    this.#rootCertificates = new ConfiguredFile((path, last) =>
      watchedRootCertificates({ ...surroundings, path, last, onChange: onRootCertificates }),
    )
  }

  /** Null before its first good state. */
  get resolvConf(): ResolvConf | null {
    return this.#resolvConf.value
  }

  /** Of the hosts file; none where no file is configured. */
  get hosts(): readonly HostEntry[] {
    return this.#hosts.value ?? []
  }

  /** PEM text; null where no file is configured. */
  get rootCertificates(): string | null {
    return this.#rootCertificates.value
  }

  /** What is wrong with the files now. */
  get problems(): Problem[] {
    return [
      ...fileProblems('resolv_conf', this.#resolvConf.trouble),
      ...fileProblems('hosts_file', this.#hosts.trouble),
      ...fileProblems('root_certificates', this.#rootCertificates.trouble),
    ]
  }

  /** Reads the files that the configuration names, again if they are the same ones, and watches them from now on. */
  configure(): void {
    const { hostsFile, upstream } = this.#config()
    this.#resolvConf.configure(upstream.resolvConf)
    this.#hosts.configure(hostsFile)
    this.#rootCertificates.configure(upstream.rootCert)
  }

  /** Watches no more. */
  stop(): void {
    for (const each of [this.#resolvConf, this.#hosts, this.#rootCertificates]) each.stop()
  }
}

/** A watched file whose path is a setting, '' for none. Another file's last good value stays until its own first one. */
class ConfiguredFile<T> {
  readonly #make: (path: string, last: T | null) => WatchedFile<T>
  #path = ''
  #watched: WatchedFile<T> | null = null

  constructor(make: (path: string, last: T | null) => WatchedFile<T>) {
    this.#make = make
  }

  get value(): T | null {
    return this.#watched?.value ?? null
  }

  get trouble(): WatchedFile<T>['trouble'] {
    return this.#watched?.trouble ?? null
  }

  configure(path: string): void {
    if (path === this.#path) return this.#watched?.reread()
    this.#watched?.stop()
    this.#watched = path === '' ? null : this.#make(path, this.value)
    this.#path = path
    this.#watched?.start()
  }

  stop(): void {
    this.#watched?.stop()
  }
}

type Surroundings<T> = Pick<WatchedFileOptions<T>, 'path' | 'onChange' | 'log'> &
  Partial<Pick<WatchedFileOptions<T>, 'files' | 'clock' | 'last'>>

/** `needsServers`: whether the configuration leaves the upstream servers to it. */
function watchedResolvConf(
  options: Surroundings<ResolvConf> & { needsServers: () => boolean },
): WatchedFile<ResolvConf> {
  const { log, needsServers, path } = options
  return new WatchedFile({
    ...options,
    what: 'resolv.conf',
    maxBytes: MAX_FILE_BYTES.resolvConf,
    level: 'warn',
    take: (content, last) => {
      const read = parseResolvConf(textOf(content))
      for (const reason of read.leftOut) log.warn({ file: path }, `resolv.conf: nameserver ${reason}; it is left out`)
      return takeResolvConf(read, last, needsServers())
    },
    describe: ({ code, reason, isFirst, isAsked }) => {
      if (code === 'EINVAL') return `resolv.conf ${reason}: its last servers stay`
      if (code === 'ENOENT' && !isAsked) return 'resolv.conf is gone: its last servers stay'
      const without = needsServers() ? 'no upstream servers: name some in upstream.servers' : 'no search domains'
      return `resolv.conf cannot be read: ${isFirst ? without : 'what it said last stays'} (${path} ${reason})`
    },
  })
}

/** The text of `upstream.rootCert`. */
function watchedRootCertificates(options: Surroundings<string>): WatchedFile<string> {
  const { path } = options
  return new WatchedFile({
    ...options,
    what: 'the file of root certificates',
    maxBytes: MAX_FILE_BYTES.credentials,
    level: 'error',
    take: (content) => {
      const text = textOf(content)
      const problem = rootCertificatesProblem(text)
      return problem === null ? { value: text } : { problem }
    },
    describe: ({ reason }) => `upstream.rootCert: ${path}: ${reason}; the certificates that it held last stay`,
  })
}

/** The names of a hosts file as the engine needs them. */
function watchedHosts(options: Surroundings<readonly HostEntry[]>): WatchedFile<readonly HostEntry[]> {
  const { path } = options
  return new WatchedFile({
    ...options,
    what: 'the hosts file',
    maxBytes: MAX_FILE_BYTES.hosts,
    level: 'warn',
    take: (content) => takeHosts(textOf(content)),
    describe: ({ code, reason, isFirst, isAsked }) => {
      const kept = isFirst ? 'no names from it' : 'its last names stay'
      if (code === 'EINVAL') return `the hosts file ${reason}: ${kept}`
      if (code === 'ENOENT' && !isAsked) return `the hosts file is gone: ${kept}`
      return `the hosts file cannot be read: ${kept} (${path} ${reason})`
    },
  })
}

/**
 * A resolv.conf that says nothing of use, or only misses its servers, is one that somebody is writing, or garbage. Search
 * domains count without servers as well.
 */
function takeResolvConf(read: ResolvConf, last: ResolvConf | null, needsServers: boolean): Taken<ResolvConf> {
  if (read.servers.length > 0 || last === null) return { value: read }
  if (read.search.length === 0) return { problem: 'names no server and no search domain' }
  if (!needsServers || last.servers.length === 0) return { value: read }
  return { problem: 'names no server', value: { ...read, servers: last.servers } }
}

/** An empty hosts file has no names. One with lines of which none makes sense is no hosts file. */
function takeHosts(text: string): Taken<readonly HostEntry[]> {
  const hosts = parseHostsFile(text)
  if (hosts.addresses.size === 0 && /^[^\S\r\n]*[^#\s]/m.test(text))
    return { problem: 'has no line of an address and names; mend it, or empty it' }
  return { value: hostEntries(hosts) }
}
