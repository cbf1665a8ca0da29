/**
 * `node test/fuzz/inputs-main.ts --seed N --inputs N --target nds|image|config|mesh|resolv|hosts|rules|xds`: fuzzes what reads
 * tables, files and messages (INPUTS.md). The work is done in a thread, so that an input that never comes back is found.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { isMainThread, parentPort, Worker, workerData } from 'node:worker_threads'
import { run, type RunResult } from './inputs-run.ts'
import { type FuzzTarget, judge, kindOf, shrinkInput } from './inputs-target.ts'
import { TARGET_NAMES, type TargetName, targetOf } from './inputs-targets.ts'

/** An input that has not come back after this long never does. */
const HANG_MS = 30_000
const PROGRESS_MS = 10_000
const SHRINK_MS = 20_000
/** Longest input that is shown; longer ones go to a file. */
const MOST_SHOWN_BYTES = 240
/** Input under way, for whoever watches: count, target, length; then the bytes. */
const WATCH_WORDS = 3
const WATCH_BYTES = 4 << 20

/** A line to be shown, or the exit code. */
type FromWorker = string | number

interface Work {
  seed: number
  inputs: number
  seconds: number
  targets: TargetName[]
  shared: SharedArrayBuffer
}

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      seed: { type: 'string' },
      inputs: { type: 'string', default: '100000' },
      seconds: { type: 'string', default: 'Infinity' },
      target: { type: 'string', multiple: true },
      replay: { type: 'string' },
    },
  })
  const targets = (values.target ?? [...TARGET_NAMES]).map(targetNamed)
  if (values.replay !== undefined) return replay(targets[0]!, values.replay)
  const seed = values.seed === undefined ? Date.now() % 1_000_000_000 : Number(values.seed)
  const inputs = Number(values.inputs)
  if (!Number.isInteger(seed) || !Number.isInteger(inputs)) throw new Error('--seed and --inputs take whole numbers')
  console.log(`seed ${seed}`)
  const shared = new SharedArrayBuffer(WATCH_WORDS * 4 + WATCH_BYTES)
  const assigned: Work = { seed, inputs, seconds: Number(values.seconds), targets, shared }
  return await watch(new Worker(new URL(import.meta.url), { workerData: assigned }), shared, targets)
}

function targetNamed(name: string): TargetName {
  const target = TARGET_NAMES.find((each) => each === name)
  if (target === undefined) throw new Error(`there is no target ${name}, only ${TARGET_NAMES.join(', ')}`)
  return target
}

/** Resolves with the exit code. */
function watch(worker: Worker, shared: SharedArrayBuffer, targets: readonly TargetName[]): Promise<number> {
  const words = new Int32Array(shared, 0, WATCH_WORDS)
  const { promise, resolve, reject } = Promise.withResolvers<number>()
  let seen = -1
  let seenAt = performance.now()
  let toldAt = performance.now()
  const timer = setInterval(() => {
    const now = performance.now()
    const count = Atomics.load(words, 0)
    if (count !== seen) [seen, seenAt] = [count, now]
    else if (now - seenAt > HANG_MS && count > 0) {
      const target = targets[words[1]!]!
      const input = Uint8Array.from(new Uint8Array(shared, WATCH_WORDS * 4, words[2]))
      console.log(`\n${target}: input ${count} has not come back after ${HANG_MS / 1000} s`)
      show(target, input)
      void worker.terminate().then(() => resolve(1))
    }
    if (now - toldAt < PROGRESS_MS) return
    toldAt = now
    const megabytes = Math.round(process.memoryUsage.rss() / 2 ** 20)
    console.log(`${targets[words[1]!]}: ${count.toLocaleString('en-US')} inputs in all, ${megabytes} MB`)
  }, 1000)
  let code = 1
  worker.on('message', (message: FromWorker) => {
    if (typeof message === 'string') console.log(message)
    else code = message
  })
  worker.on('error', reject)
  worker.on('exit', () => resolve(code))
  return promise.finally(() => clearInterval(timer))
}

/** The thread never rests, and what it logs would only be shown when it does. */
function say(line: string): void {
  if (parentPort === null) console.log(line)
  else parentPort.postMessage(line)
}

/** In the thread. */
function work({ seed, inputs, seconds, targets, shared }: Work): number {
  const words = new Int32Array(shared, 0, WATCH_WORDS)
  const bytes = new Uint8Array(shared, WATCH_WORDS * 4)
  for (const [place, name] of targets.entries()) {
    const target = targetOf(name, seed)
    words[1] = place
    const before = (_: number, input: Uint8Array): void => {
      words[2] = Math.min(input.length, bytes.length)
      bytes.set(input.subarray(0, bytes.length))
      Atomics.add(words, 0, 1)
    }
    const untilMs = performance.now() + seconds * 1000
    const result = run(target, { seed, inputs, untilMs, before })
    summarize(name, result)
    if (result.failure === null) continue
    const { index, input, error } = result.failure
    say(`\n${name}, seed ${seed}, input ${index}: ${error.message}`)
    // Nobody is to wait for the next input.
    Atomics.store(words, 0, 0)
    explain(target, name, input, error)
    return 1
  }
  return 0
}

function summarize(name: TargetName, { inputs, bytes, seconds, outcomes, slowestMs, memory }: RunResult): void {
  const held = memory === null ? '' : `, ${memory.first >> 20} MB held at first and ${memory.last >> 20} MB at last`
  say(
    `${name}: ${inputs.toLocaleString('en-US')} inputs, ${Math.round(bytes / 1e6)} MB, in ${seconds.toFixed(0)} s; ` +
      `${outcomes.size} outcomes; the slowest took ${slowestMs.toFixed(0)} ms${held}`,
  )
  const most = [...outcomes].toSorted(([, a], [, b]) => b - a).slice(0, 8)
  for (const [outcome, count] of most) say(`  ${String(count).padStart(9)}  ${outcome}`)
}

function explain(target: FuzzTarget, name: TargetName, input: Uint8Array, error: Error): void {
  const again = judge(target, input).error
  if (again === null || kindOf(again) !== kindOf(error)) {
    say('it does not fail when it is checked again by itself')
    show(name, input)
    return
  }
  const small = shrinkInput(target, input, error, SHRINK_MS)
  say(`shrunk from ${input.length} to ${small.length} bytes: ${judge(target, small).error?.message}`)
  show(name, small)
}

/** Shows an input and the command line that checks it again. */
function show(name: TargetName, input: Uint8Array): void {
  const bytes = Buffer.from(input)
  let from = `base64:${bytes.toString('base64')}`
  if (bytes.length > MOST_SHOWN_BYTES) {
    from = join(tmpdir(), `byname-fuzz-${name}-${process.pid}`)
    writeFileSync(from, bytes)
  } else say(JSON.stringify(bytes.toString('latin1')))
  say(`node test/fuzz/inputs-main.ts --target ${name} --replay ${from}`)
}

function replay(name: TargetName, from: string): number {
  const encoded = /^base64:(.*)$/.exec(from)?.[1]
  const input =
    encoded === undefined ? Uint8Array.from(readFileSync(from)) : Uint8Array.from(Buffer.from(encoded, 'base64'))
  const { outcome, error, ms } = judge(targetOf(name, 0), input)
  console.log(error === null ? `${outcome} (${ms.toFixed(1)} ms)` : (error.stack ?? error.message))
  return error === null ? 0 : 1
}

if (isMainThread) process.exitCode = await main()
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- it is what this file gave it
else parentPort!.postMessage(work(workerData as Work))
