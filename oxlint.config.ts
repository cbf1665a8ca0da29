import { defineConfig, type OxlintConfig, type OxlintOverride } from 'oxlint'
import { LAYERS } from './layers.ts'

const KOFFI = { group: ['koffi'], message: 'src/os/syscalls.ts is the one file that knows koffi.' }
const DNS_PACKET = {
  group: ['dns-packet'],
  message: 'dns-packet is for the command line, explain and the tests, not for the data path.',
}
const ZOD = { regex: '^zod$', message: 'zod/mini says the same with a third of the code, which every start runs.' }

/** What may not be imported in one folder; `up` leads from it to src. */
function restrict(name: string, files: string, up: string): OxlintOverride {
  const { imports, isPure } = LAYERS[name]!
  const allowed = imports.map((each) => `!${up}${each}${each.endsWith('.ts') ? '' : '/**'}`)
  const may = imports.length === 0 ? 'imports nothing of ours' : `may import only ${imports.join(', ')}`
  const patterns = [
    { group: [`${up}**`, ...allowed], message: `src/${name} ${may} (layers.ts).` },
    ...(isPure
      ? [
          {
            group: ['node:*'],
            message: `src/${name} does no I/O: time, randomness and sockets are passed in.`,
            allowTypeImports: true,
          },
        ]
      : []),
    ...(name === 'os' ? [] : [KOFFI]),
    ...(name === 'cli' || name === 'explain' ? [] : [DNS_PACKET]),
    ZOD,
  ]
  return { files: [files], rules: { 'no-restricted-imports': ['error', { patterns }] } }
}

const config: OxlintConfig = defineConfig({
  plugins: ['typescript', 'import', 'unicorn', 'promise', 'node', 'oxc'],
  categories: { correctness: 'error', suspicious: 'error' },
  ignorePatterns: ['node_modules', 'dist', 'bench/results', 'bin', 'sdk/assemblyscript'],
  rules: {
    'import/no-cycle': 'error',
    'import/no-default-export': 'error',
    'oxc/no-barrel-file': ['error', { threshold: 0 }],
    'typescript/no-floating-promises': 'error',
    'typescript/no-misused-promises': 'error',
    'typescript/consistent-type-imports': 'error',
    'unicorn/filename-case': ['error', { case: 'kebabCase' }],
    'no-console': 'error',
    'typescript/explicit-module-boundary-types': 'error',
    'unicorn/require-post-message-target-origin': 'off',
  },
  overrides: [
    ...Object.keys(LAYERS).flatMap((name) => [
      restrict(name, `src/${name}/*.ts`, '../'),
      restrict(name, `src/${name}/*/*.ts`, '../../'),
    ]),
    { files: ['src/os/**'], rules: { 'typescript/no-unsafe-type-assertion': 'off' } },
    { files: ['src/*.ts'], rules: { 'no-restricted-imports': ['error', { patterns: [KOFFI, DNS_PACKET] }] } },
    { files: ['*.config.ts', 'test/mutation/*.config.mjs'], rules: { 'import/no-default-export': 'off' } },
    { files: ['test/**', 'bench/**'], rules: { 'no-console': 'off' } },
    // Objects of a foreign API, whose fields the tests themselves have written.
    { files: ['test/istio/**', 'test/kubernetes/**'], rules: { 'typescript/no-unsafe-type-assertion': 'off' } },
  ],
})

export { config as default }
