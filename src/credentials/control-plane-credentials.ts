import { type Roots } from './pem.ts'
import { Metadata } from '@grpc/grpc-js'
import type { Clock } from '../base/clock.ts'
import type { Log } from '../base/log.ts'
import type { ConnectionCredentials, CredentialsProvider } from '../xds/credentials.ts'
import {
  type KeyPairFiles,
  readCredentialFile,
  readKeyPair,
  readRoots,
  type ReadText,
  readToken,
} from './credential-files.ts'
import { type Credential, ExpiryWatch } from './expiry.ts'
import { OwnCertificate, type OwnCertificateOptions } from './own-certificate.ts'
import { type Presented, secureChannel, serverNameFor } from './secure-channel.ts'

/** Where credentials towards a secured control plane are. */
export interface ControlPlaneCredentialsOptions {
  /** Files of root certificates, or SYSTEM: the first that exists counts. */
  roots: readonly string[]
  /** Client certificates: the first that exists counts. */
  certificates: readonly KeyPairFiles[]
  /** File of the bearer token, '' for none. */
  token: string
  /** Name that the control plane's certificate must carry; '' for the address's host. */
  serverName: string
  /** As the header `clusterid`; '' for none. */
  clusterId: string
  /** A certificate of our own is asked for with these; null: none is. */
  own: Pick<OwnCertificateOptions, 'authority' | 'identity' | 'folder' | 'write' | 'resolve'> | null
  /** By default, from disk. */
  read?: ReadText
  log: Log
  /** Unix time. */
  clock: Clock
  /** As Math.random. */
  random: () => number
}

/** A credential, and since when it has its problem (Unix time in ms; null without one). */
export interface ShownCredential extends Credential {
  problemSinceMs: number | null
}

/**
 * Credentials for istiod's secured port: root certificates, and a client certificate, a token, or both. All files are read afresh
 * for each connection. When a root or a certificate has been replaced, whoever listens is told, to connect anew with it.
 */
export class ControlPlaneCredentials implements CredentialsProvider {
  readonly #options: ControlPlaneCredentialsOptions
  readonly #read: ReadText
  readonly #own: OwnCertificate | null
  readonly #expiry: ExpiryWatch
  #root: Credential | null = null
  #certificate: Credential | null = null
  #token: Credential | null = null
  readonly #problems: Map<string, { problem: string; sinceMs: number }> = new Map()
  /** What the last connection was made with, to tell whether it has been replaced. */
  #used = ''
  /** Told that a new connection would be made with other credentials than the last. */
  onReplaced: () => void = () => {}

  constructor(options: ControlPlaneCredentialsOptions) {
    const { own, log, clock, random } = options
    const read = options.read ?? readCredentialFile
    this.#options = options
    this.#read = read
    this.#own =
      own === null
        ? null
        : new OwnCertificate({
            ...own,
            roots: () => this.#readRoots() ?? { failure: problemOf(this.#root!) },
            token: () => this.#readToken(),
            read,
            log,
            clock,
            random,
            onRenewed: () => void this.refresh(),
          })
    this.#expiry = new ExpiryWatch(() => this.credentials(), log, clock)
  }

