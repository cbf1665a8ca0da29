/**
 * How a machine is told to ask byname at 127.0.0.1 port 53, and how it is as before again. Pure: it reads the machine's files and says what
 * is to be done. byname must not ask itself: its own servers are those that the machine had (`upstream`).
 *
 * ```
 *  systemd-resolved  application → 127.0.0.53 → resolved → byname → servers of the links         a drop-in
 *  NetworkManager    application → byname → servers that NetworkManager knows                    a drop-in, and resolv.conf replaced
 *  resolvconf        application → byname → servers of the other records                         a record, lo.byname
 *  plain             application → byname → servers of the original                              resolv.conf replaced, the original beside it
 * ```
 */
import { parseResolvConf } from '../config/resolv-conf.ts'

/** Who makes /etc/resolv.conf. */
export type ResolverKind = 'systemd-resolved' | 'NetworkManager' | 'resolvconf' | 'plain file'

/** The machine's files, passed in; paths are absolute. */
export interface MachineFiles {
  /** Text of the file that the path leads to; null if there is none. */
  read(path: string): string | null
  /** Where a symbolic link leads, as it is written; null if it is none. */
  link(path: string): string | null
  /** Names in a folder; none if there is none. */
  list(folder: string): readonly string[]
}

/** One thing to do. Each may be done again. */
export type Action =
  /** Writes a file of byname's own, with its folder. */
  | { kind: 'write'; path: string; text: string }
  /** Removes one. */
  | { kind: 'remove'; path: string }
  /** Puts a file in the place of another, which is kept at `keep` as it is: bytes, owner, mode, or a symbolic link. */
  | { kind: 'replace'; path: string; text: string; keep: string }
  /** Puts back what was kept. */
  | { kind: 'restore'; path: string; keep: string }
  /** Runs a program; `isRestart`: one that `--no-restart` leaves to the operator. */
  | { kind: 'run'; program: string; args: readonly string[]; input: string; isRestart: boolean }

/** What is to be done, or why nothing can be. */
export type Plan = { resolver: ResolverKind; actions: Action[] } | { problem: string }

/** Whose servers and search domains applications use. */
const RESOLV_CONF = '/etc/resolv.conf'
/** The machine's own one, while byname's is in its place. */
const ORIGINAL = '/etc/resolv.conf.byname-original'
/** The machine's servers at the time of the installation, where no file has those of now. */
const UPSTREAM = '/etc/byname/upstream-resolv.conf'
/** Read by the service: which servers byname asks. */
const ENVIRONMENT = '/etc/byname/vm.env'
const RESOLVED_DROP_IN = '/etc/systemd/resolved.conf.d/byname.conf'
const NETWORK_MANAGER_DROP_IN = '/etc/NetworkManager/conf.d/byname.conf'
const MARK = '# Made by "byname vm install"; "byname vm uninstall" takes it away.\n'
/** Servers of the links, without the stub; resolved keeps it up to date. */
const RESOLVED_SERVERS = '/run/systemd/resolve/resolv.conf'
/** The same of NetworkManager. */
const NETWORK_MANAGER_SERVERS = '/run/NetworkManager/no-stub-resolv.conf'
const RECORD = 'lo.byname'
const OWN = 'nameserver 127.0.0.1\n'

/** All lookups go to byname: `~.` comes before every link that has no domain of its own. Single labels are names of the mesh, too. */
const RESOLVED_TEXT = `${MARK}[Resolve]
DNS=
DNS=127.0.0.1
Domains=~.
DNSSEC=no
DNSOverTLS=no
ResolveUnicastSingleLabel=yes
`
const NETWORK_MANAGER_TEXT = `${MARK}[main]
dns=none
`

