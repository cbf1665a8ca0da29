import { describe, expect, test } from 'vitest'
import { refusal, type RequestOrigin } from '../../src/http/request-guard.ts'

describe('may pass', () => {
  const cases: [why: string, method: string, headers: RequestOrigin][] = [
    ['a program at the address', 'POST', { host: '127.0.0.1:15054' }],
    ['a program at the IPv6 address', 'POST', { host: '[::1]:15054' }],
    ['localhost, in any case', 'GET', { host: 'LocalHost:15054' }],
    ['a forwarded port', 'GET', { host: 'localhost:8080' }],
    ['no port', 'GET', { host: '127.0.0.1' }],
    [
      'the own page',
      'POST',
      { host: '127.0.0.1:15054', origin: 'http://127.0.0.1:15054', 'sec-fetch-site': 'same-origin' },
    ],
    ['the own page over a forwarded port', 'POST', { host: 'localhost:8080', origin: 'http://localhost:8080' }],
    ['the own page at port 80', 'POST', { host: 'localhost', origin: 'http://localhost' }],
    [
      'an address typed into a browser',
      'GET',
      { host: '127.0.0.1:15054', 'sec-fetch-site': 'none', 'sec-fetch-mode': 'navigate' },
    ],
    [
      'a link followed',
      'GET',
      { host: '127.0.0.1:15054', 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' },
    ],
  ]
  test.each(cases)('%s', (_why, method, headers) => {
    expect(refusal(method, headers, null)).toBeNull()
  })
})

describe('is refused', () => {
  const here = { host: '127.0.0.1:15054' }
  const cases: [why: string, method: string, headers: RequestOrigin, said: string][] = [
    ['no Host', 'GET', {}, 'Host'],
    ['a name that leads here (DNS rebinding)', 'GET', { host: 'evil.example:15054' }, 'Host'],
    ['a name that looks local', 'GET', { host: 'localhost.evil.example' }, 'Host'],
    ['a name that begins like an address', 'GET', { host: '127.0.0.1.evil.example' }, 'Host'],
    ['a Host with user part', 'GET', { host: 'x@127.0.0.1' }, 'Host'],
    ['a foreign page', 'POST', { ...here, origin: 'https://evil.example' }, 'Origin'],
    ['a page of another port of this machine', 'POST', { ...here, origin: 'http://127.0.0.1:3000' }, 'Origin'],
    ['a page without origin (sandboxed, file)', 'POST', { ...here, origin: 'null' }, 'Origin'],
    ['an Origin that is no URL', 'POST', { ...here, origin: '127.0.0.1:15054' }, 'Origin'],
    ['a foreign GET that tells its origin', 'GET', { ...here, origin: 'https://evil.example' }, 'Origin'],
    [
      'a foreign form',
      'POST',
      { ...here, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' },
      'other sites',
    ],
    ['an embedded GET', 'GET', { ...here, 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }, 'other sites'],
    [
      'a GET of a neighbouring port',
      'GET',
      { ...here, 'sec-fetch-site': 'same-site', 'sec-fetch-mode': 'no-cors' },
      'other sites',
    ],
  ]
  test.each(cases)('%s', (_why, method, headers, said) => {
    expect(refusal(method, headers, null)).toMatchObject({ status: 403, body: expect.stringContaining(said) })
  })
})

describe('where a token is required', () => {
  const required = { token: 's3cret-Token' }
  const host = '127.0.0.1:15054'
  const bearer = (authorization: string): RequestOrigin => ({ host, authorization })

  test.each<[why: string, headers: RequestOrigin]>([
    ['the token', bearer('Bearer s3cret-Token')],
    ['the scheme in another case', bearer('bearer s3cret-Token')],
    ['more spaces', bearer('Bearer   s3cret-Token ')],
    ['any Host, as the token tells who asks', { ...bearer('Bearer s3cret-Token'), host: 'byname.svc.example:15054' }],
  ])('%s may pass', (_, headers) => {
    expect(refusal('POST', headers, required)).toBeNull()
  })

  test.each<[why: string, headers: RequestOrigin, status: number, said: string]>([
    ['none', { host }, 401, 'this endpoint needs a token'],
    ['an empty one', bearer('Bearer '), 401, 'needs a token'],
    ['one of another scheme', bearer('Basic s3cret-Token'), 401, 'needs a token'],
    ['the bare token', bearer('s3cret-Token'), 401, 'needs a token'],
    ['another one', bearer('Bearer s3cret-Tokem'), 401, 'the token is wrong'],
    ['one in another case', bearer('Bearer S3CRET-TOKEN'), 401, 'the token is wrong'],
    ['one that is too short', bearer('Bearer s3cret-Toke'), 401, 'the token is wrong'],
    ['one that is too long', bearer('Bearer s3cret-Tokens'), 401, 'the token is wrong'],
    ['two', bearer('Bearer s3cret-Token s3cret-Token'), 401, 'needs a token'],
    [
      'a page of another site that knows it',
      { ...bearer('Bearer s3cret-Token'), origin: 'https://evil.example' },
      403,
      'Origin',
    ],
  ])('%s is refused', (_, headers, status, said) => {
    for (const method of ['GET', 'POST']) {
      const reply = refusal(method, headers, required)
      expect(reply).toMatchObject({ status, body: expect.stringContaining(said) })
      if (status === 401) expect(reply?.headers).toEqual({ 'www-authenticate': 'Bearer' })
      // What was sent is not said back: it may be the token with a slip in it.
      expect(reply?.body).not.toContain('s3cret')
    }
  })

  test('nobody passes while it is empty or cannot be read', () => {
    for (const given of ['Bearer ', 'Bearer x', '']) {
      expect(refusal('GET', bearer(given), { token: '' })?.status).toBe(401)
      expect(refusal('GET', bearer(given), { problem: '/t does not exist' })).toMatchObject({
        status: 503,
        body: expect.stringContaining('/t does not exist'),
      })
    }
  })
})
