/**
 * An application asks from source ports from which byname's user, and byname itself, ask the same name server at that time. A query must not
 * be taken for one of the other's: it would pass byname, or its reply would go astray (Istio 33469, 46935).
 */
import { spawn } from 'node:child_process'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { LAUNCHER } from '../cli/byname-process.ts'
import { BACKENDS, lacking } from './captured-network.ts'
import { canRedirect, FALSE, MESH, OUTSIDE, OWN, RedirectedMachine, run, SERVERS } from './redirected-machine.ts'

const QUERIES = 50_000
const FIRST_PORT = 40_000
/** Processes that ask side by side, each from ports of its own. */
const PROCESSES = 4
const PORTS_EACH = 16

describe.skipIf(!canRedirect() || lacking('gcc').length > 0)('reused source ports', () => {
  let machine: RedirectedMachine
  let program: string

  /** Asks as many questions, and returns how often who got which answer. */
  async function ask(server: string, queries: number): Promise<Record<string, number>> {
    const outputs = Array.from({ length: PROCESSES }, async (_, n) => {
      const first = FIRST_PORT + n * PORTS_EACH
      const args = [server, OWN, queries / PROCESSES, first, PORTS_EACH].map(String)
      const child = spawn('ip', ['netns', 'exec', machine.name, program, ...args], {
        stdio: ['ignore', 'pipe', 'inherit'],
      })
      return await text(child.stdout)
    })
    const counts: Record<string, number> = {}
    for (const line of (await Promise.all(outputs)).join('').trim().split('\n')) {
      const [, who = '', count] = /^(.*) (\d+)$/.exec(line) ?? []
      counts[who] = (counts[who] ?? 0) + Number(count)
    }
    return counts
  }

  beforeAll(async () => {
    machine = new RedirectedMachine('bnp')
    program = join(machine.folder, 'reused-ports')
    expect(run('gcc', ['-O1', '-o', program, join(import.meta.dirname, 'reused-ports.c')]).err).toBe('')
    // byname's own ports come from those of the test, and some more, as it keeps them for a while.
    const last = FIRST_PORT + PROCESSES * PORTS_EACH + 63
    machine.inside(['sh', '-c', `echo "${FIRST_PORT} ${last}" > /proc/sys/net/ipv4/ip_local_port_range`])
    await machine.until('the name server answers', () => machine.dig(SERVERS[0], 'web.mesh.test') === FALSE)
    const user = ['setpriv', `--reuid=${OWN}`, `--regid=${OWN}`, '--clear-groups']
    machine.start([...user, LAUNCHER, 'run', '--config', machine.writeConfig()])
    await machine.until('byname answers', () => machine.dig('127.0.0.1', '-p', '15053', 'web.mesh.test') === MESH.A)
  })
  afterAll(() => machine.remove())

  test.each(BACKENDS)(
    `%s: ${QUERIES.toLocaleString('en-US')} queries: none passes byname, none goes astray`,
    async (backend) => {
      expect(machine.inside([LAUNCHER, 'capture', 'apply', '--backend', backend])).toMatchObject({ code: 0 })
      for (const [server, queries] of [
        [SERVERS[0], QUERIES * 0.8],
        [SERVERS[1], QUERIES * 0.2],
      ] as const) {
        expect(await ask(server, queries)).toEqual({
          [`app mesh ${MESH.A}`]: queries / 4,
          [`app outside ${OUTSIDE.A}`]: queries / 4,
          [`own mesh ${FALSE}`]: queries / 2,
        })
      }
      expect(machine.inside([LAUNCHER, 'capture', 'remove'])).toMatchObject({ code: 0 })
    },
    300_000,
  )
})
