/** What `byname check --connect` does: reaches the control plane once, and reports each step. */
import { connect } from 'node:net'
import { wallClock, waitFor } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { parseResolvConf } from '../config/resolv-conf.ts'
import type { Config, MeshSourceConfig } from '../config/schema.ts'
import { NdsReader, TAG_1 } from '../table/nds-reader.ts'
import { XdsOrigin } from '../tables/xds-origin.ts'
import { type ControlPlaneAccess, openAccess } from './control-plane-access.ts'
import { deriveSettings } from './engine-settings.ts'
import { interfaceAddresses } from './start-check.ts'
import { nodeFor } from './xds-node.ts'

/** One step on the way: what it was, how it went, and whether the next can follow. */
export interface ConnectStep {
  step: 'name' | 'TCP' | 'TLS' | 'authentication' | 'table'
  isDone: boolean
  /** One line. */
  text: string
}

const TCP_MS = 5000
const TABLE_MS = 15_000
/** Nothing is logged: the steps say it all. */
const SILENT: Log = { debug: () => {}, info: () => {}, warn: () => {}, error: () => {} }

/** Tries the addresses of the control plane in turn, up to the first table; `tell` hears of each step as it ends. Returns whether one came. */
export async function connectOnce(
  config: Config,
  tell: (step: ConnectStep) => void,
  signal: AbortSignal,
): Promise<boolean> {
  const { source } = config.mesh
  if (source.kind !== 'xds') {
    tell({ step: 'name', isDone: false, text: 'there is no control plane to connect to: mesh.source.xds is not set' })
    return false
  }
  const access = await openAccess(config, source, resolversOf(config), SILENT)
  try {
    for (const { text } of source.addresses)
      if (await tryAddress(text, config, source, access, tell, signal)) return true
    return false
  } finally {
    access.stop()
  }
}

/** The resolvers that the daemon would begin with. */
function resolversOf(config: Config): Parameters<typeof openAccess>[2] {
  const read = readBoundedText(config.upstream.resolvConf, MAX_FILE_BYTES.resolvConf)
  const resolvConf = parseResolvConf('text' in read ? read.text : '')
  const { settings } = deriveSettings(config, resolvConf, interfaceAddresses())
  return {
    engine: () => settings,
    search: () => ({ domains: resolvConf.search, ndots: resolvConf.options.ndots ?? 1 }),
  }
}

async function tryAddress(
  address: string,
  config: Config,
  source: Extract<MeshSourceConfig, { kind: 'xds' }>,
  access: ControlPlaneAccess,
  tell: (step: ConnectStep) => void,
  signal: AbortSignal,
): Promise<boolean> {
  const resolved = await access.resolve(address, signal)
  if ('failure' in resolved) {
    tell({ step: 'name', isDone: false, text: resolved.failure })
    return false
  }
  tell({ step: 'name', isDone: true, text: `${address} is ${resolved.target.replace(/^ipv[46]:/, '')}` })
  const tcp = await reach(resolved.target, address)
  tell({ step: 'TCP', isDone: tcp.isDone, text: tcp.text })
  if (!tcp.isDone) return false
  const startMs = wallClock.now()
  const outcome = await firstTable(address, config, source, access)
  const tookMs = wallClock.now() - startMs
  const isRefused =
    'failure' in outcome && /\b(?:UNAUTHENTICATED|PERMISSION_DENIED|FAILED_PRECONDITION)\b/.test(outcome.failure)
  const isEncrypted = source.tls !== null
  if ('failure' in outcome && !isRefused) {
    tell({ step: isEncrypted ? 'TLS' : 'table', isDone: false, text: outcome.failure })
    return false
  }
  if (isEncrypted) tell({ step: 'TLS', isDone: true, text: "the control plane's certificate is verified" })
  if ('failure' in outcome) {
    tell({ step: 'authentication', isDone: false, text: outcome.failure })
    return false
  }
  const shown = access.shown().filter(({ kind, problem, isNeeded }) => kind !== 'root' && problem === null && isNeeded)
  const by = shown.map(({ kind, from }) => `${kind} ${from}`).join(' and ') || 'nothing shown'
  tell({ step: 'authentication', isDone: true, text: `accepted (${by})` })
  tell({ step: 'table', isDone: true, text: `${outcome.hosts} hosts, ${outcome.bytes} bytes, after ${tookMs} ms` })
  return true
}

/** A connection to the first address of gRPC's target that takes one. */
async function reach(target: string, address: string): Promise<{ isDone: boolean; text: string }> {
  const places = target.replace(/^(?:ipv[46]|dns):/, '').split(',')
  let problem = ''
  for (const place of places) {
    const at = place.lastIndexOf(':')
    const startMs = wallClock.now()
    const failure = await connectFailure(place.slice(0, at).replace(/^\[|\]$/g, ''), Number(place.slice(at + 1)))
    if (failure === null) return { isDone: true, text: `connected to ${place} in ${wallClock.now() - startMs} ms` }
    problem ||= `${place}: ${failure}`
  }
  return { isDone: false, text: `${address} cannot be reached: ${problem}` }
}

function connectFailure(host: string, port: number): Promise<string | null> {
  const socket = connect({ host, port })
  const { promise, resolve } = Promise.withResolvers<string | null>()
  socket.setTimeout(TCP_MS, () => resolve(`no answer within ${TCP_MS / 1000} s`))
  socket.once('connect', () => resolve(null))
  socket.once('error', (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message))
  return promise.finally(() => socket.destroy())
}

async function firstTable(
  address: string,
  config: Config,
  source: Extract<MeshSourceConfig, { kind: 'xds' }>,
  access: ControlPlaneAccess,
): Promise<{ hosts: number; bytes: number } | { failure: string }> {
  const { promise, resolve } = Promise.withResolvers<{ hosts: number; bytes: number } | { failure: string }>()
  const client = new XdsOrigin({
    addresses: [address],
    delta: source.delta,
    node: nodeFor(config, source),
    credentials: access.credentials,
    resolve: access.resolve,
    sink: {
      accept(bytes) {
        resolve({ hosts: countHosts(bytes), bytes: bytes.length })
        return { accepted: true, changed: true }
      },
    },
    log: SILENT,
    random: Math.random,
    onState: ({ lastError }) => lastError !== null && resolve({ failure: lastError }),
  })
  client.start()
  await waitFor(
    promise.then(() => undefined),
    TABLE_MS,
    wallClock,
  )
  resolve({ failure: `connected, but no table came within ${TABLE_MS / 1000} s` })
  await client.stop(1000)
  return await promise
}

function countHosts(table: Uint8Array): number {
  const reader = new NdsReader()
  reader.reset(table)
  let hosts = 0
  for (;;) {
    const tag = reader.field(table.length)
    if (tag === 0) return hosts
    if (tag === TAG_1) hosts++
    reader.at += reader.length
  }
}
