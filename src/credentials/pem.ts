/** Certificates and keys in PEM (RFC 7468), examined before they are used: what is wrong is said in one line. */
import { createPrivateKey, type KeyObject, X509Certificate } from 'node:crypto'

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g
/** A chain has a handful, a system's store some hundred. */
const MOST_CERTIFICATES = 1000

/** A value, or in one phrase what is wrong with the text it was to be read from. */
export type Examined<T> = { value: T } | { problem: string }

/** `XDS_ROOT_CA` says so where the control plane's certificate is one of a public authority. */
export const SYSTEM_ROOTS = 'SYSTEM'

/** Root certificates to verify the control plane by. */
export interface Roots {
  /** File, or SYSTEM. */
  from: string
  /** PEM. */
  pem: string
}

/** A client certificate with its key, ready for TLS. */
export interface KeyPair {
  /** PEM, leaf first. */
  chain: string
  /** PEM. */
  key: string
  leaf: X509Certificate
}

/** All certificates in `pem`, in its order. */
export function readCertificates(pem: string): Examined<X509Certificate[]> {
  const blocks = pem.match(CERTIFICATE) ?? []
  if (blocks.length === 0) {
    if (pem.trim() === '') return { problem: 'is empty' }
    if (pem.includes('-----BEGIN CERTIFICATE-----')) return { problem: 'ends within a certificate' }
    return { problem: pem.includes('-----BEGIN') ? 'holds no certificate' : 'is not PEM' }
  }
  if (blocks.length > MOST_CERTIFICATES) return { problem: `holds more than ${MOST_CERTIFICATES} certificates` }
  const certificates: X509Certificate[] = []
  for (const [index, block] of blocks.entries()) {
    try {
      certificates.push(new X509Certificate(block))
    } catch {
      return { problem: `holds a certificate that cannot be read (number ${index + 1})` }
    }
  }
  return { value: certificates }
}

/** The key in `pem`; one that needs a passphrase cannot be read. */
export function readKey(pem: string): Examined<KeyObject> {
  if (pem.trim() === '') return { problem: 'is empty' }
  if (!pem.includes('-----BEGIN')) return { problem: 'is not PEM' }
  if (!/-----BEGIN [A-Z ]*PRIVATE KEY-----/.test(pem)) return { problem: 'holds no private key' }
  try {
    return { value: createPrivateKey(pem) }
  } catch {
    return {
      problem: pem.includes('ENCRYPTED') ? 'holds a key that needs a passphrase' : 'holds a key that cannot be read',
    }
  }
}

/** When `certificate` begins and ends to be valid, in ms since 1970. */
export function validity(certificate: X509Certificate): { fromMs: number; toMs: number } {
  return { fromMs: Date.parse(certificate.validFrom), toMs: Date.parse(certificate.validTo) }
}

/** `3 h`, `2 d`, `40 s`: how long, for people. */
export function durationText(ms: number): string {
  const seconds = Math.round(Math.abs(ms) / 1000)
  if (seconds < 120) return `${seconds} s`
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`
  if (seconds < 172_800) return `${Math.round(seconds / 3600)} h`
  return `${Math.round(seconds / 86_400)} d`
}
