/** Bearer tokens: JSON Web Tokens (RFC 7519), read without being verified, which is the control plane's to do. */

/** What a token says of itself; null where it says nothing, or is no JWT. */
export interface TokenClaims {
  /** `exp`, in ms since 1970. */
  expiresAtMs: number | null
  /** `iat`, in ms since 1970. */
  issuedAtMs: number | null
  /** `aud`. */
  audiences: string[]
  /** `sub`: for a Kubernetes service account `system:serviceaccount:NAMESPACE:NAME`. */
  subject: string | null
}

const NOTHING: TokenClaims = { expiresAtMs: null, issuedAtMs: null, audiences: [], subject: null }

/** Reads a token's claims. Other kinds of tokens are fine, and say nothing. */
export function readClaims(token: string): TokenClaims {
  const payload = token.split('.')[1]
  if (payload === undefined) return NOTHING
  let claims: unknown
  try {
    claims = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'))
  } catch {
    return NOTHING
  }
  if (typeof claims !== 'object' || claims === null) return NOTHING
  const said = new Map<string, unknown>(Object.entries(claims))
  const aud = said.get('aud')
  const sub = said.get('sub')
  return {
    expiresAtMs: timeOf(said.get('exp')),
    issuedAtMs: timeOf(said.get('iat')),
    audiences: (Array.isArray(aud) ? aud : [aud]).filter((each) => typeof each === 'string'),
    subject: typeof sub === 'string' ? sub : null,
  }
}

function timeOf(claim: unknown): number | null {
  return typeof claim === 'number' && Number.isFinite(claim) ? claim * 1000 : null
}
