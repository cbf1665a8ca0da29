/** The control plane's certificate service (protos/ca.proto). Field names are the proto's own. */
import type { MethodDefinition } from '@grpc/grpc-js'
import { loadSync } from '@grpc/proto-loader'
import { protoFile } from './proto-file.ts'

/** A request to sign. */
export interface CertificateRequest {
  /** PEM (PKCS #10). */
  csr: string
  /** Seconds, as text; `0` leaves it to the server (istiod: 24 hours). */
  validity_duration: string
}

/** What was signed. */
export interface CertificateResponse {
  /** PEM, one certificate each: leaf first, root last. */
  cert_chain: string[]
}

/** The service's method with its path and codecs. */
export type CaServiceDefinition = {
  readonly CreateCertificate: MethodDefinition<CertificateRequest, CertificateResponse>
}

const SERVICE = 'istio.v1.auth.IstioCertificateService'

/** `istio.v1.auth.IstioCertificateService`, read from protos/ca.proto when this module is loaded. */
export const CaService: CaServiceDefinition = loadService()

function loadService(): CaServiceDefinition {
  const service = loadSync(protoFile('ca.proto'), { keepCase: true, longs: String, defaults: true })[SERVICE]
  if (service === undefined || !isCa(service)) throw new Error(`protos/ca.proto does not define ${SERVICE}`)
  return service
}

function isCa(service: object): service is CaServiceDefinition {
  return 'CreateCertificate' in service
}
