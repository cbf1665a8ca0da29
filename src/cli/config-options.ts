import { type LoadedConfig, loadConfig } from '../config/load.ts'
import type { Setting } from '../config/setting.ts'
import type { CommandArguments, CommandOption } from './arguments.ts'
import type { CommandContext } from './command.ts'

/** `--config FILE`, as several commands have it. */
export const CONFIG_OPTION: CommandOption = { value: 'FILE', help: 'configuration in YAML (or BYNAME_CONFIG)' }

/** `--listen ADDR:PORT …`, as several commands have it. */
export const LISTEN_OPTION: CommandOption = {
  value: 'ADDR:PORT',
  isMultiple: true,
  help: 'address to answer on, UDP and TCP; may be repeated',
}

/** Loads the configuration as `--config` and `--listen` say. @throws ConfigError */
export function loadGiven(given: CommandArguments, context: CommandContext): LoadedConfig {
  return loadConfig({ file: given.text('config'), env: context.env, flags: listenFlags(given) })
}

/** `--listen` as a setting over all others; none if it was not given. */
export function listenFlags(given: CommandArguments): Setting[] {
  const addresses = given.texts('listen')
  return addresses.length === 0 ? [] : [{ path: ['listen'], value: addresses, from: '--listen' }]
}
