import { randomInt } from 'node:crypto'
import dnsPacket from 'dns-packet'
import {
  applySteps,
  type BackendName,
  chooseBackend,
  differences,
  istioCapture,
  NOTHING_FOUND,
  removeSteps,
  type Survey,
  survey,
} from '../capture/capture.ts'
import {
  CaptureError,
  hasIpv6,
  type Machine,
  missingCapabilities,
  runSteps,
  type Step,
  stepText,
  thisMachine,
} from '../capture/machine.ts'
import { type CaptureOptions, type CapturePlan, planCapture } from '../capture/plan.ts'
import { parsePrefix } from '../config/address.ts'
import { parseResolvConf } from '../config/resolv-conf.ts'
import { type CommandArguments, UsageError } from './arguments.ts'
import { type Command, type CommandContext, ExitCode } from './command.ts'
import { exchangeTcp, exchangeUdp } from './dns-exchange.ts'
import { readInput } from './input-file.ts'

const DEFAULT_PORT = 15_053
/** Istio's user for whatever must pass its capture, and so byname's. */
const DEFAULT_OWNER = 1337
const RESOLV_CONF = '/etc/resolv.conf'
/** A daemon that is there answers on loopback in far less. */
const ANSWER_MS = 2000
const BACKENDS: readonly string[] = ['iptables', 'nftables', 'iptables-nft', 'iptables-legacy']

/** `byname capture`: the redirect of this machine's DNS to byname. */
export const captureCommand: Command = {
  name: 'capture',
  summary: "Redirect this machine's DNS to byname, check the redirect, or remove it.",
  positionals: 'apply|check|remove',
  mostPositionals: 1,
  options: {
    'dry-run': { help: 'print the commands instead of running them' },
    backend: { value: 'NAME', help: `${BACKENDS.join(', ')} (default: what the machine uses)` },
    port: { value: 'PORT', help: `where byname listens on loopback (default ${DEFAULT_PORT})` },
    'all-dns': { help: 'capture all of port 53, not only what goes to the name servers of resolv.conf' },
    'resolv-conf': { value: 'FILE', help: `whose name servers are meant (default ${RESOLV_CONF})` },
    uid: { value: 'N', isMultiple: true, help: `user whose queries pass: byname's (default ${DEFAULT_OWNER})` },
    gid: { value: 'N', isMultiple: true, help: `group whose queries pass (default ${DEFAULT_OWNER})` },
    exclude: { value: 'ADDR|CIDR', isMultiple: true, help: 'queries to it pass' },
    'exclude-interface': { value: 'NAME', isMultiple: true, help: 'queries out through it pass' },
    'no-ipv6': { help: 'leave IPv6 alone' },
    force: { help: 'apply although nothing answers at the port' },
  },
  details: `"apply" puts the rules in place, or repairs them; "check" explains each difference from what "apply" with the
same options would make (exit code 1 if there is any); "remove" takes away whatever is byname's, in all back ends.
Rules of others stay as they are. byname itself must run as the user or group whose queries pass.`,
  examples: [
    'byname capture apply',
    'byname capture apply --all-dns --exclude 10.0.0.0/8 --dry-run',
    'byname capture check',
    'byname capture remove',
  ],
  async run(given, context) {
    const [what] = given.positionals
    const machine = thisMachine(context.env['PATH'] ?? '')
    if (what === 'apply') return await apply(given, context, machine)
    if (what === 'check') return check(given, context, machine)
    if (what === 'remove') return remove(given, context, machine)
    throw new UsageError(`${what === undefined ? 'say what to do' : `unknown: ${what}`}: apply, check or remove`)
  },
}

async function apply(given: CommandArguments, context: CommandContext, machine: Machine): Promise<number> {
  const options = readOptions(given, machine)
  const isDry = given.has('dry-run')
  const found = look(machine, context, isDry)
  const backend = chooseBackend(found, readBackend(given))
  mustNotStack(istioCapture(found))
  const steps = applySteps(planCapture(options), backend, found)
  if (isDry) return print(steps, context, `nothing to do: ${backend} has the rules`)
  if (!given.has('force')) await mustAnswer(options)
  runSteps(machine, steps)
  // What is there now, whatever was said.
  const left = differences(planCapture(options), backend, survey(machine))
  if (left.length > 0) throw new CaptureError(`the rules are not as they should be: ${left.join('; ')}`)
  context.out(
    `${scopeText(options)} goes to port ${options.port} (${backend}${steps.length === 0 ? ', as before' : ''})\n`,
  )
  return ExitCode.done
}

function check(given: CommandArguments, context: CommandContext, machine: Machine): number {
  const options = readOptions(given, machine)
  const found = look(machine, context, false)
  const backend = chooseBackend(found, readBackend(given))
  const plan: CapturePlan = planCapture(options)
  const lines = differences(plan, backend, found)
  const istio = istioCapture(found)
  if (istio !== null) lines.push(`Istio captures DNS as well: ${istio}`)
  for (const line of lines) context.out(`${line}\n`)
  if (lines.length > 0) return ExitCode.failed
  context.out(`${scopeText(options)} goes to port ${options.port} (${backend})\n`)
  return ExitCode.done
}

