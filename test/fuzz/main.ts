/** `npm run fuzz -- --seed N --packets N --target engine|framing|sockets`: until a rule is broken or all packets are done. */
import { parseArgs } from 'node:util'
import { readFileSync, writeFileSync } from 'node:fs'
import { Coverage } from './coverage.ts'
import { Packet } from './packet.ts'
import { Watchdog } from './watchdog.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    packets: { type: 'string', default: '1000000' },
    target: { type: 'string', default: 'engine' },
    episode: { type: 'string', default: '100000' },
    driver: { type: 'string', default: 'batch' },
    'no-coverage': { type: 'boolean', default: false },
    'no-shrink': { type: 'boolean', default: false },
    save: { type: 'string' },
    with: { type: 'string' },
    engine: { type: 'string', default: '1' },
    replay: { type: 'string' },
  },
})
const seed = values.seed === undefined ? Date.now() % 1_000_000_000 : Number(values.seed)

if (values.replay !== undefined) process.exitCode = await replayText(Number(values.engine), values.replay)
else if (values.target === 'sockets') process.exitCode = await fuzzSockets()
else process.exitCode = await fuzz()

async function replayText(engineSeed: number, text: string): Promise<number> {
  const { replay } = await import('./shrink.ts')
  const { parseSteps } = await import('./steps.ts')
  const violation = replay(engineSeed, parseSteps(text))
  console.log(violation?.message ?? 'no rule was broken')
  return violation === null ? 0 : 1
}

async function fuzzSockets(): Promise<number> {
  const { runSockets } = await import('./sockets-target.ts')
  const driver = values.driver === 'dgram' ? 'dgram' : 'batch'
  const { fault, summary } = await runSockets({ seed, packets: Number(values.packets), driver, log: console.log })
  console.log(summary)
  if (fault === null) return 0
  console.log(`seed ${seed}: ${fault}`)
  return 1
}

async function fuzz(): Promise<number> {
  const coverage = values['no-coverage'] ? null : new Coverage()
  // Before src is loaded: V8 counts blocks in functions that it compiles from now on.
  coverage?.start()
  const { asViolation } = await import('./shrink.ts')
  const { openTarget } = await import('./targets.ts')
  const { CoverageGuide } = await import('./coverage-guide.ts')
  const { MemoryWatch } = await import('./memory-watch.ts')
  const memory = new SharedArrayBuffer(Packet.ROOM)
  const packet = new Packet(memory)
  const target = openTarget(values.target, { seed, packet, episode: Number(values.episode) })
  if (values.with !== undefined) target.takeFound(readFileSync(values.with, 'utf8'))
  const guide = coverage === null ? null : new CoverageGuide(coverage, target, packet)
  const watchdog = new Watchdog(memory, `npm run fuzz -- --target ${values.target} --seed ${seed}`)
  const watch = new MemoryWatch()
  const packets = Number(values.packets)
  const startedAt = performance.now()
  let saidAt = startedAt
  console.log(`target ${values.target}, seed ${seed}, ${packets} packets`)
  try {
    while (target.packets < packets) {
      target.step()
      watchdog.tick(packet.length)
      guide?.look()
      if ((target.packets & 1023) !== 0) continue
      watch.batch()
      if (performance.now() - saidAt < 10_000) continue
      saidAt = performance.now()
      watch.look(target.packets)
      const rate = Math.round((target.packets * 1000) / (saidAt - startedAt))
      console.log(`${target.packets} packets, ${rate}/s, ${watch.text}${guide === null ? '' : `, ${guide.text}`}`)
    }
    target.finish()
    watch.end()
  } catch (error) {
    // It would take the search for the shortest steps for a packet that hangs.
    await watchdog.stop()
    return (await explain(target, target.packets, asViolation(error))) ? 1 : 2
  } finally {
    target.close()
    await watchdog.stop()
    if (values.save !== undefined && guide !== null) writeFileSync(values.save, guide.foundText)
  }
  const seconds = (performance.now() - startedAt) / 1000
  console.log(
    `${target.packets} packets in ${seconds.toFixed(1)} s (${Math.round(target.packets / seconds)}/s), ${watch.text}\n${target.summary}`,
  )
  return 0
}

/** Says what failed and how to see it again, in as few bytes as can be. */
async function explain(target: object, packets: number, violation: Error & { kind: string }): Promise<boolean> {
  const { EngineTarget } = await import('./engine-target.ts')
  const { shrink } = await import('./shrink.ts')
  const { stepText } = await import('./steps.ts')
  console.log(`seed ${seed}, packet ${packets}: ${violation.message}`)
  if (!(target instanceof EngineTarget) || values['no-shrink']) return true
  const { history, engineSeed } = target
  if (!history.isWhole) console.log('the first steps of this engine are forgotten: it may not fail again')
  const shrunk = shrink(engineSeed, history.steps(), violation.kind, 60_000)
  if (shrunk.violation === null) {
    console.log('it does not fail when its steps are done again')
    return false
  }
  console.log(`the shortest steps that still fail: ${shrunk.violation.message}`)
  console.log(`\nnpm run fuzz -- --engine ${engineSeed} --replay '${shrunk.steps.map(stepText).join(' ')}'`)
  return true
}
