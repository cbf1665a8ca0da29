/** Where tests draw at random: from a seed that is the same in every run, so that a failure is the change's; fresh ones with `.ci/run --long`. */
import { isLong } from './long.ts'

/** `TEST_SEED` repeats a run with a fresh one. */
export const TEST_SEED: number = Number(process.env['TEST_SEED'] ?? (isLong ? Date.now() % 1_000_000_000 : 20_261_201))
