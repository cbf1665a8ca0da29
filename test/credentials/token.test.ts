import { expect, test } from 'vitest'
import { readClaims, type TokenClaims } from '../../src/credentials/token.ts'

const NOTHING: TokenClaims = { expiresAtMs: null, issuedAtMs: null, audiences: [], subject: null }

/** A token with these claims, signed by nobody. */
function token(claims: unknown): string {
  return `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.c2ln`
}

test('a service account token says for whom it is, until when and towards whom', () => {
  const sub = 'system:serviceaccount:shop:web'
  expect(readClaims(token({ exp: 2000, iat: 1000, aud: ['istio-ca', 'other'], sub }))).toEqual({
    expiresAtMs: 2_000_000,
    issuedAtMs: 1_000_000,
    audiences: ['istio-ca', 'other'],
    subject: sub,
  })
})

test('one audience may stand without a list', () => {
  expect(readClaims(token({ aud: 'istio-ca' }))).toEqual({ ...NOTHING, audiences: ['istio-ca'] })
})

test.each<[what: string, token: string]>([
  ['', ''],
  ['an opaque token', 'abcdef'],
  ['a payload that is no JSON', 'a.b.c'],
  ['a payload that is null', token(null)],
  ['a payload that is a number', token(7)],
  ['a payload that is text', token('exp')],
  ['claims of other types', token({ exp: '2000', iat: true, aud: [7, null], sub: 7 })],
  ['no claims', token({})],
])('%s says nothing', (_, text) => {
  expect(readClaims(text)).toEqual(NOTHING)
})
