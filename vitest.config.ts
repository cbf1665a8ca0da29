import { availableParallelism } from 'node:os'
import { defineConfig } from 'vitest/config'
import { BaseSequencer, type TestSpecification } from 'vitest/node'
import { WAIT_MS } from './test/wait.ts'

/** Files that wait for long begin first, so that the others run meanwhile. */
const LONG: readonly RegExp[] = [
  /\/e2e\/capture/,
  /\/handover-without-table/,
  /\/interop\//,
  /\/simulation\//,
  /\/e2e\//,
]

class LongestFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    // oxlint-disable-next-line unicorn/no-array-sort -- it is no array's
    const sorted = await super.sort(files)
    return sorted.toSorted((a, b) => rankOf(a) - rankOf(b))
  }
}

function rankOf({ moduleId }: TestSpecification): number {
  const found = LONG.findIndex((pattern) => pattern.test(moduleId))
  return found < 0 ? LONG.length : found
}

const config: ReturnType<typeof defineConfig> = defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    globalSetup: ['test/build-once.ts'],
    pool: 'forks',
    // Most of the time tests wait: for processes, sockets and timers.
    maxWorkers: Math.max(4, availableParallelism() - 1),
    sequence: { sequencer: LongestFirst },
    setupFiles: ['test/property-seed.ts'],
    // Nothing takes a tenth of it, but on a machine that is busy with something else. More than any wait inside a test, so that
    // it is the wait that says what has not come.
    testTimeout: 5 * WAIT_MS,
    hookTimeout: 5 * WAIT_MS,
    expect: { poll: { timeout: WAIT_MS } },
    coverage: { provider: 'v8', include: ['src/**/*.ts'], reporter: ['text', 'json-summary'] },
  },
})

export { config as default }
