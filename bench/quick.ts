/**
 * Measures a server that already runs: answers per CPU second of its process while dnsperf asks.
 *
 *   node bench/quick.ts --port 15053 --pid 1234 [--names 10000] [--seconds 5] [--rounds 3] [--kind hit|miss|mixed|nx] [--tcp]
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { measure } from './load/dnsperf.ts'
import { MESH_PATTERN, writeHitFile, writeMissFile, writeMixedFile } from './load/names.ts'
import { isAlive, memory } from './load/process-usage.ts'

const HELP = `node bench/quick.ts --port P --pid PID [options]

Answers per CPU second of a running DNS server on loopback.
  --port P          UDP (and TCP) port it listens on
  --pid PID         its process; children count too
  --host ADDRESS    127.0.0.1
  --kind KIND       hit (default), miss (unique names, needs an upstream), mixed (90/10), nx (names that are not there)
  --names N         names in the hit file, 10000
  --pattern TEXT    ${MESH_PATTERN}
  --tcp             pipelined over TCP
  --qps N           steady rate instead of as fast as it goes
  --seconds S       length of a round, 5
  --rounds N        3`

await main()

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      port: { type: 'string' },
      pid: { type: 'string' },
      host: { type: 'string', default: '127.0.0.1' },
      kind: { type: 'string', default: 'hit' },
      names: { type: 'string', default: '10000' },
      pattern: { type: 'string', default: MESH_PATTERN },
      tcp: { type: 'boolean', default: false },
      qps: { type: 'string' },
      seconds: { type: 'string', default: '5' },
      rounds: { type: 'string', default: '3' },
      help: { type: 'boolean', default: false },
    },
  })
  if (values.help || values.port === undefined || values.pid === undefined) {
    console.log(HELP)
    process.exitCode = values.help ? 0 : 2
    return
  }
  const pid = Number(values.pid)
  if (!isAlive(pid)) throw new Error(`--pid ${values.pid}: no such process`)
  const seconds = Number(values.seconds)
  const folder = mkdtempSync(join(tmpdir(), 'byname-quick-'))
  try {
    for (let round = 0; round < Number(values.rounds); round++) {
      const queries = join(folder, `queries-${round}`)
      const label = `q${process.pid}r${round}`
      writeQueries(queries, values.kind, Number(values.names), seconds, label, values.pattern)
      const result = await measure(pid, {
        host: values.host,
        port: Number(values.port),
        queries,
        seconds,
        tcp: values.tcp,
        once: values.kind === 'miss' || values.kind === 'mixed',
        ...(values.qps === undefined ? {} : { queriesPerSecond: Number(values.qps) }),
      })
      const anonymous = (memory(pid).anonymousBytes / 2 ** 20).toFixed(1)
      console.log(
        `${Math.round(result.answersPerCpuSecond)} answers/CPU s  ${Math.round(result.answersPerSecond)} answers/s  ` +
          `${(result.cpuSeconds / result.seconds).toFixed(2)} cores  lost ${result.lost}  ${JSON.stringify(result.rcodes)}  ` +
          `avg ${result.latencyMs.average.toFixed(3)} ms  max ${result.latencyMs.max.toFixed(1)} ms  anon ${anonymous} MB`,
      )
    }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

function writeQueries(
  file: string,
  kind: string,
  names: number,
  seconds: number,
  label: string,
  pattern: string,
): void {
  // As many as the fastest server could take: dnsperf stops at the end of the file.
  const many = Math.ceil(seconds * 250_000)
  if (kind === 'hit') return writeHitFile(file, names, pattern)
  if (kind === 'miss') return writeMissFile(file, many, label)
  if (kind === 'mixed') return writeMixedFile(file, many, names, label, pattern)
  if (kind === 'nx') return writeHitFile(file, names, `absent-${pattern}`)
  throw new Error(`--kind ${kind}: use hit, miss, mixed or nx`)
}
