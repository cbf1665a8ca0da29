/** The files of names that rules have: watched as all files are, and compiled into one image when one of them changes. */
import { MAX_FILE_BYTES, textOf } from '../base/bounded-file.ts'
import type { Clock } from '../base/clock.ts'
import type { Files } from '../base/files.ts'
import { WatchedFile } from '../base/watched-file.ts'
import type { RuleConfig } from '../config/rules-schema.ts'
import type { Config } from '../config/schema.ts'
import type { NameList } from '../rules/entries.ts'
import { readNameList } from '../rules/name-list.ts'
import { compileRuleNames, type RuleNames, tooManyNames } from '../rules/rule-image.ts'
import type { RuleSet } from '../rules/rule-set.ts'
import type { Log } from '../observe/log.ts'
import type { Problem } from '../observe/sources.ts'
import { fileProblems } from './problems.ts'
import type { RuleCounters } from './rule-counters.ts'
import { buildEgress, buildRules, listOptions, namesOf } from './rule-set.ts'

const EMPTIED = 'has no bytes any more; write a line that begins with # where no names are meant'

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
  /** `asked`: what there was to compile; `names`: what of it is in the image. */
  #image: { asked: readonly RuleNames[]; names: readonly RuleNames[]; buffer: SharedArrayBuffer } | null = null
  #overflow: { text: string; sinceMs: number } | null = null

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
    return [...ofFiles, { about: 'rules', ...this.#overflow }]
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
      this.#overflow = null
      return null
    }
    const image = this.#compiled(config.rules)
    const counterOf = (label: string, action: string): number => counters.placeOf(label, action)
    const { answerClasses, rules } = buildRules(config, image.names, counterOf)
    return { rules, image: image.buffer, answerClasses, egress: buildEgress(config, search, counterOf) }
  }

  #listOf(rule: RuleConfig): NameList | null {
    return rule.file === undefined ? null : (this.#watched.get(keyOf(rule))?.value ?? null)
  }

  /** The image of these names: the one there is if none has changed; without those of files if they are too many. */
  #compiled(rules: readonly RuleConfig[]): { names: readonly RuleNames[]; buffer: SharedArrayBuffer } {
    const names = namesOf(rules, (rule) => this.#listOf(rule))
    if (this.#image !== null && isSame(this.#image.asked, names)) return this.#image
    const buffer = this.#compile(names)
    if (typeof buffer !== 'string') {
      this.#overflow = null
      this.#image = { asked: names, names, buffer }
      return this.#image
    }
    const { clock, log, seed } = this.#options
    const text = `${buffer}: those of files are left out`
    log.error(
      { names: names.reduce((sum, { list }) => sum + list.count, 0) },
      'rules have too many names: those of files are left out',
    )
    this.#overflow = { text, sinceMs: this.#overflow?.sinceMs ?? clock.now() }
    const written = namesOf(rules, () => null)
    this.#image = { asked: names, names: written, buffer: compileRuleNames(written, seed) }
    return this.#image
  }

  /** Why that is not possible, in one line. */
  #compile(names: readonly RuleNames[]): SharedArrayBuffer | string {
    const problem = tooManyNames(names)
    if (problem !== null) return problem
    try {
      return compileRuleNames(names, this.#options.seed)
    } catch (error) {
      return `the names of rules find no memory (${error instanceof Error ? error.message : String(error)})`
    }
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
        // A disk that is full leaves nothing of a file, and nobody means to block nothing by that.
        if (content.length === 0 && last !== null && last.count > 0) return { problem: EMPTIED }
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
