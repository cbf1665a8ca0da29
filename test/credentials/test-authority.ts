/** A certificate authority for tests: X.509 certificates (RFC 5280) with any names and times, made without a program. */
import { createPublicKey, generateKeyPairSync, type KeyObject, randomBytes, sign, X509Certificate } from 'node:crypto'

/** A certificate with its key, both PEM. */
export interface Issued {
  cert: string
  key: string
}

/** What a certificate is to say. */
export interface Wanted {
  /** `DNS:name`, `URI:spiffe://…`, `IP:127.0.0.1`. */
  names: readonly string[]
  /** ms since 1970; by default from two minutes ago for an hour. */
  fromMs?: number
  toMs?: number
}

const HOUR = 3_600_000

/** Signs what it is asked to. */
export class TestAuthority {
  /** PEM. */
  readonly root: string
  readonly #key: KeyObject
  readonly #name: Buffer

  constructor(name: string, fromMs: number = Date.now() - HOUR, toMs: number = Date.now() + 24 * HOUR) {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
    this.#key = privateKey
    this.#name = commonName(name)
    this.root = this.#certificate(publicKey, this.#name, [], fromMs, toMs, true)
  }

  /** A new key and a certificate for it. */
  issue(wanted: Wanted): Issued {
    const { privateKey, publicKey } = generateKeyPairSync('ec', { namedCurve: 'prime256v1' })
    const key = privateKey.export({ type: 'pkcs8', format: 'pem' })
    return { key, cert: this.#sign(publicKey, wanted) }
  }

  /** A certificate for the key of a request (PEM, PKCS #10). */
  signRequest(csr: string, wanted: Wanted): string {
    return this.#sign(requestKey(csr), wanted)
  }

  /** As istiod wants a plugged-in CA: names of files and their contents. */
  asPluggedIn(): Record<string, string> {
    const key = this.#key.export({ type: 'pkcs8', format: 'pem' })
    return {
      'ca-cert.pem': this.root,
      'ca-key.pem': key,
      'cert-chain.pem': this.root,
      'root-cert.pem': this.root,
    }
  }

  #sign(key: KeyObject, { names, fromMs, toMs }: Wanted): string {
    const from = fromMs ?? Date.now() - 120_000
    return this.#certificate(key, seq(), names, from, toMs ?? Date.now() + HOUR, false)
  }

  #certificate(
    key: KeyObject,
    subject: Buffer,
    names: readonly string[],
    from: number,
    to: number,
    isCa: boolean,
  ): string {
    const algorithm = seq(oid('2a8648ce3d040302'))
    const extensions = [
      isCa
        ? seq(oid('551d13'), TRUE, octets(seq(TRUE)))
        : seq(oid('551d11'), TRUE, octets(seq(...names.map(generalName)))),
    ]
    const body = seq(
      der(0xa0, integer(Buffer.from([2]))),
      integer(Buffer.concat([Buffer.from([1]), randomBytes(8)])),
      algorithm,
      this.#name,
      seq(time(from), time(to)),
      subject,
      key.export({ type: 'spki', format: 'der' }),
      der(0xa3, seq(...extensions)),
    )
    const der509 = seq(body, algorithm, der(0x03, Buffer.from([0]), sign('sha256', body, this.#key)))
    return new X509Certificate(der509).toString()
  }
}

/** The public key in a request: its second-to-last member of what is signed. */
export function requestKey(csr: string): KeyObject {
  const request = Buffer.from(csr.replace(/-----[^-]+-----|\s/g, ''), 'base64')
  const [info] = members(request, 0)
  const spki = members(info!, 0)[2]!
  return createPublicKey({ key: spki, type: 'spki', format: 'der' })
}

/** Elements inside the element at `at`, each with its tag and length. */
function members(bytes: Buffer, at: number): Buffer[] {
  const [start, end] = contents(bytes, at)
  const found: Buffer[] = []
  for (let next = start; next < end; ) {
    const [, over] = contents(bytes, next)
    found.push(bytes.subarray(next, over))
    next = over
  }
  return found
}

function contents(bytes: Buffer, at: number): [start: number, end: number] {
  const first = bytes[at + 1]!
  if (first < 0x80) return [at + 2, at + 2 + first]
  const count = first & 0x7f
  const length = bytes.readUIntBE(at + 2, count)
  return [at + 2 + count, at + 2 + count + length]
}

const TRUE = der(0x01, Buffer.from([0xff]))

function der(tag: number, ...parts: Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const { length } = body
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), body])
  const bytes = length < 0x100 ? [length] : [length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, 0x80 | bytes.length, ...bytes]), body])
}

function seq(...parts: Uint8Array[]): Buffer {
  return der(0x30, ...parts)
}

function oid(hex: string): Buffer {
  return der(0x06, Buffer.from(hex, 'hex'))
}

function integer(bytes: Buffer): Buffer {
  return der(0x02, bytes)
}

function octets(part: Buffer): Buffer {
  return der(0x04, part)
}

function commonName(name: string): Buffer {
  return seq(der(0x31, seq(oid('550403'), der(0x0c, Buffer.from(name)))))
}

/** GeneralizedTime, which any year fits. */
function time(ms: number): Buffer {
  const text = new Date(ms)
    .toISOString()
    .replace(/[-:T]/g, '')
    .replace(/\.\d+Z$/, 'Z')
  return der(0x18, Buffer.from(text))
}

function generalName(text: string): Buffer {
  const [, kind, name] = /^(DNS|URI|IP):(.*)$/.exec(text)!
  if (kind === 'IP') return der(0x87, Buffer.from(name!.split('.').map(Number)))
  return der(kind === 'DNS' ? 0x82 : 0x86, Buffer.from(name!))
}
