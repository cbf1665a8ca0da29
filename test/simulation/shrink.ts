/** Finds the shortest list of actions that still breaks a rule (Zeller's ddmin). */
import type { Episode } from './episode.ts'
import { runEpisode } from './simulation.ts'

/** Which actions are needed, and what goes wrong with them alone. Stops after `budgetMs`. */
export function shrink(episode: Episode, budgetMs: number): { kept: number[]; message: string } {
  const { actions } = episode
  let message = ''
  const { violation: first, actions: done } = runEpisode(episode)
  const fails = (kept: number[]): boolean => {
    const { violation } = runEpisode({ ...episode, actions: kept.map((k) => actions[k]!) })
    // Another fault that comes to light on the way is another story.
    if (violation?.kind !== first?.kind) return false
    message = violation!.message
    return true
  }
  const until = performance.now() + budgetMs
  let kept = actions.map((_, k) => k)
  if (first === null) return { kept, message: 'it does not fail when it is run again' }
  const head = kept.slice(0, done + 1)
  if (fails(head)) kept = head
  for (let size = kept.length >> 1; size > 0 && performance.now() < until; size = Math.floor(size / 2)) {
    for (let at = 0; at < kept.length && performance.now() < until; ) {
      const without = [...kept.slice(0, at), ...kept.slice(at + size)]
      if (without.length > 0 && fails(without)) kept = without
      else at += size
    }
  }
  fails(kept)
  return { kept, message }
}
