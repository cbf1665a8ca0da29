import { join } from 'node:path'
import { type Clock } from '../base/clock.ts'
import { type Log, lineOf } from '../base/log.ts'
import { type Authority, requestCertificate, type Shown } from './certificate-authority.ts'
import { pairOf, type ReadText, readKeyPair } from './credential-files.ts'
import { createRequest } from './csr.ts'
import type { Credential } from './expiry.ts'
import { durationText, readCertificates, validity, type Roots } from './pem.ts'
import type { Presented } from './secure-channel.ts'
import type { ResolveTarget } from '../xds/ads-stream.ts'

/** What a certificate of our own is asked for with. */
export interface OwnCertificateOptions {
  authority: Authority
  /** `spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`. */
  identity: string
  /** Folder that keeps it across restarts (OUTPUT_CERTS); '' for memory only. */
  folder: string
  /** The roots of now, or in one line why there are none. */
  roots: () => Roots | { failure: string }
  /** The token of now, null if there is none that can be used. */
  token: () => string | null
  read: ReadText
  /** What gRPC is to connect to for the authority's address. */
  resolve: ResolveTarget
  /** Replaces a file's contents at once (mode 0600). Rejects if it cannot. */
  write: (path: string, text: string) => Promise<void>
  log: Log
  /** Unix time. */
  clock: Clock
  /** As Math.random. */
  random: () => number
  /** Called after each renewal. */
  onRenewed: () => void
}

/** One request to the authority, its connection included. */
const REQUEST_MS = 10_000
/** Between attempts: at least, at most, and never more than this part of what is left of the life. */
const RETRY_FIRST_MS = 1000
const RETRY_MOST_MS = 60_000
const RETRY_PART = 0.05
/** Renewed at half of its life, give or take a tenth of it: what was started together must not come together. */
const RENEW_PART = 0.5
const RENEW_JITTER = 0.1
/** A certificate that expires sooner is not used for a new connection. */
const LEAST_LEFT_MS = 5000

const FILES = { chain: 'cert-chain.pem', key: 'key.pem', root: 'root-cert.pem' } as const

/**
 * A certificate that byname has signed by the control plane (istio.v1.auth.IstioCertificateService), as Istio's agent does: the
 * token vouches for the first one, the certificate itself for those that follow. The key is made here and never sent.
 *
 * ```
 *  start ─→ kept in the folder? ──no──→ request ──→ held ──half of its life──→ request ──→ held …
 *                     └──yes──────────────────────→ held      ↑ failed: again after 1, 2, 4 … s, until it succeeds
 * ```
 */
export class OwnCertificate {
  readonly #options: OwnCertificateOptions
  #held: (Presented & { fromMs: number; toMs: number }) | null = null
  #requesting: Promise<void> | null = null
  #retryMs = RETRY_FIRST_MS
  #cancelTimer: () => void = () => {}
  readonly #aborted: AbortController = new AbortController()
  #problem: string | null = null
  #hasLoaded = false

  constructor(options: OwnCertificateOptions) {
    this.#options = options
  }

  /** What to present now; null if there is none yet, or it has expired. Waits for the first one, for as long as a request may take. */
  async current(): Promise<Presented | null> {
    if (!this.#hasLoaded) {
      this.#hasLoaded = true
      this.#load()
    }
    if (this.#valid() === null) await this.#request()
    return this.#valid()
  }

  /** For people and metrics. */
  credential(): Credential {
    return {
      kind: 'certificate',
      from: this.#name(),
      issuedAtMs: this.#held?.fromMs ?? null,
      expiresAtMs: this.#held?.toMs ?? null,
      problem: this.#problem,
      isNeeded: true,
    }
  }

  /** Asks for no more certificates. */
  stop(): void {
    this.#aborted.abort()
    this.#cancelTimer()
  }

  #name(): string {
    return `signed by ${this.#options.authority.address}`
  }