/** What tells the machine to ask byname. What is so already is left out: a second time there is nothing to do. */
export function planInstall(files: MachineFiles): Plan {
  const resolver = installedKind(files) ?? kindOf(files)
  const servers = upstreamOf(resolver, files)
  if (servers === null)
    return {
      problem: `no server but this machine is named in ${RESOLV_CONF}, and byname would have nobody to ask; name the one of the network there first`,
    }
  const own: Action[] = [
    ...(servers.text === null ? [] : [write(UPSTREAM, `${MARK}${servers.text}`)]),
    write(ENVIRONMENT, `${MARK}# ${resolver}\nBYNAME_UPSTREAM_RESOLV_CONF=${servers.path}\n`),
  ].filter((action) => !isDone(action, files))
  const actions: Action[] = [...own, ...(own.length > 0 ? [restartByname()] : []), ...switchActions(resolver, files)]
  return { resolver, actions }
}

/** What makes the machine as it was before. */
export function planUninstall(files: MachineFiles): Plan {
  const resolver = installedKind(files) ?? kindOf(files)
  const hasOriginal = files.read(ORIGINAL) !== null || files.link(ORIGINAL) !== null
  const actions: Action[] = []
  // Somebody else's resolv.conf has come in the place of byname's: it stays.
  if (hasOriginal && isOwn(files.read(RESOLV_CONF)))
    actions.push({ kind: 'restore', path: RESOLV_CONF, keep: ORIGINAL })
  else if (hasOriginal) actions.push({ kind: 'remove', path: ORIGINAL })
  if (files.read(RESOLVED_DROP_IN) !== null)
    actions.push(
      { kind: 'remove', path: RESOLVED_DROP_IN },
      restart('systemctl', ['restart', 'systemd-resolved.service']),
    )
  if (files.read(NETWORK_MANAGER_DROP_IN) !== null)
    actions.push({ kind: 'remove', path: NETWORK_MANAGER_DROP_IN }, reloadNetworkManager())
  if (resolver === 'resolvconf' && files.read(ENVIRONMENT) !== null)
    actions.push({ kind: 'run', program: 'resolvconf', args: ['-d', RECORD], input: '', isRestart: false })
  const own = [ENVIRONMENT, UPSTREAM].filter((path) => files.read(path) !== null)
  for (const path of own) actions.push({ kind: 'remove', path })
  if (own.length > 0) actions.push(restartByname())
  return { resolver, actions }
}

