import { request } from 'node:http'
import { WAIT_MS } from '../wait.ts'

export interface HttpReply {
  status: number
  headers: Record<string, string | string[] | undefined>
  body: string
}

/** One HTTP request over a connection of its own, with any headers (fetch forbids Host and Origin). */
export function httpRequest(
  at: { address: string; port: number },
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<HttpReply> {
  return new Promise((resolve, reject) => {
    const sent = request(
      {
        host: at.address,
        port: at.port,
        path,
        method: options.method ?? 'GET',
        headers: options.headers ?? {},
        agent: false,
        timeout: WAIT_MS,
      },
      (response) => {
        let body = ''
        response.setEncoding('utf8')
        response.on('data', (chunk: string) => (body += chunk))
        response.on('error', reject)
        response.on('end', () => resolve({ status: response.statusCode ?? 0, headers: response.headers, body }))
      },
    )
    sent.on('error', reject)
    sent.on('timeout', () => sent.destroy(new Error(`no reply to ${path} within ${WAIT_MS} ms`)))
    sent.end(options.body)
  })
}
