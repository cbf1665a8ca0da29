/** Credentials in files, as Istio and Kubernetes mount them: read afresh for every connection, examined before they are used. */
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import type { Credential } from './expiry.ts'
import {
  durationText,
  type Examined,
  type KeyPair,
  readCertificates,
  readKey,
  validity,
  type Roots,
  SYSTEM_ROOTS,
} from './pem.ts'

import { readClaims } from './token.ts'

/** Reads a file's text, or says in one phrase why not; `isMissing` if there is none. */
export type ReadText = (path: string) => { value: string } | { problem: string; isMissing: boolean }

/** Reads a file of credentials: regular, bounded, never waiting. */
export function readCredentialFile(path: string): ReturnType<ReadText> {
  const read = readBoundedText(path, MAX_FILE_BYTES.credentials)
  if ('text' in read) return { value: read.text }
  const { code, reason } = read.problem
  return { problem: reason, isMissing: code === 'ENOENT' || code === 'ENOTDIR' }
}

/** Where a client certificate and its key lie. */
export interface KeyPairFiles {
  cert: string
  key: string
}

/** What was found, and what to show of it. */
export interface Found<T> {
  value: T | null
  credential: Credential
}

/** The first of `candidates` that exists; `SYSTEM` always does. One that exists and is bad is not passed over. */
export function readRoots(candidates: readonly string[], read: ReadText): Found<Roots> {
  for (const from of candidates) {
    const credential = {
      kind: 'root',
      from,
      issuedAtMs: null,
      expiresAtMs: null,
      problem: null,
      isNeeded: true,
    } as const
    if (from === SYSTEM_ROOTS) return { value: { from, pem: '' }, credential }
    const text = read(from)
    if ('problem' in text) {
      if (text.isMissing) continue
      return { value: null, credential: { ...credential, problem: text.problem } }
    }
    const read509 = readCertificates(text.value)
    if ('problem' in read509) return { value: null, credential: { ...credential, problem: read509.problem } }
    // Several while one takes over from another: the last to end counts.
    const last = read509.value.map(validity).toSorted((a, b) => b.toMs - a.toMs)[0]!
    return {
      value: { from, pem: text.value },
      credential: { ...credential, issuedAtMs: last.fromMs, expiresAtMs: last.toMs },
    }
  }
  const others = candidates.length > 1 ? `, nor does ${candidates.slice(1).join(', ')}` : ''
  const problem = `does not exist${others}; name another in mesh.source.xds.tls.rootCert (XDS_ROOT_CA), or SYSTEM`
  const from = candidates[0] ?? ''
  return {
    value: null,
    credential: { kind: 'root', from, issuedAtMs: null, expiresAtMs: null, problem, isNeeded: true },
  }
}

/**
 * The first client certificate whose files exist; null if there is none. A certificate that has expired is none: presenting it
 * would break the handshake, whatever else there is to show.
 */
export function readKeyPair(candidates: readonly KeyPairFiles[], read: ReadText, nowMs: number): Found<KeyPair> | null {
  for (const { cert, key } of candidates) {
    const chain = read(cert)
    if ('problem' in chain && chain.isMissing) continue
    const keyText = read(key)
    const credential = { kind: 'certificate', from: cert, issuedAtMs: null, expiresAtMs: null, isNeeded: true } as const
    const bad = (problem: string): Found<KeyPair> => ({ value: null, credential: { ...credential, problem } })
    if ('problem' in chain) return bad(chain.problem)
    if ('problem' in keyText) return bad(`its key ${key} ${keyText.problem}`)
    const pair = pairOf(chain.value, keyText.value, key)
    if ('problem' in pair) return bad(pair.problem)
    const { fromMs, toMs } = validity(pair.value.leaf)
    const times = { issuedAtMs: fromMs, expiresAtMs: toMs }
    const outside = outsideOf(fromMs, toMs, nowMs)
    if (outside !== null) return { value: null, credential: { ...credential, ...times, problem: outside } }
    return { value: pair.value, credential: { ...credential, ...times, problem: null } }
  }
  return null
}

/** A chain and its key that belong to each other; `keyFrom` names the key in problems. */
export function pairOf(chain: string, key: string, keyFrom: string): Examined<KeyPair> {
  const certificates = readCertificates(chain)
  if ('problem' in certificates) return certificates
  const privateKey = readKey(key)
  if ('problem' in privateKey) return { problem: `its key ${keyFrom} ${privateKey.problem}` }
  const leaf = certificates.value[0]!
  if (!leaf.checkPrivateKey(privateKey.value))
    return { problem: `its key ${keyFrom} is not the key of this certificate` }
  return { value: { chain, key, leaf } }
}

function outsideOf(fromMs: number, toMs: number, nowMs: number): string | null {
  if (nowMs >= toMs) return `has expired ${durationText(nowMs - toMs)} ago (${new Date(toMs).toISOString()})`
  if (nowMs < fromMs) return `is not valid before ${new Date(fromMs).toISOString()}`
  return null
}

/** The longest bearer token: headers of HTTP/2 with it fit into the 64 KiB that senders and proxies take for them. */
const MOST_TOKEN_BYTES = 60 * 1024

/** The bearer token in a file; null if none is configured. One that has expired is shown as such, and still used: clocks differ. */
export function readToken(from: string, read: ReadText, nowMs: number): Found<string> | null {
  if (from === '') return null
  const credential = { kind: 'token', from, issuedAtMs: null, expiresAtMs: null, isNeeded: true } as const
  const text = read(from)
  if ('problem' in text) return { value: null, credential: { ...credential, problem: text.problem } }
  const token = text.value.trim()
  if (token === '') return { value: null, credential: { ...credential, problem: 'is empty' } }
  // Anything else would break the header it goes into.
  if (!/^[\x21-\x7e]+$/.test(token))
    return { value: null, credential: { ...credential, problem: 'is not a token: it holds spaces or line ends' } }
  if (token.length > MOST_TOKEN_BYTES) {
    const problem = `is no token that HTTP/2 can carry: ${token.length} bytes, at most ${MOST_TOKEN_BYTES}; name a file that holds a token alone`
    return { value: null, credential: { ...credential, problem } }
  }
  const { issuedAtMs, expiresAtMs } = readClaims(token)
  const isOver = expiresAtMs !== null && nowMs >= expiresAtMs
  const problem = isOver
    ? `has expired ${durationText(nowMs - expiresAtMs)} ago (${new Date(expiresAtMs).toISOString()})`
    : null
  return { value: token, credential: { ...credential, issuedAtMs, expiresAtMs, problem } }
}
