import { expect, test } from 'vitest'
import { redact, REDACTED } from '../../src/observe/redact.ts'

const JWT = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl'

test('a configuration that names its secrets by file stays readable', () => {
  const config = {
    listen: ['127.0.0.1:15053'],
    mesh: {
      source: {
        xds: {
          address: 'istiod.istio-system.svc:15012',
          token: './var/run/secrets/tokens/istio-token',
          tls: { key: '/etc/certs/key.pem' },
        },
      },
    },
    cache: { maxBytes: 8_388_608, prefetch: true },
    upstream: { servers: ['tls://9.9.9.9:853#dns.quad9.net', 'https://dns.example/dns-query'] },
    nothing: null,
  }
  expect(redact(config)).toEqual(config)
})

test.each([
  ['a token', { token: JWT }, { token: REDACTED }],
  ['a password under any spelling', { dbPassword: 'x', passwd: 'y' }, { dbPassword: REDACTED, passwd: REDACTED }],
  [
    'keys',
    { key: 'abc', apiKey: 'abc', private_key: 'abc' },
    { key: REDACTED, apiKey: REDACTED, private_key: REDACTED },
  ],
  [
    'all below a name that is secret',
    { secrets: { a: ['x', { b: 'y' }] } },
    { secrets: { a: [REDACTED, { b: REDACTED }] } },
  ],
  ['bytes', { key: new Uint8Array(4), address: new Uint8Array(4) }, { key: REDACTED, address: '4 bytes' }],
  ['a token in any text', { note: `use ${JWT} now` }, { note: `use ${REDACTED} now` }],
  ['a header', { headers: ['Bearer abc.def'] }, { headers: [`Bearer ${REDACTED}`] }],
  ['a user in a URL', { server: 'https://me:pw@dns.example/q' }, { server: `https://${REDACTED}@dns.example/q` }],
  [
    'a secret in a URL',
    { server: 'https://d/q?a=1&api_key=x&b=2' },
    { server: `https://d/q?a=1&api_key=${REDACTED}&b=2` },
  ],
  ['a private key', { pem: '-----BEGIN EC PRIVATE KEY-----\nAB\n-----END EC PRIVATE KEY-----' }, { pem: REDACTED }],
  ['a private key that was cut', { pem: 'x -----BEGIN PRIVATE KEY-----\nAB' }, { pem: `x ${REDACTED}` }],
  ['a Map and a Set', { m: new Map([['token', 'x']]), s: new Set(['y']) }, { m: { token: REDACTED }, s: ['y'] }],
])('%s', (_what, given, expected) => {
  expect(redact(given)).toEqual(expected)
})

test('every secret of a text is replaced, not only the first', () => {
  const key = '-----BEGIN EC PRIVATE KEY-----\nAB\n-----END EC PRIVATE KEY-----'
  expect(
    redact([
      `${JWT} and ${JWT}`,
      'Bearer  abc, basic def',
      'https://a:b@one/ tls://c:d@two/',
      'https://d/q?token=xyz&sig=abc&a=1 and /q?my_key=long#part',
      `${key}\n${key} end`,
    ]),
  ).toEqual([
    `${REDACTED} and ${REDACTED}`,
    `Bearer ${REDACTED}, basic ${REDACTED}`,
    `https://${REDACTED}@one/ tls://${REDACTED}@two/`,
    `https://d/q?token=${REDACTED}&sig=${REDACTED}&a=1 and /q?my_key=${REDACTED}#part`,
    `${REDACTED}\n${REDACTED} end`,
  ])
})

test.each([
  ['/etc/certs/key.pem', false],
  ['./token', false],
  ['../token', false],
  ['', false],
  ['.../token', true],
  ['/etc/certs/key.pem and more', true],
  ['x/etc/certs', true],
  [`/${'a'.repeat(64)}`, false],
  [`/${'a'.repeat(65)}`, true],
  ['/a'.repeat(20), false],
  ['/a'.repeat(21), true],
])('under the name of a secret, %j is hidden: %s; a path of a file tells nothing', (text, isHidden) => {
  expect(redact({ token: text })).toEqual({ token: isHidden ? REDACTED : text })
})

test('other words with key in them are left alone, and functions and big numbers do no harm', () => {
  expect(redact({ keyboard: 'x', monkey: 'y', keepalive: 3, f: () => 1, n: 5n })).toEqual({
    keyboard: 'x',
    monkey: 'y',
    keepalive: 3,
    n: '5',
  })
})

test('what is given is not changed', () => {
  const given = { token: 'x' }
  redact(given)
  expect(given.token).toBe('x')
})