  #valid(): (Presented & { fromMs: number; toMs: number }) | null {
    const held = this.#held
    const nowMs = this.#options.clock.now()
    return held !== null && nowMs >= held.fromMs && nowMs < held.toMs - LEAST_LEFT_MS ? held : null
  }

  /** Takes what an earlier process kept, if it is ours and still valid. */
  #load(): void {
    const { folder, read, clock, identity, log } = this.#options
    if (folder === '') return
    const files = { cert: join(folder, FILES.chain), key: join(folder, FILES.key) }
    const found = readKeyPair([files], read, clock.now())
    if (found === null) return
    const { value, credential } = found
    const isOurs = value?.leaf.subjectAltName?.split(', ').includes(`URI:${identity}`) === true
    if (value === null || !isOurs) {
      const reason = credential.problem ?? `is for ${value?.leaf.subjectAltName ?? 'no name'}, not for ${identity}`
      log.info({ file: files.cert, reason }, 'the certificate kept is of no use; a new one will be asked for')
      return
    }
    const { fromMs, toMs } = validity(value.leaf)
    this.#held = { ...value, from: files.cert, fromMs, toMs }
    this.#renewLater(fromMs)
  }

  /** One request at a time; whoever comes meanwhile waits for it. Never rejects. */
  #request(): Promise<void> {
    this.#requesting ??= this.#requestOnce().finally(() => (this.#requesting = null))
    return this.#requesting
  }

  async #requestOnce(): Promise<void> {
    if (this.#aborted.signal.aborted) return
    const { log, clock } = this.#options
    const failure = await this.#sign().catch((error: unknown) => lineOf(error))
    if (this.#aborted.signal.aborted) return
    if (failure === null) {
      if (this.#problem !== null) log.info({ from: this.#name() }, 'a certificate was signed again')
      this.#problem = null
      this.#retryMs = RETRY_FIRST_MS
      this.#renewLater(clock.now())
      return
    }
    const leftMs = this.#held === null ? Infinity : Math.max(0, this.#held.toMs - clock.now())
    const waitMs = Math.max(RETRY_FIRST_MS, Math.min(this.#retryMs, RETRY_MOST_MS, leftMs * RETRY_PART))
    this.#retryMs = Math.min(this.#retryMs * 2, RETRY_MOST_MS)
    const left = this.#held === null ? 'there is none yet' : `the one in use ends in ${durationText(leftMs)}`
    const level = failure === this.#problem ? 'debug' : 'warn'
    log[level]({ from: this.#name(), reason: failure }, `no certificate was signed (${left}); trying again`)
    this.#problem = failure
    this.#setTimer(waitMs * (0.5 + 0.5 * this.#options.random()))
  }

  /** Returns null when there is a new one, else why not. */
  async #sign(): Promise<string | null> {
    const { authority, identity, roots: readRoots, clock, onRenewed, log } = this.#options
    const roots = readRoots()
    if ('failure' in roots) return roots.failure
    const resolved = await this.#options.resolve(authority.address, this.#aborted.signal)
    if ('failure' in resolved) return resolved.failure
    const { key, csr } = await createRequest(identity)
    const keyPem = key.export({ type: 'pkcs8', format: 'pem' })
    let result: Awaited<ReturnType<typeof requestCertificate>> | null = null
    for (const shown of this.#shown()) {
      result = await requestCertificate(authority, resolved.target, roots, shown, csr, REQUEST_MS, this.#aborted.signal)
      if (!('failure' in result) || !result.isRefused) break
    }
    if (result === null) return 'there is neither a token nor a certificate to ask for one with'
    if ('failure' in result) return result.failure
    const chain = result.chain.slice(0, -1).join('')
    const pair = pairOf(chain, keyPem, 'made here')
    if ('problem' in pair) return `what the control plane signed ${pair.problem}`
    const { fromMs, toMs } = validity(pair.value.leaf)
    if (clock.now() >= toMs - LEAST_LEFT_MS || clock.now() < fromMs)
      return `what the control plane signed is valid from ${pair.value.leaf.validFrom} to ${pair.value.leaf.validTo}; is this machine's clock right?`
    this.#held = { ...pair.value, from: this.#name(), fromMs, toMs }
    log.info({ from: this.#name(), identity, expires: new Date(toMs).toISOString() }, 'a certificate was signed')
    await this.#keep(chain, keyPem, result.chain.at(-1)!)
    onRenewed()
    return null
  }

  /** The certificate if it is valid, else, or if that is refused, the token. */
  #shown(): Shown[] {
    const held = this.#valid()
    const token = this.#options.token()
    return [
      ...(held === null ? [] : [{ presented: held, token: null }]),
      ...(token === null ? [] : [{ presented: null, token }]),
    ]
  }

  /** A folder that cannot be written to costs a token at the next start, and no connection now. */
  async #keep(chain: string, key: string, root: string): Promise<void> {
    const { folder, write, log } = this.#options
    if (folder === '') return
    try {
      // The key first: until its certificate follows, the pair does not fit, and counts as none.
      await write(join(folder, FILES.key), key)
      await write(join(folder, FILES.chain), chain)
      if (!('problem' in readCertificates(root))) await write(join(folder, FILES.root), root)
    } catch (error) {
      log.warn({ folder, reason: lineOf(error) }, 'the certificate cannot be kept for the next start')
    }
  }

  /**
   * The life of one that has just been signed begins at `sinceMs`, now: it is dated back by minutes, for clocks that go wrong, and
   * half of a short life counted from there would always be over.
   */
  #renewLater(sinceMs: number): void {
    const { clock, random } = this.#options
    const part = RENEW_PART + RENEW_JITTER * (2 * random() - 1)
    this.#setTimer(Math.max(RETRY_FIRST_MS, sinceMs + (this.#held!.toMs - sinceMs) * part - clock.now()))
  }

  #setTimer(delayMs: number): void {
    this.#cancelTimer()
    this.#cancelTimer = this.#options.clock.after(delayMs, () => void this.#request())
  }
}
