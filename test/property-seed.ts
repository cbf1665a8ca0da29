/** Before each test file: property tests draw from the seed of all tests. */
import { configureGlobal } from 'fast-check'
import { TEST_SEED } from './seed.ts'

configureGlobal({ seed: TEST_SEED })
