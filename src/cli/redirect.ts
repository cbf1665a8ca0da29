import { randomInt } from 'node:crypto'
import dnsPacket from 'dns-packet'
import { applySteps, type BackendName, differences, istioCapture, type Survey, survey } from '../capture/capture.ts'
import { CaptureError, type Machine, runSteps } from '../capture/machine.ts'
import type { CaptureOptions, CapturePlan } from '../capture/plan.ts'
import { socketText } from '../config/address.ts'
import { exchangeTcp, exchangeUdp } from './dns-exchange.ts'

/**
 * Puts the rules of `plan` in force and looks whether they are. Returns how many programs had to run.
 * @throws CaptureError if they are not in force: something may be there, which another call repairs
 */
export function putInForce(plan: CapturePlan, backend: BackendName, found: Survey, machine: Machine): number {
  const steps = applySteps(plan, backend, found)
  runSteps(machine, steps)
  const left = differences(plan, backend, survey(machine))
  if (left.length > 0) throw new CaptureError(`the rules are not as they should be: ${left.join('; ')}`)
  return steps.length
}

/** `DNS for 10.96.0.10 over IPv4 goes to port 15053, but for uid 1337, gid 1337`. */
export function redirectText({ nameservers, hasIpv6, port, uids, gids }: CaptureOptions): string {
  const families = hasIpv6 ? 'IPv4 and IPv6' : 'IPv4'
  const what = nameservers === null ? 'all DNS' : `DNS for ${nameservers.join(', ')}`
  const passing = [...uids.map((uid) => `uid ${uid}`), ...gids.map((gid) => `gid ${gid}`)].join(', ')
  return `${what} over ${families} goes to port ${port}, but for ${passing}`
}

/** @throws CaptureError if Istio captures DNS here */
export function mustNotStack(found: Survey): void {
  const istio = istioCapture(found)
  if (istio === null) return
  const remedy = 'have its agent listen elsewhere, DNS_PROXY_ADDR=localhost:15953, and byname gets what is captured'
  throw new CaptureError(`Istio captures DNS here already (${istio}), and two captures make a loop: ${remedy}`)
}

/**
 * Asks what listens where the redirect leads, in each family, over UDP and, unless told otherwise, TCP. Returns why there is no answer
 * within `timeoutMs`, null if all have come.
 */
export async function whyNoAnswer(
  { port, hasIpv6 }: Pick<CaptureOptions, 'port' | 'hasIpv6'>,
  timeoutMs: number,
  isTcpAsked = true,
): Promise<string | null> {
  const query = dnsPacket.encode({
    type: 'query',
    id: randomInt(65_536),
    flags: dnsPacket.RECURSION_DESIRED,
    questions: [{ name: 'localhost', type: 'A' }],
  })
  const servers = (hasIpv6 ? ['127.0.0.1', '::1'] : ['127.0.0.1']).map((address) => ({
    address,
    port,
    text: socketText(address, port),
  }))
  const exchanges = isTcpAsked ? [exchangeUdp, exchangeTcp] : [exchangeUdp]
  try {
    await Promise.all(servers.flatMap((server) => exchanges.map((exchange) => exchange(server, query, timeoutMs))))
    return null
  } catch (error) {
    // What to do about it, which follows, is another thing here.
    return (error instanceof Error ? error.message : String(error)).split(';')[0]!
  }
}
