/** What the redirect needs of the machine: programs to run, files of /proc, and why something is refused. */
import { spawnSync } from 'node:child_process'
import { readdirSync, readlinkSync } from 'node:fs'
import { MAX_FILE_BYTES, readBoundedText } from '../base/bounded-file.ts'

/** Nothing was done, or not all of it. The message is one line that names what is missing and the remedy. */
export class CaptureError extends Error {
  readonly code = 'CAPTURE'
  override readonly name = 'CaptureError'
}

/** How a program ended. */
export interface ProgramResult {
  isDone: boolean
  stdout: string
  /** In one line; says that the program is missing if it is. */
  problem: string
  /** The machine had no memory, process or descriptor to spare, or the program took too long: the next time may go well. */
  isTransient: boolean
}

/** A program to run, with what it reads. */
export interface Step {
  program: string
  args: readonly string[]
  /** Standard input. */
  input: string
}

/** The machine, passed in so that tests can have one of their own. */
export interface Machine {
  /** Runs a program to its end, at most 30 s; for want of memory or processes up to five times. Never throws. */
  run(step: Step): ProgramResult
  /** The user as whom a process sends that holds the socket, proc(5); null if none is to be seen. */
  userOfSocket(inode: string): number | null
  /** A small file, null if it cannot be read. */
  read(path: string): string | null
}

const RUN_MS = 30_000
/** Between the tries of a program that could not run, five in all: 750 ms. */
const PAUSES_MS = [50, 100, 200, 400]
const SCARCE_CODES = new Set(['EAGAIN', 'ENOMEM', 'EMFILE', 'ENFILE'])
/** What a program says that has started and then got no memory, or lost a race with another one. */
const SCARCE = /Cannot allocate memory|Resource temporarily unavailable|No buffer space|Interrupted system call/
/** A node of Kubernetes has some 100,000 rules. */
const MAX_OUTPUT_BYTES = 512 * 1024 * 1024

/** This machine. `path` is where programs are looked for, beside the folders of system programs. */
export function thisMachine(path: string): Machine {
  const env = {
    PATH: [path, '/usr/sbin', '/sbin', '/usr/bin', '/bin'].filter((each) => each !== '').join(':'),
    LC_ALL: 'C',
  }
  // A look at all descriptors of all processes, for a question that is asked twice a second.
  let known = { inode: '', uid: 0 }
  const once = ({ program, args, input }: Step): ProgramResult & { isScarce: boolean } => {
    const ended = spawnSync(program, args, {
      input,
      env,
      encoding: 'utf8',
      timeout: RUN_MS,
      maxBuffer: MAX_OUTPUT_BYTES,
    })
    const code = ended.error !== undefined && 'code' in ended.error ? ended.error.code : undefined
    const isMissing = code === 'ENOENT'
    const problem = isMissing ? `${program} is not installed` : (ended.error?.message ?? oneLine(ended.stderr))
    const isDone = ended.status === 0
    const isScarce = !isDone && (SCARCE_CODES.has(String(code)) || SCARCE.test(problem))
    // Killed: by its timeout, or by the kernel, which was short of memory.
    const isTransient = isScarce || (!isDone && ended.signal !== null)
    return { isDone, stdout: ended.stdout ?? '', problem, isTransient, isScarce }
  }
  return {
    run(step) {
      for (const pauseMs of PAUSES_MS) {
        const result = once(step)
        if (!result.isScarce) return result
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, pauseMs)
      }
      return once(step)
    },
    userOfSocket(inode) {
      if (inode === known.inode) return known.uid
      const pid = holderOf(inode)
      const [, uid] =
        /^Uid:(?:\s+\d+){3}\s+(\d+)$/m.exec(pid === null ? '' : (this.read(`/proc/${pid}/status`) ?? '')) ?? []
      if (uid === undefined) return null
      // Root's may be one that has not given up its rights yet.
      if (uid !== '0') known = { inode, uid: Number(uid) }
      return Number(uid)
    },
    read(file) {
      const reading = readBoundedText(file, MAX_FILE_BYTES.kernelTable)
      return 'problem' in reading ? null : reading.text
    },
  }
}

