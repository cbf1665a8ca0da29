import { isIP } from 'node:net'

/** The headers that say who sent a request, as `node:http` names them. */
export interface RequestOrigin {
  host?: string | undefined
  origin?: string | undefined
  'sec-fetch-site'?: string | string[] | undefined
  'sec-fetch-mode'?: string | string[] | undefined
}

/**
 * Why a request to the admin endpoint is refused, in one line, or null if it may pass. The endpoint has no password:
 * what it must keep out is a web page in a browser on the same machine.
 *
 * - DNS rebinding: a page's own name is pointed at 127.0.0.1, so the request carries that name as Host. Allowed are
 *   literal addresses, `localhost` and `names`. The port is not compared: it differs behind `kubectl port-forward`, and
 *   a browser sets it truthfully.
 * - Cross-site requests: a browser tells where a request comes from in Origin (any POST) and Sec-Fetch-Site. A page of
 *   another port of the same machine is foreign as well. Following a link to a GET is allowed; programs send neither header.
 */
export function refusal(method: string, headers: RequestOrigin, names: readonly string[]): string | null {
  const host = headers.host ?? ''
  const name = hostName(host)
  if (name === null || !(isIP(name) > 0 || name === 'localhost' || names.includes(name))) {
    return `Host '${host}' is not this endpoint: use its address or localhost`
  }
  const { origin } = headers
  if (origin !== undefined && !sameHost(origin, host)) return `Origin '${origin}' is a foreign one`
  const site = String(headers['sec-fetch-site'] ?? 'none')
  const followsLink = method !== 'POST' && headers['sec-fetch-mode'] === 'navigate'
  if (site !== 'none' && site !== 'same-origin' && !followsLink) return 'requests from other sites are not answered'
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
