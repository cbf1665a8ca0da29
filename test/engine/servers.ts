import type { EngineSettings, UpstreamRoute } from '../../src/engine/settings.ts'
import { a } from '../dns/messages.ts'
import { type EngineUnderTest, server, type SettingsChange } from './engine-under-test.ts'

/** Settings with `count` servers on the default route under a policy. */
export function serversWith(
  count: number,
  policy: UpstreamRoute['policy'],
  change: SettingsChange = {},
): SettingsChange {
  const servers: EngineSettings['servers'] = Array.from({ length: count }, (_, k) => server(`192.0.2.${k + 1}:53`))
  return { servers, routes: [{ domains: [new Uint8Array(1)], servers: servers.map((_, k) => k), policy }], ...change }
}

/** Asks a name that was not asked before, lets the server that was asked first answer after a while, and says which. */
export function askOnce(byname: EngineUnderTest, name: string, afterMs: (server: number) => number): number {
  const before = byname.outlet.queries.length
  const asked = byname.ask(name)
  const sent = byname.outlet.queries[before]!
  byname.advance(afterMs(sent.server))
  byname.answer({ answers: [a(1)] }, sent)
  if (asked.reply === null) throw new Error(`no reply for ${name}`)
  return sent.server
}

/** Lets time pass in small steps, as a driver does. */
export function pass(byname: EngineUnderTest, milliseconds: number, step: number = 20): void {
  for (let left = milliseconds; left > 0; left -= step) byname.advance(Math.min(step, left))
}
