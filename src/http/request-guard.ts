import { createHash, timingSafeEqual } from 'node:crypto'
import { isIP } from 'node:net'
import { type Reply, text } from './route.ts'

/** The headers that say who sent a request, as `node:http` names them. */
export interface RequestOrigin {
  host?: string | undefined
  origin?: string | undefined
  authorization?: string | undefined
  'sec-fetch-site'?: string | string[] | undefined
  'sec-fetch-mode'?: string | string[] | undefined
}

/** The token that requests must bring, or why there is none at the moment, in one line. */
export type RequiredToken = { token: string } | { problem: string }

/**
 * The reply to a request to the admin endpoint that is refused, or null if it may pass.
 *
 * With a token (`required` is not null), a request must bring it as `Authorization: Bearer TOKEN` (RFC 6750). Without one
 * the endpoint has no password, and must keep out web pages in a browser on the same machine:
 *
 * - DNS rebinding: a page's own name is pointed at 127.0.0.1, so the request carries that name as Host. Allowed are
 *   literal addresses and `localhost`. The port is not compared: it differs behind `kubectl port-forward`, and
 *   a browser sets it truthfully. With a token any Host will do: a page does not know the token.
 * - Cross-site requests: a browser tells where a request comes from in Origin (any POST) and Sec-Fetch-Site. A page of
 *   another port of the same machine is foreign as well. Following a link to a GET is allowed; programs send neither header.
 */
export function refusal(method: string, headers: RequestOrigin, required: RequiredToken | null): Reply | null {
  if (required !== null) return tokenRefusal(headers, required) ?? siteRefusal(method, headers)
  const host = headers.host ?? ''
  const name = hostName(host)
  if (name === null || !(isIP(name) > 0 || name === 'localhost')) {
    return text(403, `Host '${host}' is not this endpoint: use its address or localhost`)
  }
  return siteRefusal(method, headers)
}

function tokenRefusal({ authorization = '' }: RequestOrigin, required: RequiredToken): Reply | null {
  if ('problem' in required) return text(503, `the token of this endpoint cannot be read: ${required.problem}`)
  const given = /^Bearer +([^\s]+) *$/i.exec(authorization)?.[1]
  // An empty token would let everybody in.
  if (given !== undefined && required.token !== '' && isSame(given, required.token)) return null
  const what = given === undefined ? 'this endpoint needs a token' : 'the token is wrong'
  return text(401, `${what}: send Authorization: Bearer TOKEN (--token FILE of byname's commands)`, {
    'www-authenticate': 'Bearer',
  })
}

/** Takes the same time wherever they differ, and whatever their lengths. */
function isSame(one: string, other: string): boolean {
  return timingSafeEqual(createHash('sha256').update(one).digest(), createHash('sha256').update(other).digest())
}

function siteRefusal(method: string, headers: RequestOrigin): Reply | null {
  const { origin, host = '' } = headers
  if (origin !== undefined && !sameHost(origin, host)) return text(403, `Origin '${origin}' is a foreign one`)
  const site = String(headers['sec-fetch-site'] ?? 'none')
  const followsLink = method !== 'POST' && headers['sec-fetch-mode'] === 'navigate'
  if (site !== 'none' && site !== 'same-origin' && !followsLink) {
    return text(403, 'requests from other sites are not answered')
  }
  return null
}

/** Host name of a Host header, without port and brackets, in lower case; null if it is none. */
function hostName(host: string): string | null {
  const match = /^(?:\[([0-9A-Fa-f:.]+)\]|([\w.-]+))(?::\d{1,5})?$/.exec(host)
  if (!match) return null
  return (match[1] ?? match[2]!).toLowerCase().replace(/\.$/, '')
}

/** The scheme may differ: a proxy in front may speak TLS. */
function sameHost(origin: string, host: string): boolean {
  const from = URL.parse(origin)
  const to = from && URL.parse(`${from.protocol}//${host}`)
  return from !== null && to !== null && from.host === to.host
}
