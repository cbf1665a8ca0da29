/** What the scenarios have in common: things that are closed after a test, waiting, and tables. */
import { afterAll, afterEach } from 'vitest'
import type { NameTable } from '../../src/table/nds.ts'
import { DaemonProcess, type DaemonStart } from '../daemon/daemon-process.ts'
import { service } from '../table/compiled.ts'
import { UdpClient } from '../worker/dns-client.ts'
import { type ResolverScript, ScriptedResolver } from './scripted-resolver.ts'

/** Opens things that are closed, last first, after each test. */
export class Stage {
  readonly #open: (() => unknown)[] = []

  /** `end`: cleared after each test, or after all where they run side by side. */
  constructor(end: 'each' | 'all' = 'each') {
    const at = end === 'each' ? afterEach : afterAll
    at(async () => await this.clear())
  }

  async clear(): Promise<void> {
    for (const close of this.#open.splice(0).toReversed()) await close()
  }

  /** Leaves `close` for the end. */
  closing(close: () => unknown): void {
    this.#open.push(close)
  }

  async daemon(options: DaemonStart): Promise<DaemonProcess> {
    const daemon = await DaemonProcess.start(options)
    this.closing(() => daemon.stop())
    return daemon
  }

  async resolver(script: ResolverScript, options: { address?: string; port?: number } = {}): Promise<ScriptedResolver> {
    const resolver = await ScriptedResolver.start(script, options)
    this.closing(() => resolver.stop())
    return resolver
  }

  async client(address?: string): Promise<UdpClient> {
    const client = await UdpClient.open(address)
    this.closing(() => client.close())
    return client
  }
}

/** A table of services `NAME.default.svc.cluster.local`, each with one address. */
export function services(addresses: Record<string, string>): NameTable {
  return new Map(Object.entries(addresses).map(([name, address]) => service(name, 'default', [address])))
}
