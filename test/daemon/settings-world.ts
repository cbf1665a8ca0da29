import { loadConfig } from '../../src/config/load.ts'
import type { Config } from '../../src/config/schema.ts'
import { DaemonSettings } from '../../src/daemon/settings.ts'
import { nameToText } from '../../src/dns/name.ts'
import type { EngineSettings } from '../../src/engine/settings.ts'
import type { Log } from '../../src/observe/log.ts'
import type { TableIdentity } from '../../src/table/identity.ts'
import { FakeClock } from '../base/fake-clock.ts'
import { MemoryFiles } from '../base/memory-files.ts'

export const RESOLV_CONF = '/etc/resolv.conf'
export const HOSTS = '/etc/hosts'

/** The daemon's settings on a virtual clock and file system, with addresses that a test changes. */
export class SettingsWorld {
  readonly clock: FakeClock = new FakeClock()
  readonly files: MemoryFiles = new MemoryFiles(this.clock)
  /** `level message`, debug left out. */
  readonly lines: string[] = []
  /** What data workers were told. */
  readonly told: EngineSettings[] = []
  readonly identities: TableIdentity[] = []
  addresses: string[] = ['127.0.0.1', '10.0.0.5']
  isIpv6Routed: boolean | null = null
  #settings: DaemonSettings | null = null

  /**
   * Reads and watches; call it once. `upstream`: what the configuration says there beside the path of resolv.conf; `more`: of
   * other keys.
   */
  open(upstream = '', more = ''): DaemonSettings {
    const config = this.configOf(
      `{ hostsFile: ${HOSTS}, upstream: { resolvConf: ${RESOLV_CONF}, ${upstream} }, ${more} }`,
    )
    const say = (level: string) => (_: object, message: string) => {
      if (level !== 'debug') this.lines.push(`${level} ${message}`)
    }
    const log: Log = { level: 'info', debug: say('debug'), info: say('info'), warn: say('warn'), error: say('error') }
    this.#settings = new DaemonSettings({
      config,
      log,
      onSettings: (settings) => void this.told.push(settings),
      onIdentity: (identity) => void this.identities.push(identity),
      files: this.files,
      clock: this.clock,
      ownAddresses: () => this.addresses,
      ipv6Route: () => this.isIpv6Routed,
    })
    return this.#settings
  }

  configOf(yaml: string): Config {
    return loadConfig({ file: 'byname.yaml', env: {}, readFile: () => yaml }).config
  }

  get settings(): DaemonSettings {
    return this.#settings!
  }

  /** Labels of the servers in use. */
  get servers(): string[] {
    return this.settings.engine.servers.map(({ label }) => label)
  }

  /** Names of the hosts file in use, reverse ones left out. */
  get hosts(): string[] {
    const names = (this.settings.engine.hosts ?? []).map(({ name }) => nameToText(name).replace(/\.$/, ''))
    return names.filter((name) => !name.endsWith('.arpa'))
  }

  /** Lets every change that was made settle. */
  rest(): void {
    this.clock.advance(2000)
  }
}