/** Who makes resolv.conf: by where it leads, else by what it says of itself. */
function kindOf(files: MachineFiles): ResolverKind {
  const link = files.link(RESOLV_CONF) ?? ''
  const text = files.read(RESOLV_CONF) ?? ''
  if (/systemd\/resolve\/|usr\/lib\/systemd\/resolv\.conf$/.test(link) || /^nameserver 127\.0\.0\.5[34]$/m.test(text))
    return 'systemd-resolved'
  if (/NetworkManager\//.test(link) || /^# Generated by NetworkManager/m.test(text)) return 'NetworkManager'
  if (/resolvconf\//.test(link) || /generated by resolvconf/i.test(text)) return 'resolvconf'
  return 'plain file'
}

/** Of an installation that is there. */
function installedKind(files: MachineFiles): ResolverKind | null {
  const [, kind] =
    /^# (systemd-resolved|NetworkManager|resolvconf|plain file)$/m.exec(files.read(ENVIRONMENT) ?? '') ?? []
  switch (kind) {
    case 'systemd-resolved':
    case 'NetworkManager':
    case 'resolvconf':
    case 'plain file':
      return kind
    default:
      return null
  }
}

function switchActions(resolver: ResolverKind, files: MachineFiles): Action[] {
  switch (resolver) {
    case 'systemd-resolved': {
      const action = write(RESOLVED_DROP_IN, RESOLVED_TEXT)
      return isDone(action, files) ? [] : [action, restart('systemctl', ['restart', 'systemd-resolved.service'])]
    }
    case 'NetworkManager': {
      const action = write(NETWORK_MANAGER_DROP_IN, NETWORK_MANAGER_TEXT)
      // First: what NetworkManager has been told to leave alone it does not write again.
      return [...(isDone(action, files) ? [] : [action, reloadNetworkManager()]), ...replaceActions(files)]
    }
    case 'resolvconf': {
      const text = files.read(RESOLV_CONF) ?? ''
      if (namesOnlyByname(text)) return []
      // openresolv: no other record counts beside an exclusive one. Debian's: no server counts after one on loopback.
      const flags = /^# Generated by resolvconf$/m.test(text) ? ['-x'] : []
      const input = `${linesOf(text, /^(search|domain)\s/)}${OWN}`
      return [{ kind: 'run', program: 'resolvconf', args: [...flags, '-a', RECORD], input, isRestart: false }]
    }
    default:
      return replaceActions(files)
  }
}

function replaceActions(files: MachineFiles): Action[] {
  const text = files.read(RESOLV_CONF) ?? ''
  if (isOwn(text)) return []
  return [{ kind: 'replace', path: RESOLV_CONF, text: ownResolvConf(text), keep: ORIGINAL }]
}

/** Search domains and options stay: names of the mesh are short names. */
function ownResolvConf(text: string): string {
  return `${MARK}${linesOf(text, /^(search|domain|options|sortlist)\s/)}${OWN}`
}

function linesOf(text: string, pattern: RegExp): string {
  return text
    .split('\n')
    .flatMap((line) => (pattern.test(line) ? [`${line}\n`] : []))
    .join('')
}

/** Where byname finds the machine's servers; `text`: what is to be kept for it. Null if there are none. */
function upstreamOf(resolver: ResolverKind, files: MachineFiles): { path: string; text: string | null } | null {
  const live = { 'systemd-resolved': RESOLVED_SERVERS, NetworkManager: NETWORK_MANAGER_SERVERS }
  const path = resolver === 'systemd-resolved' || resolver === 'NetworkManager' ? live[resolver] : null
  // What resolved.conf names itself gives way to byname, and is in the live file no more.
  const isLive = resolver !== 'systemd-resolved' || !namesServersItself(files)
  // Installed already: what it asks is known, and resolv.conf names byname.
  const kept = files.read(UPSTREAM)
  if (kept !== null) return { path: UPSTREAM, text: kept.replace(MARK, '') }
  if (path !== null && isLive && hasServers(files.read(path))) return { path, text: null }
  for (const source of [...(path === null ? [] : [path]), ORIGINAL, RESOLV_CONF]) {
    const text = files.read(source)
    if (text !== null && hasServers(text)) return { path: UPSTREAM, text }
  }
  return null
}

/** Whether resolved.conf(5), or a drop-in that is not byname's, has `DNS=` servers for all links. */
function namesServersItself(files: MachineFiles): boolean {
  const folders = ['/etc/systemd', '/run/systemd', '/usr/local/lib/systemd', '/usr/lib/systemd']
  const paths = folders.flatMap((folder) => [
    `${folder}/resolved.conf`,
    ...files.list(`${folder}/resolved.conf.d`).map((name) => `${folder}/resolved.conf.d/${name}`),
  ])
  return paths.some((path) => path !== RESOLVED_DROP_IN && /^\s*DNS\s*=\s*\S/m.test(files.read(path) ?? ''))
}

/** Names a server that is not this machine. */
function hasServers(text: string | null): boolean {
  return text !== null && parseResolvConf(text).servers.some(({ address }) => !isLoopback(address))
}

function namesOnlyByname(text: string): boolean {
  const { servers } = parseResolvConf(text)
  return servers.length > 0 && servers.every(({ address }) => address === '127.0.0.1')
}

function isLoopback(address: string): boolean {
  return address === '::1' || address.startsWith('127.')
}

function isOwn(text: string | null): boolean {
  return text?.startsWith(MARK) ?? false
}

function write(path: string, text: string): Action & { kind: 'write' } {
  return { kind: 'write', path, text }
}

function isDone(action: Action & { kind: 'write' }, files: MachineFiles): boolean {
  return files.read(action.path) === action.text
}

function restart(program: string, args: readonly string[]): Action {
  return { kind: 'run', program, args, input: '', isRestart: true }
}

function restartByname(): Action {
  return restart('systemctl', ['try-restart', 'byname.service'])
}

function reloadNetworkManager(): Action {
  return restart('systemctl', ['try-reload-or-restart', 'NetworkManager.service'])
}
