/** `byname top`: what the running daemon does, live in a terminal. */
import { setTimeout as wait } from 'node:timers/promises'
import type { ReadStream, WriteStream } from 'node:tty'
import { ADMIN_OPTIONS, getJson } from './admin-client.ts'
import { type CommandArguments, UsageError } from './arguments.ts'
import { type Command, type CommandContext, ExitCode } from './command.ts'
import { durationText } from './figures.ts'
import { topLines, type TopOverview, topText } from './top-screen.ts'

const DEFAULT_INTERVAL_SECONDS = 2
const LONGEST_INTERVAL_SECONDS = 3600
/** Of figures asked for with each look: what the bars show. */
const HISTORY_SECONDS = 150
/** A terminal that does not say how large it is. */
const USUAL_SIZE = { columns: 80, rows: 24 }

// Of a terminal (ECMA-48, xterm): the screen that programs have to themselves, the cursor, the rest of a line or screen.
const ENTER = '\x1b[?1049h\x1b[?25l'
const LEAVE = '\x1b[?25h\x1b[?1049l'
const HOME = '\x1b[H'
const CLEAR_LINE = '\x1b[K'
const CLEAR_BELOW = '\x1b[J'
/** Ctrl-C and Ctrl-D, which a terminal in raw mode passes on as characters; q. */
const QUITTING = ['\x03', '\x04', 'q', 'Q']

/** `byname top`: the figures of the status page in a terminal. */
export const topCommand: Command = {
  name: 'top',
  summary: 'Watch the running daemon: rates, latency, servers, names, failures.',
  details:
    'Fills the terminal and follows its size; q or Ctrl-C ends it. Where the output is no terminal, each look is printed below the last one, without control characters.',
  options: {
    interval: { value: 'SECONDS', help: `time between two looks (default ${DEFAULT_INTERVAL_SECONDS})` },
    count: { value: 'N', help: 'end after so many looks' },
    ...ADMIN_OPTIONS,
  },
  examples: ['byname top', 'byname top --count 1 | head -3'],
  isService: true,
  async run(given, context) {
    const intervalMs = (numberOf(given, 'interval', LONGEST_INTERVAL_SECONDS) ?? DEFAULT_INTERVAL_SECONDS) * 1000
    const count = numberOf(given, 'count', Number.MAX_SAFE_INTEGER) ?? Number.POSITIVE_INFINITY
    const look = (): Promise<TopOverview> =>
      getJson<TopOverview>(`/debug/overview?history=${HISTORY_SECONDS}`, given, context)
    // Before the screen is taken: that nobody listens is said like anywhere else.
    const first = await look()
    if (process.stdout.isTTY) await onScreen(first, look, intervalMs, count, context)
    else await inLines(first, look, intervalMs, count, context)
    return ExitCode.done
  },
}

function numberOf(given: CommandArguments, name: 'interval' | 'count', most: number): number | null {
  const text = given.text(name)
  if (text === undefined) return null
  const value = Number(text)
  const isRight = name === 'count' ? Number.isInteger(value) && value >= 1 : value >= 0.1
  if (text.trim() !== '' && isRight && value <= most) return value
  throw new UsageError(
    `--${name}: ${text} is not ${name === 'count' ? 'a whole number from 1' : '0.1 to 3600 seconds'}`,
  )
}

/** One block after the other. @throws as `look` */
async function inLines(
  first: TopOverview,
  look: () => Promise<TopOverview>,
  intervalMs: number,
  count: number,
  context: CommandContext,
): Promise<void> {
  context.out(topText(first))
  for (let n = 1; n < count; n++) {
    await pause(intervalMs, context.signal)
    if (context.signal.aborted) return
    context.out(`\n${topText(await look())}`)
  }
}

/** On a screen of its own, which is left however it ends. A daemon that does not answer is waited for. */
async function onScreen(
  first: TopOverview,
  look: () => Promise<TopOverview>,
  intervalMs: number,
  count: number,
  { signal }: CommandContext,
): Promise<void> {
  const { stdin, stdout } = process
  const quit = new AbortController()
  const ends = AbortSignal.any([signal, quit.signal])
  let shown = first
  let problem = ''
  let silentSince = 0
  const draw = (): void => {
    const silence =
      problem === '' ? [] : [`NO ANSWER for ${durationText((Date.now() - silentSince) / 1000)}: ${problem}`]
    stdout.write(frame(shown, silence, stdout))
  }
  const leave = (): void => void stdout.write(LEAVE)
  const onKey = (keys: Buffer): void => {
    if (QUITTING.some((key) => keys.includes(key))) quit.abort()
  }
  process.once('exit', leave)
  stdout.write(ENTER)
  stdout.on('resize', draw)
  listenToKeys(stdin, onKey)
  try {
    draw()
    for (let n = 1; n < count && !ends.aborted; n++) {
      await pause(intervalMs, ends)
      if (ends.aborted) break
      try {
        shown = await look()
        problem = ''
      } catch (error) {
        if (problem === '') silentSince = Date.now()
        problem = error instanceof Error ? error.message : String(error)
      }
      draw()
    }
  } finally {
    stdin.off('data', onKey)
    if (stdin.isTTY) stdin.setRawMode(false)
    stdin.pause()
    stdout.off('resize', draw)
    process.off('exit', leave)
    leave()
  }
}

function listenToKeys(stdin: ReadStream, onKey: (keys: Buffer) => void): void {
  if (!stdin.isTTY) return
  stdin.setRawMode(true)
  stdin.on('data', onKey)
}

/** Everything in one write, over what is there: nothing flickers. */
function frame(overview: TopOverview, notes: readonly string[], { columns, rows }: WriteStream): string {
  const size = { columns: columns || USUAL_SIZE.columns, rows: rows || USUAL_SIZE.rows }
  const lines = [...notes.map((note) => note.slice(0, size.columns)), ...topLines(overview, size)].slice(0, size.rows)
  return HOME + lines.map((line) => line + CLEAR_LINE).join('\r\n') + CLEAR_BELOW
}

/** Ends early, without an error, when `signal` is aborted. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await wait(ms, undefined, { signal }).catch(() => {})
}
