import { type IncomingMessage, request } from 'node:http'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'
import type { HostPort } from '../config/address.ts'
import { version } from '../version.ts'
import { type CommandArguments, type CommandOption, UsageError } from './arguments.ts'
import type { CommandContext } from './command.ts'
import { endpointAddress } from './endpoint-address.ts'

/** Options of commands that ask a running byname. */
export const ADMIN_OPTIONS: Readonly<Record<'admin' | 'token', CommandOption>> = {
  admin: {
    value: 'ADDR:PORT',
    help: 'admin endpoint of the daemon (default BYNAME_ADMIN_LISTEN or 127.0.0.1:15054)',
  },
  token: {
    value: 'FILE',
    help: 'its admin.token (default BYNAME_ADMIN_TOKEN_FILE or BYNAME_ADMIN_TOKEN)',
  },
}

/** An endpoint that says nothing for so long is given up. */
const SILENCE_MS = 5000
/** A name table of 100,000 hosts is about 20 MB. Node.js makes no string of 512 MiB. */
const MOST_BYTES = 256 * 1024 * 1024

/** What came back, and which byname it is from: its version, '' if it does not say. */
interface Answer {
  status: number
  retryAfter: string
  version: string
  body: string
}

/**
 * GETs `path` from the admin endpoint and returns the body.
 * @throws Error in one line that names the address and a remedy: nothing listens, no answer, busy, not byname, another
 * version, not status 200; UsageError for a bad address or token file
 */
export async function getFromAdmin(path: string, given: CommandArguments, context: CommandContext): Promise<string> {
  return (await askAdmin('GET', path, given, context)).body
}

/**
 * GETs JSON from the admin endpoint. Its shape is what a daemon of the same version sends, and is not checked.
 * @throws as `getFromAdmin`
 */