function holderOf(inode: string): string | null {
  const target = `socket:[${inode}]`
  const isHolder = (pid: string): boolean =>
    orElse(() => readdirSync(`/proc/${pid}/fd`), []).some(
      (fd) => orElse(() => readlinkSync(`/proc/${pid}/fd/${fd}`), '') === target,
    )
  return readdirSync('/proc').find((name) => /^\d+$/.test(name) && isHolder(name)) ?? null
}

/** Processes end and close descriptors while they are looked at, and those of others may not be looked at. */
function orElse<T>(look: () => T, otherwise: T): T {
  try {
    return look()
  } catch {
    return otherwise
  }
}

function oneLine(text: string): string {
  return text.replace(/\s*\n\s*/g, ' ').trim()
}

/** Bits of CapEff in /proc/self/status, capabilities(7). */
const CAPABILITIES: readonly [bit: bigint, name: string][] = [
  [12n, 'CAP_NET_ADMIN'],
  [13n, 'CAP_NET_RAW'],
]

/** Which of the capabilities that rules need this process lacks: `CAP_NET_ADMIN`; iptables-legacy needs both. */
export function missingCapabilities(machine: Machine): string[] {
  const [, hex] = /^CapEff:\s*([\da-f]+)$/m.exec(machine.read('/proc/self/status') ?? '') ?? []
  if (hex === undefined) return []
  const effective = BigInt(`0x${hex}`)
  return CAPABILITIES.filter(([bit]) => ((effective >> bit) & 1n) === 0n).map(([, name]) => name)
}

/** True if the kernel has IPv6, and it is not switched off. */
export function hasIpv6(machine: Machine): boolean {
  return machine.read('/proc/net/if_inet6') !== null
}

/** Runs the steps in their order. @throws CaptureError at the first that fails: it names what the kernel lacks. */
export function runSteps(machine: Machine, steps: readonly Step[]): void {
  for (const step of steps) {
    const { isDone, problem } = machine.run(step)
    if (!isDone) throw new CaptureError(explainRefusal(step, problem))
  }
}

/** What in a line of rules needs which module of the kernel. */
const MODULES: readonly [pattern: RegExp, ipv4: string, ipv6?: string][] = [
  [/^\*nat/, 'iptable_nat', 'ip6table_nat'],
  [/^\*raw/, 'iptable_raw', 'ip6table_raw'],
  [/-m owner/, 'xt_owner'],
  [/-j REDIRECT/, 'xt_REDIRECT'],
  [/-j CT/, 'xt_CT'],
  [/redirect to/, 'nft_redir'],
  [/ct zone set/, 'nft_ct'],
  [/type nat hook/, 'nft_chain_nat'],
  [/^(add )?table/, 'nf_tables'],
]

/** Says in one line why a step failed: a module that is missing, by the line of its input that was refused, or what the program says. */
export function explainRefusal({ program, input }: Step, problem: string): string {
  const said = `${program}: ${problem}`
  const isKernel =
    /No chain\/target\/match|[Tt]able does not exist|can't initialize|No such file|not supported|Protocol not/
  if (!isKernel.test(problem)) return said
  const lines = input.split('\n')
  const [, number] = /(?:line[: ]+|stdin:)(\d+)/.exec(problem) ?? []
  const line = number === undefined ? lines[0]! : (lines[Number(number) - 1] ?? lines[0]!)
  // iptables-legacy refuses at the last line whatever it was.
  const suspects = line === 'COMMIT' ? lines : [line]
  const names = MODULES.filter(([pattern]) => suspects.some((each) => pattern.test(each.trim()))).map(
    ([, ipv4, ipv6]) => (program.startsWith('ip6') && ipv6 !== undefined ? ipv6 : ipv4),
  )
  if (names.length === 0) return said
  const which = names.length === 1 ? names[0]! : `one of ${names.join(', ')}`
  return `${said} (the kernel lacks ${which}: modprobe ${names.join(' ')})`
}

/** The step as a command for a shell. */
export function stepText({ program, args, input }: Step): string {
  const command = [program, ...args].join(' ')
  return input === '' ? `${command}\n` : `${command} <<'END'\n${input}END\n`
}
