import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { afterEach, describe, expect, test } from 'vitest'
import { type LentEndpoint, takeEndpoint } from '../../src/daemon/handover.ts'
import { httpRequest } from '../http/http-request.ts'
import { DaemonProcess } from './daemon-process.ts'

const folder = mkdtempSync(join(tmpdir(), 'byname-endpoints-'))
let daemon: DaemonProcess | null = null
/** The process that answers now. */
let pid = 0
afterEach(async () => {
  if (daemon === null) return
  try {
    process.kill(pid, 'SIGTERM')
  } catch {
    // It has ended.
  }
  await daemon.stop()
  daemon = null
  rmSync(folder, { recursive: true, force: true })
})

/** Asks one path again and again, over a connection of its own each time, until stopped. */
class Scraper {
  readonly failures: string[] = []
  scrapes = 0
  #isStopped = false
  readonly #done: Promise<void>

  constructor(at: { address: string; port: number }, path: string) {
    this.#done = this.#run(at, path)
  }

  async stop(): Promise<void> {
    this.#isStopped = true
    await this.#done
  }

  async #run(at: { address: string; port: number }, path: string): Promise<void> {
    while (!this.#isStopped) {
      this.scrapes++
      try {
        const { status } = await httpRequest(at, path)
        if (status !== 200) this.failures.push(`${path}: ${status}`)
      } catch (error) {
        this.failures.push(`${path}: ${String(error)}`)
      }
    }
  }
}

test('no scrape, probe or admin request fails while one process after the other is replaced', async () => {
  const table = join(folder, 'table.json')
  writeFileSync(table, '{"table":{"a.example":{"ips":["10.0.0.7"]}}}')
  daemon = await DaemonProcess.start({ config: { mesh: { source: { table } } } })
  pid = daemon.child.pid!
  const at = async (endpoint: string): Promise<{ address: string; port: number }> => {
    const { address, port } = await daemon!.line(`${endpoint} endpoint is listening`)
    return { address: String(address), port: Number(port) }
  }
  const scrapers = [
    new Scraper(await at('metrics'), '/metrics'),
    new Scraper(await at('metrics'), '/healthz'),
    new Scraper(await at('metrics'), '/readyz'),
    new Scraper(await at('admin'), '/debug/cache'),
  ]
  for (let n = 1; n <= 3; n++) {
    process.kill(pid, 'SIGUSR2')
    pid = Number((await daemon.nthLine('handed over', n))['pid'])
    await daemon.nthLine('byname has stopped', n)
  }
  for (const scraper of scrapers) await scraper.stop()
  expect(scrapers.flatMap(({ failures }) => failures)).toEqual([])
  for (const { scrapes } of scrapers) expect(scrapes).toBeGreaterThan(10)
  // The endpoint is the new process's own, not a leftover of the first.
  expect(JSON.parse((await httpRequest(await at('admin'), '/debug/status')).body).pid).toBe(pid)
  expect(daemon.lines.filter(({ msg }) => msg.includes('in use by another process'))).toEqual([])
})

function lent(): LentEndpoint[] {
  return [
    { name: 'metrics', address: '::', port: 9153, fd: 7 },
    { name: 'admin', address: '127.0.0.1', port: 15_054, fd: 8 },
  ]
}

describe('an endpoint that was lent', () => {
  test.each<[LentEndpoint['name'], string, number, number | undefined]>([
    ['metrics', '::', 9153, 7],
    ['admin', '127.0.0.1', 15_054, 8],
    ['admin', '::', 9153, undefined],
    ['metrics', '0.0.0.0', 9153, undefined],
    ['metrics', '::', 9154, undefined],
  ])('is taken by %s at %s %i: %s, and only once', (name, address, port, fd) => {
    const endpoints = lent()
    expect(takeEndpoint(endpoints, name, address, port)).toBe(fd)
    expect(endpoints).toHaveLength(fd === undefined ? 2 : 1)
    expect(takeEndpoint(endpoints, name, address, port)).toBeUndefined()
  })
})
