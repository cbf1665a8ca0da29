import { generateKeyPairSync, type KeyObject } from 'node:crypto'
import { expect, test } from 'vitest'
import { durationText, readCertificates, readKey } from '../../src/credentials/pem.ts'
import { TestAuthority } from './test-authority.ts'

const certificate = new TestAuthority('test root').root
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
const key = pemOf(privateKey)

function pemOf(of: KeyObject, format: 'pkcs8' | 'sec1' = 'pkcs8'): string {
  return of.export({ format: 'pem', type: format })
}

test.each([
  ['one', certificate, 1],
  ['several, with text between them', `# root\n${certificate}\n# another\n${certificate}`, 2],
  ['some beside a key', `${key}${certificate}`, 1],
  ['as many as it may', certificate.repeat(1000), 1000],
])('certificates: %s', (_, pem, count) => {
  const read = readCertificates(pem)
  expect('value' in read ? read.value.length : read.problem).toBe(count)
})

test.each([
  ['', 'is empty'],
  [' \n', 'is empty'],
  ['certificate', 'is not PEM'],
  [key, 'holds no certificate'],
  [certificate.slice(0, 200), 'ends within a certificate'],
  [
    '-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n',
    'holds a certificate that cannot be read (number 1)',
  ],
  [
    `${certificate}-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n`,
    'holds a certificate that cannot be read (number 2)',
  ],
  [certificate.repeat(1001), 'holds more than 1000 certificates'],
])('certificates cannot be read from %.20j: %s', (pem, problem) => {
  expect(readCertificates(pem)).toEqual({ problem })
})

test.each([
  ['PKCS #8', key],
  ['SEC 1', pemOf(privateKey, 'sec1')],
  ['below its certificate', `${certificate}${key}`],
])('a key: %s', (_, pem) => {
  const read = readKey(pem)
  expect('value' in read ? read.value.equals(privateKey) : read.problem).toBe(true)
})

const encrypted = privateKey.export({ format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'x' })
test.each([
  ['', 'is empty'],
  ['\n', 'is empty'],
  ['key', 'is not PEM'],
  [certificate, 'holds no private key'],
  ['-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n', 'holds a key that cannot be read'],
  [encrypted, 'holds a key that needs a passphrase'],
])('a key cannot be read from %.20j: %s', (pem, problem) => {
  expect(readKey(pem)).toEqual({ problem })
})

test.each([
  [0, '0 s'],
  [-40_000, '40 s'],
  [119_499, '119 s'],
  [119_500, '2 min'],
  [7_199_499, '120 min'],
  [7_199_500, '2 h'],
  [172_799_499, '48 h'],
  [172_799_500, '2 d'],
])('%i ms are %s', (ms, text) => {
  expect(durationText(ms)).toBe(text)
})
