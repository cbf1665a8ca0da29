import { spawnSync } from 'node:child_process'
import { createPublicKey } from 'node:crypto'
import { expect, test } from 'vitest'
import { createRequest } from '../../src/credentials/csr.ts'
import { requestKey } from './test-authority.ts'

const hasOpenssl = spawnSync('openssl', ['version']).status === 0

test.each([
  'spiffe://cluster.local/ns/shop/sa/default',
  // Lengths around those where DER needs another byte.
  `spiffe://td/ns/${'n'.repeat(63)}/sa/${'s'.repeat(25)}`,
  `spiffe://td/ns/${'n'.repeat(63)}/sa/${'s'.repeat(250)}`,
])('a request names the identity and is signed by its own key: %s', async (uri) => {
  const { key, csr } = await createRequest(uri)
  expect(requestKey(csr).equals(createPublicKey(key))).toBe(true)
  expect(key.asymmetricKeyDetails).toEqual({ namedCurve: 'prime256v1' })
  if (!hasOpenssl) return
  const { stdout, stderr } = spawnSync('openssl', ['req', '-verify', '-noout', '-text', '-in', '-'], {
    input: csr,
    encoding: 'utf8',
  })
  expect(stderr).toMatch(/verify OK/)
  expect(stdout).toContain('Version: 1 (0x0)')
  expect(stdout).toMatch(/X509v3 Subject Alternative Name: critical\s+URI:/)
  expect(stdout).toContain(`URI:${uri}`)
  expect(stdout).toContain('ecdsa-with-SHA256')
})

test('each request has a key of its own', async () => {
  const [one, other] = await Promise.all([createRequest('spiffe://a/ns/b/sa/c'), createRequest('spiffe://a/ns/b/sa/c')])
  expect(one.key.equals(other.key)).toBe(false)
})