  /** All that is shown or verified, as last read. */
  credentials(): ShownCredential[] {
    const certificate = this.#own === null ? this.#certificate : this.#own.credential()
    const hasCertificate = certificate !== null && certificate.problem === null && certificate.expiresAtMs !== null
    return [this.#root, certificate, this.#token]
      .filter((each) => each !== null)
      .map((each) => {
        const isNeeded = each.kind !== 'token' || !hasCertificate
        return { ...each, isNeeded, problemSinceMs: this.#since(each) }
      })
  }

  /** Since when a credential has its problem; null without one. */
  #since({ kind, problem }: Credential): number | null {
    const known = this.#problems.get(kind)
    if (problem === null) {
      this.#problems.delete(kind)
      return null
    }
    if (known?.problem === problem) return known.sinceMs
    const sinceMs = this.#options.clock.now()
    this.#problems.set(kind, { problem, sinceMs })
    return sinceMs
  }

  /** Reads all files again, because they may have changed. Never rejects. */
  async refresh(): Promise<void> {
    const usedBefore = this.#used
    const roots = this.#readRoots()
    const presented = await this.#readCertificate(false)
    this.#readToken()
    this.#expiry.check()
    // A credential that cannot be used is no reason to close a connection that works.
    if (roots === null || usedBefore === '') return
    if (fingerprint(roots, presented) !== usedBefore && (presented !== null || this.#certificate === null))
      this.onReplaced()
  }

  async forConnection(address: string, _signal: AbortSignal): Promise<ConnectionCredentials | { failure: string }> {
    const roots = this.#readRoots()
    if (roots === null) return { failure: problemOf(this.#root!) }
    const presented = await this.#readCertificate(true)
    const token = this.#readToken()
    this.#expiry.check()
    if (presented === null && token === null) {
      const problems = [this.#own?.credential() ?? this.#certificate, this.#token]
        .filter((each) => each !== null)
        .map(problemOf)
      const failure =
        problems.length > 0
          ? problems.join('; ')
          : 'neither a client certificate nor a token is configured (mesh.source.xds)'
      return { failure }
    }
    const serverName = serverNameFor(address, this.#options.serverName)
    const secure = secureChannel(roots, serverName, presented)
    this.#used = fingerprint(roots, presented)
    const metadata = new Metadata()
    // Beside a certificate that serves, a token that has expired could only be refused.
    const isTokenOfUse = presented === null || this.#token?.problem === null
    if (token !== null && isTokenOfUse) metadata.set('authorization', `Bearer ${token}`)
    if (this.#options.clusterId !== '') metadata.set('clusterid', this.#options.clusterId)
    return { ...secure, metadata, explain: (reason) => this.#explain(secure.explain(reason)) }
  }

  /** Renews and warns no more. */
  stop(): void {
    this.#own?.stop()
    this.#expiry.stop()
  }

  #readRoots(): Roots | null {
    const found = readRoots(this.#options.roots, this.#read)
    this.#root = found.credential
    return found.value
  }

  /** `mayAsk`: a certificate of our own is asked for if there is none. */
  async #readCertificate(mayAsk: boolean): Promise<Presented | null> {
    const { certificates, clock } = this.#options
    if (this.#own !== null) return mayAsk || this.#own.credential().expiresAtMs !== null ? this.#own.current() : null
    const found = readKeyPair(certificates, this.#read, clock.now())
    this.#certificate = found?.credential ?? null
    return found === null || found.value === null ? null : { ...found.value, from: found.credential.from }
  }

  /** The token as last read. An expired one is still returned: clocks differ. */
  #readToken(): string | null {
    const { token, clock } = this.#options
    const found = readToken(token, this.#read, clock.now())
    this.#token = found?.credential ?? null
    return found?.value ?? null
  }

  #explain(reason: string): string {
    if (reason.startsWith('UNAUTHENTICATED')) {
      const shown = this.credentials().filter(({ kind }) => kind !== 'root')
      const details = shown.map((each) => problemOf(each))
      return `the control plane does not accept ${details.join(' and ')} (${reason})`
    }
    if (reason.startsWith('PERMISSION_DENIED'))
      return `the identity of the credentials is not the one of identity.namespace and identity.serviceAccount (${reason})`
    return reason
  }
}

function problemOf({ kind, from, problem }: Credential): string {
  const name = kind === 'root' ? 'root certificate' : kind
  return problem === null ? `${name} ${from}` : `${name} ${from}: ${problem}`
}

/** Where they come from does not count: the root that istiod sends is kept beside the one that was given. */
function fingerprint(roots: Roots, presented: Presented | null): string {
  return `${roots.pem}\n${presented?.chain ?? ''}`.replace(/\s+/g, '')
}
