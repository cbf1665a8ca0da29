/** The tests of TESTS alone, and no bundle before them. */
import process from 'node:process'
import { defineConfig } from 'vitest/config'

const config = defineConfig({
  // Many a mutant makes a test wait for what never comes.
  test: { include: (process.env.TESTS ?? '').split(' '), testTimeout: 5000, hookTimeout: 5000 },
})

export { config as default }
