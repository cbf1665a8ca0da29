import { describe, expect, test } from 'vitest'
import type { Host } from '../../../src/cli/report/host.ts'
import { redactDocument, Secrets } from '../../../src/cli/report/secrets.ts'

/** A machine that has these files alone. */
function hostOf(files: Record<string, string>): Host {
  return {
    read: (path) => (files[path] === undefined ? { reason: 'no such file' } : { text: files[path] }),
    list: () => [],
    link: () => null,
    run: () => Promise.resolve({ reason: 'no programs' }),
  }
}

const JWT = 'eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl'

describe('without knowing anything, what looks like a secret goes', () => {
  test.each([
    ['https://me:hunter2@192.0.2.1/dns-query', 'hunter2'],
    ['"https://me:hunter2andmuchmore… is no server', 'hunter2'],
    ['https://192.0.2.1:443/9f8e7d6c#dns.example', '9f8e7d6c'],
    ['https://192.0.2.1/dns-query/9f8e7d6c fails', '9f8e7d6c'],
    ['https://[2001:db8::1]:443/9f8e7d6c', '9f8e7d6c'],
    ['https://192.0.2.1/dns-query?key=9f8e7d6c', '9f8e7d6c'],
    ['"me:hunter2@192.0.2.1" is no address; write IP, IP:PORT, tcp://IP:PORT', 'hunter2'],
    [`sent ${JWT}`, 'c2lnbmF0dXJl'],
    ['authorization: Bearer abc.def', 'abc.def'],
    ['--set admin.token=hunter2', 'hunter2'],
    ['db_password=hunter2&x=1', 'hunter2'],
    ['-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----', 'MHcCAQEE'],
  ])('%j', (text, secret) => {
    const clean = new Secrets().clean(text)
    expect(clean).not.toContain(secret)
    expect(clean).toContain('[redacted]')
  })

  test.each([
    'https://192.0.2.1:443/dns-query#dns.example',
    'tls://[2001:db8::1]:853#dns.example',
    'http://127.0.0.1:15054/debug/status answers 404: not found',
    'the token expires in 20 minutes; token: would travel in plaintext',
    'xds istiod.istio-system.svc:15012',
    'write IP, IP:PORT, tcp://IP:PORT, tls://IP:853#NAME or https://IP/dns-query#NAME',
  ])('%j stays', (text) => {
    expect(new Secrets().clean(text)).toBe(text)
  })
})

describe('what is known to be secret goes wherever it is quoted', () => {
  const secrets = new Secrets()
  const host = hostOf({ '/var/run/token': 'opaque-token-1\n', '/etc/notes': 'several words in it' })
  secrets.addFrom({ admin: { token: '/var/run/token' }, notes: { secret: '/etc/notes' } }, host)
  secrets.addFrom({ ISTIO_META_API_TOKEN: 'from-the-environment', PATH: '/usr/bin' }, host)
  secrets.addFromYaml('admin: {token: written-by-mistake}\nmesh:\n  source: {xds: {token: other-mistake}}\n', host)
  secrets.addFromYaml('kind: Secret\ndata: {any: aW4ta3ViZXJuZXRlcw==}\nstringData: {x: plain-in-kubernetes}\n', host)
  secrets.addFromYaml("ISTIO_PASSWORD='in-cluster-env'\nexport API_KEY=second-one\n", host)
  secrets.addFromYaml('{ this is: no yaml\n  client_secret: in-a-broken-file\n', host)
  secrets.addFromYaml('matchExpressions: [{ key: topology-zone, operator: In }]\n', host)
  secrets.addPaths('upstream https://192.0.2.1/dns-query/path-secret#x')

  test.each([
    'opaque-token-1',
    'from-the-environment',
    'written-by-mistake',
    'other-mistake',
    'in-kubernetes',
    'plain-in-kubernetes',
    'in-cluster-env',
    'second-one',
    'in-a-broken-file',
    'path-secret',
  ])('%s', (secret) => {
    const encoded = Buffer.from(secret).toString('base64').replace(/=+$/, '')
    const clean = secrets.clean(`a line of the log quotes "${secret}" and ${encoded}, "path": "/${secret}"`)
    expect(clean).not.toContain(secret)
    expect(clean).not.toContain(encoded)
  })

  test('what only names a file, and common words, stay', () => {
    const text = 'token /var/run/token, /usr/bin, several words in it, topology-zone'
    expect(secrets.clean(text)).toBe(text)
  })
})

test('a document shows its credentials, which are no secrets, and hides the paths of servers', () => {
  const document = {
    credentials: [{ kind: 'token', from: '/var/run/token', expires: '2026-11-30T12:00:00.000Z', secondsLeft: 3 }],
    upstream: {
      servers: [
        { label: 'x', transport: 'https', path: '/9f8e7d6c' },
        { transport: 'https', path: '/dns-query' },
      ],
    },
    admin: { token: 'written-by-mistake' },
    anything: { of: [{ anotherVersion: { clientSecret: 'x' } }] },
  }
  expect(redactDocument(document)).toEqual({
    credentials: document.credentials,
    upstream: {
      servers: [
        { label: 'x', transport: 'https', path: '/[redacted]' },
        { transport: 'https', path: '/dns-query' },
      ],
    },
    admin: { token: '[redacted]' },
    anything: { of: [{ anotherVersion: { clientSecret: '[redacted]' } }] },
  })
})
