/** Mutation tests of a part of the source: ../MUTATION.md says how. */
import process from 'node:process'

const { MUTATE, TESTS } = process.env
if (!MUTATE || !TESTS) throw new Error("set MUTATE='src/xds/*.ts' and TESTS='test/xds/*.test.ts', or others")

const config = {
  testRunner: 'vitest',
  plugins: ['@stryker-mutator/vitest-runner'],
  vitest: { configFile: 'test/mutation/vitest.config.mjs', related: false },
  mutate: MUTATE.split(' '),
  coverageAnalysis: 'perTest',
  concurrency: 2,
  // A mutant that loops for ever; one whose test waits for ever ends with the test.
  timeoutMS: 10_000,
  timeoutFactor: 3,
  // Stryker would rewrite tsconfig.json by an interface that TypeScript 7 does not have.
  tsconfigFile: 'none.json',
  tempDirName: 'node_modules/.cache/stryker',
  ignorePatterns: ['docs', 'bench', 'packaging', 'sdk', 'dist'],
  reporters: ['clear-text', 'progress-append-only', 'json'],
  clearTextReporter: { logTests: false, reportTests: false },
  jsonReporter: { fileName: 'node_modules/.cache/mutation.json' },
  thresholds: { high: 90, low: 80, break: null },
}

export { config as default }
