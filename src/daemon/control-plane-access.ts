/** How the control plane is reached: what byname shows it, and how its name is resolved. */
import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { writeAtomicFile } from '../base/atomic-file.ts'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import { wallClock } from '../base/clock.ts'
import { type FileWatch, watchFile } from '../base/file-watch.ts'
import type { Log } from '../base/log.ts'
import { socketText } from '../config/address.ts'
import { parseHostsFile } from '../config/hosts-file.ts'
import type { Config, MeshSourceConfig } from '../config/schema.ts'
import type { ControlPlaneCredentials } from '../credentials/control-plane-credentials.ts'
import type { ShownCredential } from '../credentials/control-plane-credentials.ts'
import type { EngineSettings } from '../engine/settings.ts'
import type { ResolveTarget } from '../xds/ads-stream.ts'
import { ControlPlaneName, type NameSettings } from '../xds/control-plane-name.ts'
import { type CredentialsProvider, plaintext } from '../xds/credentials.ts'

type XdsSource = Extract<MeshSourceConfig, { kind: 'xds' }>

/** The way to the control plane, for as long as the daemon runs. */
export interface ControlPlaneAccess {
  credentials: CredentialsProvider
  resolve: ResolveTarget
  /** What is shown and verified, as last read; empty for plaintext. */
  shown: () => ShownCredential[]
  /** Follows the files from now on; `onReplaced` is called when a connection would be made with others than the last. */
  start: (onReplaced: () => void) => void
  stop: () => void
}

/** What the name of the control plane is resolved with: the daemon's own settings of now. */
export interface ResolverSettings {
  engine: () => Pick<EngineSettings, 'servers' | 'routes'>
  search: () => { domains: readonly string[]; ndots: number }
}

/** Makes the access that the configuration describes; nothing is read yet. TLS is loaded only where it is used. */
export async function openAccess(
  config: Config,
  source: XdsSource,
  resolvers: ResolverSettings,
  log: Log,
): Promise<ControlPlaneAccess> {
  const name = new ControlPlaneName(nameSettings(config.istio.hostsFiles, resolvers))
  const resolve: ResolveTarget = (address, signal) => name.target(address, signal)
  if (source.tls === null) return { credentials: plaintext, resolve, shown: () => [], start: () => {}, stop: () => {} }
  const credentials = await makeCredentials(config, source, resolve, log)
  const watches: FileWatch[] = []
  return {
    credentials,
    resolve,
    shown: () => credentials.credentials(),
    start(onReplaced) {
      credentials.onReplaced = onReplaced
      for (const path of filesOf(config, source)) watches.push(watchFile(path, () => void credentials.refresh()))
    },
    stop() {
      for (const watch of watches) watch.close()
      credentials.stop()
    },
  }
}

async function makeCredentials(
  { identity, istio }: Config,
  source: XdsSource,
  resolve: ResolveTarget,
  log: Log,
): Promise<ControlPlaneCredentials> {
  const { ControlPlaneCredentials } = await import('../credentials/control-plane-credentials.ts')
  const { tls, token, certificate, certificateAuthority, certificateFolder } = source
  const { cert, key, rootCert, serverName } = tls!
  return new ControlPlaneCredentials({
    roots: rootCert === '' ? istio.rootCerts : [rootCert],
    certificates: cert === '' ? istio.certificates : [{ cert, key }],
    token,
    serverName,
    clusterId: identity.cluster,
    own:
      certificate === 'none'
        ? null
        : {
            authority: {
              address: (certificateAuthority ?? source.addresses[0]!).text,
              serverName,
              clusterId: identity.cluster,
            },
            identity: spiffeId(identity),
            folder: certificateFolder,
            write: keep,
            resolve,
          },
    log,
    clock: wallClock,
    random: Math.random,
  })
}

/** The folder itself is made, the ones above it are not: a misspelt path should not grow. */
async function keep(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { mode: 0o700 }).catch((error: NodeJS.ErrnoException) => {
    if (error.code !== 'EEXIST') throw error
  })
  await writeAtomicFile(path, text)
}

/** `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`, which istiod gives to no other. */
function spiffeId({ trustDomain, namespace, serviceAccount }: Config['identity']): string {
  return `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount || 'default'}`
}

/** Every file that credentials may come from. */
function filesOf({ istio }: Config, { tls, token }: XdsSource): string[] {
  const roots = tls!.rootCert === '' ? istio.rootCerts : [tls!.rootCert]
  const pairs = tls!.cert === '' ? istio.certificates : [tls!]
  return [...roots, ...pairs.flatMap(({ cert, key }) => [cert, key]), token].filter(
    (path) => path !== '' && path !== 'SYSTEM',
  )
}

/** Servers of the default route that speak plain DNS: own listeners and loops are not among them. */
function nameSettings(hostsFiles: readonly string[], { engine, search }: ResolverSettings): NameSettings {
  return {
    hosts: (name) => hostsFiles.flatMap((file) => addressesIn(file, name)),
    servers: () => {
      const { servers, routes } = engine()
      const plain = routes
        .at(-1)!
        .servers.map((index) => servers[index]!)
        .filter(({ transport }) => transport === 'udp' || transport === 'tcp')
      return plain.map(({ address, port }) => socketText(address, port))
    },
    search,
  }
}

function addressesIn(file: string, name: string): readonly string[] {
  const read = readBoundedText(file, MAX_FILE_BYTES.hosts)
  return 'text' in read ? (parseHostsFile(read.text).addresses.get(name.toLowerCase().replace(/\.$/, '')) ?? []) : []
}
