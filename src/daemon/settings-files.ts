/** resolv.conf and the hosts file: what counts as good, and what is said of them when they are not. */
import { MAX_FILE_BYTES, textOf } from '../base/bounded-file.ts'
import { type Taken, WatchedFile, type WatchedFileOptions } from '../base/watched-file.ts'
import { parseHostsFile } from '../config/hosts-file.ts'
import { parseResolvConf, type ResolvConf } from '../config/resolv-conf.ts'
import type { HostEntry } from '../engine/settings.ts'
import { hostEntries } from './engine-settings.ts'
import { rootCertificatesProblem } from './start-check.ts'

type Surroundings<T> = Pick<WatchedFileOptions<T>, 'path' | 'onChange' | 'log'> &
  Partial<Pick<WatchedFileOptions<T>, 'files' | 'clock' | 'last'>>

/** `needsServers`: whether the configuration leaves the upstream servers to it. */
export function watchedResolvConf(
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
export function watchedRootCertificates(options: Surroundings<string>): WatchedFile<string> {
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
export function watchedHosts(options: Surroundings<readonly HostEntry[]>): WatchedFile<readonly HostEntry[]> {
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
