import { nameToWire } from '../dns/name.ts'
import type { CacheStatus } from '../observe/status.ts'
import { ADMIN_OPTIONS, postForJson, showFromAdmin } from './admin-client.ts'
import { UsageError } from './arguments.ts'
import { type Command, ExitCode } from './command.ts'
import { amount, bytesText, plural } from './figures.ts'

/** `byname cache [flush [NAME]]`: figures of the answer cache, or empties it. */
export const cacheCommand: Command = {
  name: 'cache',
  summary: 'Show figures of the answer cache, or empty it.',
  positionals: '[flush [NAME]]',
  mostPositionals: 2,
  options: { json: { help: 'as JSON' }, ...ADMIN_OPTIONS },
  details:
    '"flush" removes all answers, "flush NAME" those for one name, of every type, and what says that\na name above it does not exist. Mesh names are not in the cache.',
  examples: ['byname cache', 'byname cache flush www.example.com'],
  async run(given, context) {
    const [action, name] = given.positionals
    if (action === undefined) {
      await showFromAdmin('/debug/cache', given, context, (cache: CacheStatus) => `${cacheText(cache)}\n`)
      return ExitCode.done
    }
    if (action !== 'flush') throw new UsageError(`cache takes "flush" or nothing, not ${JSON.stringify(action)}`)
    // An empty name would be a slip, not a wish to lose everything.
    if (name !== undefined && (name === '' || nameToWire(name) === null)) {
      throw new UsageError(`${JSON.stringify(name)} is no domain name`)
    }
    const path = `/debug/cache/flush${name === undefined ? '' : `?name=${encodeURIComponent(name)}`}`
    const flushed = await postForJson<{ flushed: number }>(path, given, context)
    const what = `${plural(flushed.flushed, 'answer')} removed${name === undefined ? '' : ` for ${name}`}`
    context.out(given.has('json') ? `${JSON.stringify(flushed, null, 2)}\n` : `${what}\n`)
    return ExitCode.done
  },
}

/** Figures of the cache in one line. */
export function cacheText(cache: CacheStatus): string {
  const ratio = cache.hitRatio === null ? 'no look-ups yet' : `${(cache.hitRatio * 100).toFixed(1)} % hits`
  const hits = `${amount(cache.positiveHits)} positive, ${amount(cache.negativeHits)} negative, ${amount(cache.staleHits)} stale`
  return `${ratio} (${hits}, ${amount(cache.misses)} missed), ${plural(cache.entries, 'entry', 'entries')} in ${bytesText(cache.bytes)}`
}