function remove(given: CommandArguments, context: CommandContext, machine: Machine): number {
  const isDry = given.has('dry-run')
  const steps = removeSteps(look(machine, context, isDry))
  if (isDry) return print(steps, context, 'nothing to do: there are no rules of byname')
  runSteps(machine, steps)
  context.out(steps.length === 0 ? 'there was nothing to remove\n' : 'the redirect is removed\n')
  return ExitCode.done
}

function print(steps: readonly Step[], context: CommandContext, nothing: string): number {
  for (const step of steps) context.out(stepText(step))
  if (steps.length === 0) context.err(`byname capture: ${nothing}\n`)
  return ExitCode.done
}

function scopeText({ nameservers, hasIpv6: isBoth }: CaptureOptions): string {
  const families = isBoth ? 'IPv4 and IPv6' : 'IPv4'
  return `${nameservers === null ? 'all DNS' : `DNS for ${nameservers.join(', ')}`} over ${families}`
}

// ── what must be so ────────────────────────────────────────────────────────────────────────────────────────────────

/** Looks at what is there. Whoever only prints may do without. */
function look(machine: Machine, context: CommandContext, isDry: boolean): Survey {
  const missing = missingCapabilities(machine)
  if (!missing.includes('CAP_NET_ADMIN')) return survey(machine)
  const remedy = 'run it as root, or give the container NET_ADMIN and NET_RAW'
  if (!isDry) throw new CaptureError(`this process lacks ${missing.join(' and ')}: ${remedy}`)
  context.err(`byname capture: without CAP_NET_ADMIN the rules that are there cannot be seen; taken for none\n`)
  return NOTHING_FOUND
}

function mustNotStack(istio: string | null): void {
  if (istio !== null)
    throw new CaptureError(
      `Istio captures DNS here already (${istio}), and two captures make a loop: have its agent listen elsewhere, DNS_PROXY_ADDR=localhost:15953, and byname gets what is captured`,
    )
}

async function mustAnswer({ port, hasIpv6: isBoth }: CaptureOptions): Promise<void> {
  const query = dnsPacket.encode({
    type: 'query',
    id: randomInt(65_536),
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ name: 'localhost', type: 'A' }],
  })
  const servers = (isBoth ? ['127.0.0.1', '::1'] : ['127.0.0.1']).map((address) => ({
    address,
    port,
    text: address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`,
  }))
  try {
    await Promise.all(
      servers.flatMap((server) => [exchangeUdp(server, query, ANSWER_MS), exchangeTcp(server, query, ANSWER_MS)]),
    )
  } catch (error) {
    // What to do about it is another thing here.
    const [message] = (error instanceof Error ? error.message : String(error)).split(';')
    throw new CaptureError(`${message}: with the redirect there would be no DNS; start byname first, or --force`, {
      cause: error,
    })
  }
}

// ── options ────────────────────────────────────────────────────────────────────────────────────────────────────────

function readBackend(given: CommandArguments): BackendName | 'iptables' | null {
  const name = given.text('backend')
  switch (name) {
    case undefined:
      return null
    case 'iptables':
    case 'nftables':
    case 'iptables-nft':
    case 'iptables-legacy':
      return name
    default:
      throw new UsageError(`--backend ${name}: there are ${BACKENDS.join(', ')}`)
  }
}

function readOptions(given: CommandArguments, machine: Machine): CaptureOptions {
  return {
    port: given.has('port') ? readNumber(given.text('port')!, '--port', 1, 65_535) : DEFAULT_PORT,
    uids: readOwners(given, 'uid'),
    gids: readOwners(given, 'gid'),
    nameservers: given.has('all-dns') ? null : readNameservers(given.text('resolv-conf') ?? RESOLV_CONF),
    exemptPrefixes: [...new Set(given.texts('exclude').map(readPrefix))],
    exemptInterfaces: [...new Set(given.texts('exclude-interface').map(readInterface))],
    hasIpv6: !given.has('no-ipv6') && hasIpv6(machine),
  }
}

function readOwners(given: CommandArguments, option: 'uid' | 'gid'): number[] {
  if (!given.has(option)) return [DEFAULT_OWNER]
  // The last one means "nobody" to the kernel.
  return [...new Set(given.texts(option).map((text) => readNumber(text, `--${option}`, 0, 2 ** 32 - 2)))]
}

function readNumber(text: string, option: string, least: number, most: number): number {
  const number = /^\d{1,10}$/.test(text) ? Number(text) : -1
  if (number < least || number > most) throw new UsageError(`${option} ${text}: give a number from ${least} to ${most}`)
  return number
}

function readPrefix(text: string): string {
  const prefix = parsePrefix(text)
  if ('reason' in prefix) throw new UsageError(`--exclude: ${prefix.reason}`)
  if (prefix.value.length === 0) throw new UsageError(`--exclude ${text}: nothing would be captured`)
  return prefix.value.text
}

/** A name that both back ends take as it is: none of their wildcards, quotes and spaces. */
function readInterface(text: string): string {
  if (!/^[\w.:@-]{1,15}$/.test(text))
    throw new UsageError(`--exclude-interface ${text}: give the name of one interface`)
  return text
}

function readNameservers(file: string): string[] {
  const addresses = parseResolvConf(readInput(file)).servers.map(({ address }) => address.replace(/%.*$/, ''))
  if (addresses.length === 0)
    throw new UsageError(
      `${file} names no name server; name another file with --resolv-conf, or capture with --all-dns`,
    )
  return [...new Set(addresses)]
}