export async function getJson<T>(path: string, given: CommandArguments, context: CommandContext): Promise<T> {
  const read: T = readJson(path, await askAdmin('GET', path, given, context))
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

/**
 * Shows what the admin endpoint says at `path`: as JSON with `--json`, else as `toText` writes it.
 * @throws as `getFromAdmin`, and where an answer of another version is not what `toText` knows
 */
export async function showFromAdmin(
  path: string,
  given: CommandArguments,
  context: CommandContext,
  toText: (read: ReturnType<typeof JSON.parse>) => string,
): Promise<void> {
  const answer = await askAdmin('GET', path, given, context)
  const read: unknown = readJson(path, answer)
  if (given.has('json')) return context.out(`${JSON.stringify(read, null, 2)}\n`)
  let text: string
  try {
    text = toText(read)
  } catch (cause) {
    throw new Error(`the answer at ${path} is not what this command knows; ${versionAdvice(answer)}`, { cause })
  }
  context.out(text)
}

async function askAdmin(
  method: 'GET' | 'POST',
  path: string,
  given: CommandArguments,
  context: CommandContext,
): Promise<Answer> {
  const address = adminAddress(given, context)
  const answer = await exchange(method, path, address, tokenOf(given, context), context.signal)
  if (answer.status === 200) return answer
  const line = answer.body.split('\n', 1)[0]!.slice(0, 200)
  if (answer.status === 401) throw new Error(`${address.text}: ${line}`)
  if (answer.status === 503) {
    const when = answer.retryAfter === '' ? 'later' : `in ${answer.retryAfter} s`
    throw new Error(`byname at ${address.text} cannot answer now: ${line}; try again ${when}`)
  }
  const advice = answer.version === '' || answer.version === version ? '' : `; ${versionAdvice(answer)}`
  throw new Error(`http://${address.text}${path} answers ${answer.status}: ${line}${advice}`)
}

/** Where the admin endpoint is. @throws UsageError */
export function adminAddress(given: CommandArguments, { env }: CommandContext): HostPort {
  return endpointAddress('admin', given.text('admin') ?? (env.BYNAME_ADMIN_LISTEN || '127.0.0.1:15054'))
}

/** @throws UsageError for a file that cannot be read */
function tokenOf(given: CommandArguments, { env }: CommandContext): string | null {
  const file = given.text('token') ?? (env.BYNAME_ADMIN_TOKEN_FILE || env.BYNAME_ADMIN_TOKEN)
  if (file === undefined || file === '') return null
  const read = readBoundedText(file, MAX_FILE_BYTES.credentials)
  if ('problem' in read) throw new UsageError(`--token: ${file} ${read.problem.reason}`)
  const token = read.text.trim()
  // What is no token would be refused by the HTTP library, in its own words.
  if (!/^[\x21-\x7e]+$/.test(token))
    throw new UsageError(`--token: ${file} holds no token: one line of ASCII without spaces`)
  return token
}

function exchange(
  method: string,
  path: string,
  { host, port, text }: HostPort,
  token: string | null,
  signal: AbortSignal,
): Promise<Answer> {
  const headers = token === null ? {} : { authorization: `Bearer ${token}` }
  const silence = new AbortController()
  const timer = setTimeout(() => silence.abort(), SILENCE_MS)
  const answered = new Promise<Answer>((resolve, reject) => {
    const fail = (error: Error): void => reject(silence.signal.aborted ? silent(text, error) : explain(error, text))
    const ends = AbortSignal.any([signal, silence.signal])
    const asked = request({ method, host, port, path, headers, signal: ends, agent: false }, (response) => {
      const chunks: Buffer[] = []
      let bytes = 0
      response.on('data', (chunk: Buffer) => {
        timer.refresh()
        chunks.push(chunk)
        bytes += chunk.length
        if (bytes > MOST_BYTES) asked.destroy(new Error('the answer does not end; is it byname?'))
      })
      response.on('error', fail)
      response.on('end', () => resolve(answerOf(response, Buffer.concat(chunks).toString('utf8'))))
    })
    asked.on('error', fail)
    asked.end()
  })
  return answered.finally(() => clearTimeout(timer))
}

function answerOf({ statusCode = 0, headers }: IncomingMessage, body: string): Answer {
  const said = /^byname\/(\S+)$/.exec(String(headers.server ?? ''))?.[1] ?? ''
  return { status: statusCode, retryAfter: headers['retry-after'] ?? '', version: said, body }
}

function readJson(path: string, answer: Answer): ReturnType<typeof JSON.parse> {
  try {
    return JSON.parse(answer.body)
  } catch (cause) {
    throw new Error(`the admin endpoint answers ${path} with something that is no JSON; is it byname's?`, { cause })
  }
}

function versionAdvice(answer: Answer): string {
  if (answer.version === '') return `is it byname ${version}?`
  return `it is byname ${answer.version}, and this command is ${version}: use the command of the same version`
}

function silent(address: string, cause: Error): Error {
  return new Error(`${address} does not answer within ${SILENCE_MS / 1000} s`, { cause })
}

const REMEDY = 'start byname, or name its admin endpoint with --admin ADDR:PORT'

function explain(cause: Error, address: string): Error {
  const code = 'code' in cause ? String(cause.code) : ''
  if (cause.name === 'AbortError') return new Error('ended before there was an answer', { cause })
  if (code === 'ECONNREFUSED') return new Error(`nothing listens on ${address}; ${REMEDY}`, { cause })
  if (code === 'ECONNRESET' || code === 'EPIPE') {
    return new Error(`${address} closed the connection before its answer was complete; try again, or ${REMEDY}`, {
      cause,
    })
  }
  if (code.startsWith('HPE_')) return new Error(`${address} does not speak HTTP; ${REMEDY}`, { cause })
  if (/^(?:EHOSTUNREACH|ENETUNREACH|ETIMEDOUT|EADDRNOTAVAIL|ENOTFOUND|EAI_AGAIN)$/.test(code)) {
    return new Error(`${address} cannot be reached (${code}); ${REMEDY}`, { cause })
  }
  return new Error(`${address}: ${cause.message}`, { cause })
}
