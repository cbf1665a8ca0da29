import { request } from 'node:http'
import { parseHostPort } from '../config/address.ts'
import type { CommandArguments, CommandOption } from './arguments.ts'
import { type CommandContext, UsageError } from './command.ts'

/** `--admin ADDR:PORT`, as commands that ask a running byname have it. */
export const ADMIN_OPTION: CommandOption = {
  value: 'ADDR:PORT',
  help: 'admin endpoint of the daemon (default BYNAME_ADMIN_LISTEN or 127.0.0.1:15054)',
}

const DEADLINE_MS = 5000
/** A name table of 100,000 hosts is about 20 MB. */
const MOST_BYTES = 512 * 1024 * 1024

/**
 * GETs `path` from the admin endpoint and returns the body.
 * @throws Error in one line that names the address and a remedy: nothing listens, no answer, not byname, not status 200.
 */
export async function getFromAdmin(path: string, given: CommandArguments, context: CommandContext): Promise<string> {
  return await askAdmin('GET', path, given, context)
}

async function askAdmin(
  method: 'GET' | 'POST',
  path: string,
  given: CommandArguments,
  context: CommandContext,
): Promise<string> {
  const written = given.text('admin') ?? (context.env.BYNAME_ADMIN_LISTEN || '127.0.0.1:15054')
  const address = parseHostPort(written)
  if ('reason' in address) throw new UsageError(`--admin: ${address.reason}`)
  const { host, port, text } = address.value
  const signal = AbortSignal.any([context.signal, AbortSignal.timeout(DEADLINE_MS)])
  return await new Promise((resolve, reject) => {
    const fail = (error: Error): void => reject(explain(error, text))
    const asked = request({ method, host, port, path, signal, agent: false }, (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        chunks.push(chunk)
        bytes += chunk.length
        if (bytes > MOST_BYTES) asked.destroy(new Error('the answer is too long'))
      })
      response.on('error', fail)
      response.on('end', () => {
        const body = Buffer.concat(chunks).toString('utf8')
        if (response.statusCode === 200) return resolve(body)
        const line = body.split('\n', 1)[0]!.slice(0, 200)
        return reject(new Error(`http://${text}${path} answers ${response.statusCode}: ${line}`))
      })
    })
    asked.on('error', fail)
    asked.end()
  })
}

/**
 * GETs JSON from the admin endpoint. Its shape is what a daemon of the same version sends, and is not checked.
 * @throws as `getFromAdmin`
 */
export async function getJson<T>(path: string, given: CommandArguments, context: CommandContext): Promise<T> {
  const read: T = readJson(path, await getFromAdmin(path, given, context))
  return read
}

/**
 * POSTs to the admin endpoint, which changes something, and returns what it says.
 * @throws as `getFromAdmin`
 */
export async function postForJson<T>(path: string, given: CommandArguments, context: CommandContext): Promise<T> {
  const read: T = readJson(path, await askAdmin('POST', path, given, context))
  return read
}

function readJson(path: string, body: string): ReturnType<typeof JSON.parse> {
  try {
    return JSON.parse(body)
  } catch (cause) {
    throw new Error(`the admin endpoint answers ${path} with something that is no JSON; is it byname's?`, { cause })
  }
}

function explain(error: Error, address: string): Error {
  const code = 'code' in error ? error.code : undefined
  if (code === 'ECONNREFUSED') {
    const message = `nothing listens on ${address}; start byname, or name its admin endpoint with --admin ADDR:PORT`
    return new Error(message, { cause: error })
  }
  if (error.name === 'TimeoutError' || error.name === 'AbortError') {
    return new Error(`${address} does not answer within ${DEADLINE_MS / 1000} s`, { cause: error })
  }
  return new Error(`${address}: ${error.message}`, { cause: error })
}
