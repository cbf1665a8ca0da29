import type { ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { afterAll, afterEach, expect, test } from 'vitest'
import { byname, startByname } from './byname-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'byname-run-'))
const table = join(folder, 'table.json')
const resolvConf = join(folder, 'resolv.conf')
writeFileSync(
  table,
  JSON.stringify({
    table: {
      'reviews.default.svc.cluster.local': {
        ips: ['10.0.0.7'],
        registry: 'Kubernetes',
        shortname: 'reviews',
        namespace: 'default',
      },
    },
  }),
)
writeFileSync(resolvConf, 'nameserver 127.0.0.1\nsearch default.svc.cluster.local\n')
const ENV = {
  BYNAME_MESH_SOURCE_TABLE: table,
  BYNAME_UPSTREAM_RESOLV_CONF: resolvConf,
  BYNAME_LOG_FORMAT: 'json',
}
const CONFIG = join(folder, 'byname.yaml')
writeFileSync(CONFIG, 'metrics: { listen: "" }\nadmin: { listen: "" }\n')

let child: ChildProcess | null = null
afterEach(() => {
  child?.kill('SIGKILL')
})
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Starts the daemon on a free port and waits until it answers; returns its address. */
async function startDaemon(): Promise<string> {
  child = startByname(['run', '--config', CONFIG, '--listen', '127.0.0.1:0'], ENV)
  const seen: string[] = []
  for await (const line of createInterface({ input: child.stderr! })) {
    seen.push(line)
    const port = /"listen":\["127\.0\.0\.1:(\d+)"\]/.exec(line)?.[1]
    if (port !== undefined) return `127.0.0.1:${port}`
  }
  throw new Error(`the daemon ended: ${seen.join('\n')}`)
}

test.each(['SIGTERM', 'SIGINT'] as const)('run answers, and %s ends it with exit code 0', async (signal) => {
  const server = await startDaemon()
  expect((await byname(['query', 'reviews', '--server', server])).out).toMatch(/10\.0\.0\.7[^]*mesh table/)
  child!.kill(signal)
  expect(await once(child!, 'exit')).toEqual([0, null])
})

test.runIf(process.platform === 'linux')('ps shows the whole command, and its name is byname', async () => {
  await startDaemon()
  const { pid } = child!
  expect(readFileSync(`/proc/${pid}/cmdline`, 'utf8')).toMatch(/^byname run --config [^\0]*byname\.yaml --listen 127/)
  expect(readFileSync(`/proc/${pid}/comm`, 'utf8')).toBe('byname\n')
})

test('as on a terminal, the log is for people: the formatter works in the bundle, too', async () => {
  child = startByname(['run', '--config', CONFIG, '--listen', '127.0.0.1:0'], { ...ENV, BYNAME_LOG_FORMAT: 'pretty' })
  const [line] = await once(createInterface({ input: child.stderr! }), 'line')
  expect(line).toMatch(/^\[\d\d:\d\d:\d\d\.\d{3}\] INFO: /)
})

test('a port in use: which, in one line, exit code 1', async () => {
  const blocker = createServer().listen(0, '127.0.0.1')
  await once(blocker, 'listening')
  const address = blocker.address()
  const text = typeof address === 'object' && address !== null ? `127.0.0.1:${address.port}` : ''
  const { code, err } = await byname(['run', '--config', CONFIG, '--listen', text], {
    ...ENV,
    BYNAME_LOG_LEVEL: 'error',
  })
  blocker.close()
  expect(code).toBe(1)
  expect(err).toMatch(
    /^byname run: .*; end what listens there \(perhaps another byname\), or choose another with --listen ADDR:PORT\n$/,
  )
  expect(err).toContain(text)
})
