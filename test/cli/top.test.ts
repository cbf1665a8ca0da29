/** `byname top`: on a real terminal, and where there is none. */
import { type ChildProcess, execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { array, assert, constant, double, integer, property, record, string } from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { topLines, type TopOverview } from '../../src/cli/top-screen.ts'
import type { DaemonProcess } from '../daemon/daemon-process.ts'
import { Stage } from '../scenario/scenario.ts'
import { byname, LAUNCHER } from './byname-process.ts'
import { until } from '../until.ts'

const stage = new Stage()
const ESCAPE = '\x1b'
let folder = ''

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'byname-top-'))
})
afterEach(() => rmSync(folder, { recursive: true, force: true }))

async function daemonWithHost(): Promise<{ daemon: DaemonProcess; admin: string }> {
  const daemon = await stage.daemon({})
  const { address, port } = await daemon.line('admin endpoint is listening')
  return { daemon, admin: `${String(address)}:${String(port)}` }
}

/** A terminal in which byname top runs. */
class Terminal {
  readonly child: ChildProcess
  shown = ''

  constructor(admin: string, columns: number, rows: number) {
    const top = `tty >${join(folder, 'tty')}; stty cols ${columns} rows ${rows}; ${LAUNCHER} top --interval 0.1 --admin ${admin}`
    this.child = spawn('script', ['-qfec', `${top}; echo "ended: $?"; stty -a`, '/dev/null'], {
      stdio: ['pipe', 'pipe', 'inherit'],
      env: { ...process.env, PATH: `${process.execPath.replace(/\/node$/, '')}:${process.env['PATH']}` },
    })
    this.child.stdout!.on('data', (bytes: Buffer) => (this.shown += bytes.toString('utf8')))
    stage.closing(() => this.child.kill('SIGKILL'))
  }

  resize(columns: number, rows: number): void {
    const tty = readFileSync(join(folder, 'tty'), 'utf8').trim()
    execFileSync('stty', ['-F', tty, 'cols', String(columns), 'rows', String(rows)])
  }

  /** Lines of what was drawn last. */
  get lastFrame(): string[] {
    const frame = this.shown.split(`${ESCAPE}[H`).at(-1)!.split(`${ESCAPE}[J`)[0]!
    return frame.split('\n').map((line) => line.replaceAll(`${ESCAPE}[K`, '').replaceAll('\r', ''))
  }
}

describe('on a terminal', () => {
  test('it follows the size, tells of a daemon that is gone, and leaves the terminal as it was', async () => {
    const { daemon, admin } = await daemonWithHost()
    const terminal = new Terminal(admin, 60, 8)
    await until(() => expect(terminal.lastFrame[0]).toMatch(/^byname \d.* {2}up /))
    await until(() => expect(terminal.lastFrame).toHaveLength(8))
    terminal.resize(100, 30)
    await until(() => expect(terminal.lastFrame.length).toBeGreaterThan(8))
    await daemon.end('SIGKILL')
    await until(() => expect(terminal.lastFrame[0]).toMatch(/^NO ANSWER for .*nothing listens on /))
    const ended = once(terminal.child, 'close')
    terminal.child.stdin!.write('q')
    await ended
    expect(terminal.shown).toContain(`${ESCAPE}[?25h${ESCAPE}[?1049l`)
    expect(terminal.shown).toContain('ended: 0')
    // Not raw any more.
    expect(terminal.shown.slice(terminal.shown.indexOf('ended: 0'))).toMatch(/ icanon .* echo /s)
  })

  test('Ctrl-C ends it as well', async () => {
    const { admin } = await daemonWithHost()
    const terminal = new Terminal(admin, 80, 24)
    await until(() => expect(terminal.lastFrame[0]).toMatch(/^byname /))
    const ended = once(terminal.child, 'close')
    terminal.child.stdin!.write('\x03')
    await ended
    expect(terminal.shown).toContain('ended: 0')
  })
})

describe('where there is no terminal', () => {
  test('each look is a block of plain text', async () => {
    const { admin } = await daemonWithHost()
    const { code, out, err } = await byname(['top', '--count=2', '--interval=0.1', `--admin=${admin}`])
    expect({ code, err }).toEqual({ code: 0, err: '' })
    expect(out).not.toContain(ESCAPE)
    expect(out.match(/^byname \d/gm)).toHaveLength(2)
  })

  test.each([
    [['--admin=127.0.0.1:1'], 1, /nothing listens on 127\.0\.0\.1:1/],
    [['--interval=soon'], 2, /--interval: soon is not 0\.1 to 3600 seconds/],
    [['--count=0'], 2, /--count: 0 is not a whole number from 1/],
  ])('%j: one line', async (args, code, line) => {
    const ended = await byname(['top', ...args])
    expect(ended.code).toBe(code)
    expect(ended.err).toMatch(line)
    expect(ended.err.trim().split('\n')).toHaveLength(1)
  })
})

describe('the screen', () => {
  test('never has more or longer lines than fit, nor characters that move the cursor', async () => {
    const { daemon } = await daemonWithHost()
    const seen: TopOverview = JSON.parse(await (await daemon.get('admin', '/debug/overview?history=60')).text())
    const hostile = string({ unit: 'binary', maxLength: 300 })
    const names = array(record({ name: hostile, share: double({ min: 0, max: 1, noNaN: true }), error: constant(0) }))
    const kind = record({ names })
    const top = record({ halfLifeSeconds: constant(900), asked: kind, failing: kind, searched: kind })
    const size = record({ columns: integer({ min: 1, max: 200 }), rows: integer({ min: 1, max: 80 }) })
    assert(
      property(top, hostile, hostile, size, (shown, sentence, label, { columns, rows }) => {
        const { status } = seen
        const upstreams = [{ ...status.upstreams[0]!, label, rttMs: 3, healthy: false, isLoop: false }]
        const health = { ...status.health, sentence }
        const overview: TopOverview = { ...seen, status: { ...status, health, upstreams }, top: shown }
        const lines = topLines(overview, { columns, rows })
        expect(lines.length).toBeLessThanOrEqual(rows)
        for (const line of lines) {
          expect(Array.from(line).length).toBeLessThanOrEqual(columns)
          // oxlint-disable-next-line no-control-regex -- they are what is looked for
          expect(line).not.toMatch(/[\u0000-\u001f\u007f-\u009f]/)
        }
      }),
    )
  })
})
