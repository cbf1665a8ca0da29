/** The configuration while the daemon runs: it is read again on a signal, or when its file says something else. */
import { ConfigError } from '../config/config-error.ts'
import type { LoadedConfig } from '../config/load.ts'
import type { Config } from '../config/schema.ts'
import type { Log } from '../observe/log.ts'
import type { Problem, Reload } from '../observe/sources.ts'
import type { Syscalls } from '../os/syscalls.ts'
import { ConfigFile, type ConfigFileOptions } from './config-file.ts'
import { handOverProblem } from './handover.ts'
import type { OpenListener } from './listener-sockets.ts'
import { overlap } from './listeners.ts'
import { nextReload, reloadProblems } from './problems.ts'
import { takeOver } from './reload.ts'
import { examineStart } from './start-check.ts'

/** What is read again, and who takes it. */
export interface ConfigReloadOptions {
  /** As it was loaded for the start. */
  loaded: LoadedConfig
  /** Loads it again. @throws ConfigError; undefined: there is nothing to load again */
  load: (() => LoadedConfig) | undefined
  sys: Syscalls | null
  /** Why there are no system calls, '' where there are. */
  sysProblem: string
  /** What is in use. */
  current: () => Config
  /** What is listened on now. */
  listeners: () => readonly OpenListener[]
  /** Takes a configuration that passed all checks, with the old values of what only a new process takes. */
  take: (config: Config) => void
  log: Log
  /** The machine's by default. */
  surroundings?: Pick<ConfigFileOptions, 'files' | 'clock'>
}

/** Reads the configuration again; one with a problem changes nothing. */
export class ConfigReload {
  readonly #options: ConfigReloadOptions
  readonly #file: ConfigFile
  #warnings: string[] = []
  /** What became of the last reading; null before the first. */
  #last: Reload | null = null

  /** @throws ConfigError if the daemon cannot start with the configuration that was loaded */
  constructor(options: ConfigReloadOptions) {
    const { loaded, log, surroundings } = options
    this.#options = options
    this.#examine(loaded)
    this.#file = new ConfigFile({
      ...loaded,
      ...surroundings,
      log,
      onChange: () => this.reload('the file has changed'),
    })
  }

  /** What an operator should know about the configuration in use, a line each. */
  get warnings(): readonly string[] {
    return this.#warnings
  }

  /** What became of the last reading; null before the first. */
  get last(): Reload | null {
    return this.#last
  }

  /** Whether the last one was refused, and why. */
  get problems(): Problem[] {
    return reloadProblems(this.#last)
  }

  /** A line that the start adds to the warnings. */
  warn(line: string): void {
    this.#warnings.push(line)
    this.#options.log.warn({}, line)
  }

  /** Watches the file, if the configuration in use says so. */
  watch(): void {
    this.#file.watch(this.#options.current().watchConfig)
  }

  /** Watches no more. */
  stop(): void {
    this.#file.watch(false)
  }

  /**
   * Loads the configuration again and takes over what can change while the daemon runs; says what cannot. It goes through
   * all that a start does.
   */
  reload(why: string): void {
    const { current, load, log, take } = this.#options
    if (load === undefined) {
      const problem = 'there is no configuration to read again'
      // Whoever asked is told, and nothing is wrong from now on.
      this.#last = { ...nextReload(this.#last, Date.now(), [problem], []), refusedSinceMs: null }
      return log.info({}, `${why}: ${problem}`)
    }
    try {
      const loaded = load()
      this.#examine(loaded)
      const { config, changed, waiting } = takeOver(loaded.config, current())
      take(config)
      this.#file.loaded(loaded.text)
      this.watch()
      log.info({ why, keys: changed }, 'configuration read again')
      this.#note([], waiting)
      if (waiting.length > 0) this.#sayWhatWaits(waiting, loaded.config)
    } catch (error) {
      const problems = error instanceof ConfigError ? error.problems : [String(error)]
      for (const problem of problems) log.error({}, `the configuration stays as it is: ${problem}`)
      this.#file.refused()
      this.#note(problems, [])
    }
  }

  /** @throws ConfigError with everything that a start would be refused for */
  #examine(loaded: LoadedConfig): void {
    const { log, sys, sysProblem } = this.#options
    const examined = examineStart(loaded, () => sys ?? sysProblem)
    this.#warnings = [...loaded.warnings, ...examined.warnings]
    for (const warning of this.#warnings) log.warn({}, warning)
  }

  #note(problems: readonly string[], fixedKeys: readonly string[]): void {
    this.#last = nextReload(this.#last, Date.now(), problems, fixedKeys)
  }

  #sayWhatWaits(keys: readonly string[], { listen }: Config): void {
    const { listeners, log, sys, sysProblem } = this.#options
    const overlaps = overlap(listen, listeners()) ? 'listen overlaps with what is listened on now' : null
    const reason = handOverProblem(sys, sysProblem) ?? overlaps
    const advice = reason === null ? 'a new process: send SIGUSR2 or restart' : `a restart (${reason})`
    log.warn({ keys }, `these keys changed and need ${advice}`)
  }
}
