import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HostPort } from '../config/address.ts'
import { parseGoDuration } from '../config/go-duration.ts'
import { UsageError } from './arguments.ts'
import { type Command, ExitCode } from './command.ts'
import { endpointAddress } from './endpoint-address.ts'

/** The endpoint itself waits for its workers less than a second. */
const DEADLINE_MS = 2000
const LOOK_AGAIN_MS = 100
/** The endpoint says far less; what says more is not byname. */
const MOST_BYTES = 65_536

/**
 * `byname health`: whether the daemon answers, for probes that run a program (HEALTHCHECK of an image, `exec` probes of
 * Kubernetes). A probe runs for ever, so that this command starts in a bundle of its own and without an HTTP library:
 * 45 ms of processor time instead of the 105 of `byname status`. With `--wait` a probe costs that once for a whole start.
 */
export const healthCommand: Command = {
  name: 'health',
  summary: 'Say whether the running daemon answers: exit code 0 or 1.',
  options: {
    ready: { help: 'whether it is ready: a name table has arrived and sockets are bound' },
    wait: { value: 'DURATION', help: 'wait for so long until it is: 30s, 1m' },
    metrics: {
      value: 'ADDR:PORT',
      help: 'metrics endpoint of the daemon (default BYNAME_METRICS_LISTEN or 127.0.0.1:9153)',
    },
  },
  details: `Asks /healthz, or /readyz with --ready, and prints the first line of what that says. For probes that run a
program: it needs neither a shell nor curl. A daemon that says nothing for 2 s does not answer.`,
  examples: ['byname health', 'byname health --ready --wait 30s'],
  async run(given, context) {
    const written = given.text('metrics') ?? (context.env.BYNAME_METRICS_LISTEN || '127.0.0.1:9153')
    if (written === 'off') throw new Error('metrics.listen is off, and /healthz with it; give it an address')
    const endpoint = endpointAddress('metrics', written)
    const waitMs = parseGoDuration(given.text('wait') ?? '0')
    if (waitMs === null || waitMs < 0) throw new UsageError('--wait: must be a duration such as 30s or 500ms')
    const endMs = performance.now() + waitMs
    for (;;) {
      const { isWell, line } = await ask(endpoint, given.has('ready') ? '/readyz' : '/healthz')
      if (isWell) {
        context.out(`${line}\n`)
        return ExitCode.done
      }
      if (performance.now() + LOOK_AGAIN_MS > endMs) throw new Error(line)
      await sleep(LOOK_AGAIN_MS)
    }
  },
}

/** Whether status 200 is at `path`, and its first line, or why not. HTTP/1.0 (RFC 1945): the body ends with the connection. */
function ask({ host, port, text }: HostPort, path: string): Promise<{ isWell: boolean; line: string }> {
  return new Promise((resolve) => {
    let response = ''
    const socket = connect(port, host)
    const fail = (reason: string): void => {
      socket.destroy()
      resolve({ isWell: false, line: `${text} ${reason}; is byname running, and its metrics.listen ${text}?` })
    }
    const timer = setTimeout(() => fail(`does not answer within ${DEADLINE_MS / 1000} s`), DEADLINE_MS)
    socket.on('close', () => clearTimeout(timer))
    socket.on('error', (error: NodeJS.ErrnoException) => fail(`cannot be asked (${error.code ?? error.message})`))
    socket.setEncoding('latin1').on('data', (chunk: string) => {
      response += chunk
      if (response.length > MOST_BYTES) fail('says more than a health check does')
    })
    socket.on('end', () => {
      const [, status, line] = /^HTTP\/1\.[01] (\d{3})[^]*?\r\n\r\n([^\r\n]*)/.exec(response) ?? []
      if (status === undefined || line === undefined) return fail('does not answer as byname does')
      socket.destroy()
      resolve(status === '200' ? { isWell: true, line } : { isWell: false, line: `byname at ${text}: ${line}` })
    })
    socket.write(`GET ${path} HTTP/1.0\r\nHost: ${text}\r\n\r\n`)
  })
}
