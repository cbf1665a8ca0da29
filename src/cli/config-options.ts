import type { LoadedConfig } from '../config/load.ts'
import type { Setting } from '../config/layer.ts'
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

/** `--set KEY=VALUE …`, as several commands have it. */
export const SET_OPTION: CommandOption = {
  value: 'KEY=VALUE',
  isMultiple: true,
  help: 'any setting, such as mesh.ttlSeconds=1m; may be repeated',
}

/** `--istio-dir DIR`, as several commands have it. */
export const ISTIO_DIR_OPTION: CommandOption = {
  value: 'DIR',
  help: "a machine's files as istioctl writes them (default: / if it has a cluster.env)",
}

/** Loads the configuration as `--config`, `--set` and `--listen` say. @throws ConfigError */
export async function givenLoader(given: CommandArguments, context: CommandContext): Promise<() => LoadedConfig> {
  // Loaded here, so that a list of commands costs no schema.
  const { loadConfig } = await import('../config/load.ts')
  const { parseAssignments } = await import('../config/assignment.ts')
  return () =>
    loadConfig({
      file: given.text('config'),
      istioFolder: given.text('istio-dir'),
      env: context.env,
      flags: [...parseAssignments(given.texts('set'), '--set'), ...listenFlags(given)],
    })
}

/** What the schema says of each setting, for help. */
export async function settingsHelp(): Promise<string> {
  return (await import('../config/reference.ts')).referenceHelp()
}

/** `--listen` as a setting over all others; none if it was not given. */
export function listenFlags(given: CommandArguments): Setting[] {
  const addresses = given.texts('listen')
  return addresses.length === 0 ? [] : [{ path: ['listen'], value: addresses, from: '--listen' }]
}
