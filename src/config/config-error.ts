/** Configuration that cannot be used, with everything that is wrong with it. */
export class ConfigError extends Error {
  readonly code = 'CONFIG'
  /** One line each: `byname.yaml:12:5: cache.maxBites: unknown key (did you mean maxBytes?)`. At least one. */
  readonly problems: readonly string[]

  constructor(problems: readonly string[], options?: ErrorOptions) {
    const more = problems.length > 1 ? ` (and ${problems.length - 1} more)` : ''
    super(`${problems[0] ?? 'bad configuration'}${more}`, options)
    this.name = 'ConfigError'
    this.problems = problems
  }
}
