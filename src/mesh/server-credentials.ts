import { createPrivateKey, X509Certificate } from 'node:crypto'
import { join } from 'node:path'
import { ServerCredentials } from '@grpc/grpc-js'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'

/** Thrown at start for a folder of certificates that cannot be used; the message names the file. */
class ServerCredentialsError extends Error {
  readonly code = 'SERVER_CREDENTIALS'
  override readonly name = 'ServerCredentialsError'
}

/**
 * TLS for the embedded control plane: cert-chain.pem and key.pem in `folder`. With a root-cert.pem beside them clients must show a
 * certificate that it signed. @throws ServerCredentialsError
 */
export function readServerCredentials(folder: string): ServerCredentials {
  const cert = requiredFile(join(folder, 'cert-chain.pem'))
  const key = requiredFile(join(folder, 'key.pem'))
  const root = readBoundedText(join(folder, 'root-cert.pem'), MAX_FILE_BYTES.credentials)
  if ('problem' in root && root.problem.code !== 'ENOENT')
    throw problemWith(join(folder, 'root-cert.pem'), root.problem.reason)
  checkPair(folder, cert, key)
  const roots = 'text' in root ? Buffer.from(root.text) : null
  return ServerCredentials.createSsl(
    roots,
    [{ cert_chain: Buffer.from(cert), private_key: Buffer.from(key) }],
    roots !== null,
  )
}

function requiredFile(path: string): string {
  const read = readBoundedText(path, MAX_FILE_BYTES.credentials)
  if ('problem' in read) throw problemWith(path, read.problem.reason)
  return read.text
}

function checkPair(folder: string, cert: string, key: string): void {
  let leaf: X509Certificate
  try {
    leaf = new X509Certificate(cert)
  } catch (error) {
    throw problemWith(join(folder, 'cert-chain.pem'), 'holds no certificate (PEM)', error)
  }
  let fits: boolean
  try {
    fits = leaf.checkPrivateKey(createPrivateKey(key))
  } catch (error) {
    throw problemWith(join(folder, 'key.pem'), 'holds no private key (PEM)', error)
  }
  if (!fits) throw problemWith(join(folder, 'key.pem'), 'is not the key of cert-chain.pem')
}

function problemWith(path: string, reason: string, cause?: unknown): ServerCredentialsError {
  return new ServerCredentialsError(`${path} ${reason}`, { cause })
}
