/** The files of names that rules have: watched as all files are, and compiled into one image when one of them changes. */
import { MAX_FILE_BYTES, textOf } from '../base/bounded-file.ts'
import type { Clock } from '../base/clock.ts'
import type { Files } from '../base/files.ts'
import { WatchedFile } from '../base/watched-file.ts'
import type { RuleConfig } from '../config/rules-schema.ts'
import type { Config } from '../config/schema.ts'
import type { NameList } from '../rules/entries.ts'
import { readNameList } from '../rules/name-list.ts'
import { compileRuleNames, type RuleNames } from '../rules/rule-image.ts'
import type { RuleSet } from '../rules/rule-set.ts'
import type { Log } from '../observe/log.ts'
import type { Problem } from '../observe/sources.ts'
import { fileProblems } from './problems.ts'
import type { RuleCounters } from './rule-counters.ts'
import { buildEgress, buildRules, listOptions, namesOf } from './rule-set.ts'

/** Names of all rules together. */
const MOST_NAMES = 10_000_000

/** What rules are watched with. */
export interface RuleFilesOptions {
  log: Log
  clock: Clock
  files?: Files
  /** Names of a file have changed. */
  onChange: () => void
  counters: RuleCounters
  /** Seed of the image's hashes. */
  seed: number
}

/** The rules' files, from `configure` on until `stop`. */
export class RuleFiles {
  readonly #options: RuleFilesOptions
  /** By what is read, and how. */
  #watched: Map<string, WatchedFile<NameList>> = new Map()
  #image: { names: readonly RuleNames[]; buffer: SharedArrayBuffer } | null = null
  #sinceMs: number | null = null
  #overflow: string | null = null

  constructor(options: RuleFilesOptions) {
    this.#options = options
  }

  /** Watches the files of these rules, and reads them (again). */
  configure(rules: readonly RuleConfig[]): void {
    const before = this.#watched
    this.#watched = new Map()
    for (const rule of rules) {
      if (rule.file === undefined) continue
      const key = keyOf(rule)
      if (this.#watched.has(key)) continue
      const known = before.get(key)
      before.delete(key)
      if (known === undefined) this.#watched.set(key, this.#watch(rule))
      else {
        known.reread()
        this.#watched.set(key, known)
      }
    }
    for (const file of before.values()) file.stop()
  }

  stop(): void {
    for (const file of this.#watched.values()) file.stop()
    this.#watched = new Map()
  }

  /** What is wrong with the files now. */
  get problems(): Problem[] {
    const ofFiles = [...this.#watched.values()].flatMap((file) => fileProblems('rules', file.trouble))
    if (this.#overflow === null) return ofFiles
    return [...ofFiles, { about: 'rules', text: this.#overflow, sinceMs: this.#sinceMs ?? 0 }]
  }

  /** Names of the file of a rule, 0 where it has none or nothing was read yet. */
  countOf(rule: RuleConfig): number {
    return this.#listOf(rule)?.count ?? 0
  }

  /** What the engine is told; null where there are no rules, and names need none. `search`: domains of resolv.conf. */
  ruleSet(config: Config, search: readonly string[]): RuleSet | null {
    const { counters } = this.#options
    counters.begin()
    if (config.rules.length === 0 && config.egress.default === 'allow') {
      this.#image = null
      return null
    }
    const names = namesOf(config.rules, (rule) => this.#listOf(rule))
    const image = this.#compiled(names)
    const counterOf = (label: string, action: string): number => counters.placeOf(label, action)
    const { answerClasses, rules } = buildRules(config, image.names, counterOf)
    return { rules, image: image.buffer, answerClasses, egress: buildEgress(config, search, counterOf) }
  }

  #listOf(rule: RuleConfig): NameList | null {
    return rule.file === undefined ? null : (this.#watched.get(keyOf(rule))?.value ?? null)
  }

  /** The image of these names: the one there is if none has changed, or if they are too many. */
  #compiled(names: readonly RuleNames[]): { names: readonly RuleNames[]; buffer: SharedArrayBuffer } {
    const last = this.#image
    if (last !== null && isSame(last.names, names)) return last
    const count = names.reduce((sum, { list }) => sum + list.count, 0)
    if (count > MOST_NAMES) {
      this.#sinceMs ??= this.#options.clock.now()
      this.#overflow = `rules have ${count} names, and may have ${MOST_NAMES}: those of files are left out; name names above them`
      this.#options.log.error({ names: count }, 'rules have too many names: those of files are left out')
      return this.#compile(names.filter(({ list }) => list.count < MOST_NAMES / 1000))
    }
    this.#overflow = null
    this.#sinceMs = null
    return this.#compile(names)
  }

  #compile(names: readonly RuleNames[]): { names: readonly RuleNames[]; buffer: SharedArrayBuffer } {
    this.#image = { names, buffer: compileRuleNames(names, this.#options.seed) }
    return this.#image
  }

  #watch(rule: RuleConfig): WatchedFile<NameList> {
    const { clock, files, log, onChange } = this.#options
    const path = rule.file!
    const options = listOptions(rule)
    const watched = new WatchedFile<NameList>({
      path,
      what: 'the file of names',
      maxBytes: MAX_FILE_BYTES.nameList,
      level: 'warn',
      log,
      clock,
      ...(files && { files }),
      take: (content, last) => {
        const { list, problem } = readNameList(textOf(content), options)
        if (problem === null) {
          this.#tellOf(path, list)
          return { value: list }
        }
        // Most of a list is better than none; but what was good is better than a part.
        return last === null ? { problem, value: list } : { problem }
      },
      onChange,
      describe: ({ code, reason, isFirst }) => {
        const kept = isFirst
          ? code === 'EINVAL'
            ? 'only its good lines count'
            : 'no names from it'
          : 'its last names stay'
        return `rules: ${path}: ${reason} (${kept})`
      },
    })
    watched.start()
    return watched
  }

  #tellOf(path: string, { count, skipped }: NameList): void {
    this.#options.log.info({ file: path, names: count, skipped }, 'names of rules read')
  }
}

function keyOf(rule: RuleConfig): string {
  const { hasAction, ttlSeconds, withSubdomains } = listOptions(rule)
  return JSON.stringify([rule.file, withSubdomains, hasAction, ttlSeconds])
}

/** Lists that stand in the configuration are made anew each time: their bytes tell. */
function isSame(one: readonly RuleNames[], other: readonly RuleNames[]): boolean {
  return (
    one.length === other.length &&
    one.every(({ list, rule }, k) => {
      const { list: second, rule: otherRule } = other[k]!
      if (rule !== otherRule) return false
      return (
        list === second ||
        (list.count === second.count &&
          Buffer.compare(list.entries, second.entries) === 0 &&
          Buffer.compare(list.data, second.data) === 0)
      )
    })
  )
}
