/**
 * Certificate signing requests (PKCS #10, RFC 2986) for a workload's identity. Node signs and encodes keys, but
 * makes no requests. A request of this fixed form is four nested structures in DER (X.690), so no library is loaded for it.
 *
 * ```
 *  SEQUENCE                                    CertificationRequest
 *    SEQUENCE                                  what is signed:
 *      INTEGER 0                                 version
 *      SEQUENCE {}                               subject: empty, the name below counts
 *      SubjectPublicKeyInfo                      as Node exports it
 *      [0]                                       attributes: one, extensionRequest (RFC 2985 §5.4.2)
 *        SEQUENCE  OID 1.2.840.113549.1.9.14
 *          SET  SEQUENCE                           extensions: one
 *            SEQUENCE  OID 2.5.29.17, TRUE           subjectAltName, critical as the subject is empty (RFC 5280 §4.2.1.6)
 *              OCTET STRING  SEQUENCE  [6] URI
 *    SEQUENCE  OID 1.2.840.10045.4.3.2         ecdsa-with-SHA256 (RFC 5758 §3.2)
 *    BIT STRING                                signature
 * ```
 */
import { generateKeyPair, type KeyObject, sign } from 'node:crypto'
import { promisify } from 'node:util'

const EXTENSION_REQUEST = [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x09, 0x0e]
const SUBJECT_ALT_NAME = [0x55, 0x1d, 0x11]
const ECDSA_WITH_SHA256 = [0x2a, 0x86, 0x48, 0xce, 0x3d, 0x04, 0x03, 0x02]

const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  oid: 0x06,
  sequence: 0x30,
  set: 0x31,
  attributes: 0xa0,
  uri: 0x86,
} as const

/** A new key (P-256), and a request in PEM for a certificate of it that names `uri`, an ASCII URI, and nothing else. */
export async function createRequest(uri: string): Promise<{ key: KeyObject; csr: string }> {
  const { privateKey, publicKey } = await promisify(generateKeyPair)('ec', { namedCurve: 'prime256v1' })
  const names = der(Tag.sequence, der(Tag.uri, Buffer.from(uri, 'latin1')))
  const extension = der(
    Tag.sequence,
    der(Tag.oid, Buffer.from(SUBJECT_ALT_NAME)),
    der(Tag.boolean, Buffer.from([0xff])),
    der(Tag.octetString, names),
  )
  const attribute = der(
    Tag.sequence,
    der(Tag.oid, Buffer.from(EXTENSION_REQUEST)),
    der(Tag.set, der(Tag.sequence, extension)),
  )
  const info = der(
    Tag.sequence,
    der(Tag.integer, Buffer.from([0])),
    der(Tag.sequence),
    publicKey.export({ type: 'spki', format: 'der' }),
    der(Tag.attributes, attribute),
  )
  const request = der(
    Tag.sequence,
    info,
    der(Tag.sequence, der(Tag.oid, Buffer.from(ECDSA_WITH_SHA256))),
    // No bit of its last byte is unused.
    der(Tag.bitString, Buffer.from([0]), sign('sha256', info, privateKey)),
  )
  const lines = request.toString('base64').match(/.{1,64}/g)!
  const csr = ['-----BEGIN CERTIFICATE REQUEST-----', ...lines, '-----END CERTIFICATE REQUEST-----', ''].join('\n')
  return { key: privateKey, csr }
}

/** One element: tag, length in as few bytes as it takes, contents. */
function der(tag: number, ...contents: Uint8Array[]): Buffer {
  const body = Buffer.concat(contents)
  const { length } = body
  if (length < 0x80) return Buffer.concat([Buffer.from([tag, length]), body])
  const bytes = length < 0x100 ? [length] : [length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, 0x80 | bytes.length, ...bytes]), body])
}
