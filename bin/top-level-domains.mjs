/** Writes src/dns/top-level-domains.ts from the package tlds; with --print it only shows it. A test sees to it that nobody forgets. */
import { writeFileSync } from 'node:fs'
import { domainToASCII } from 'node:url'
import names from 'tlds' with { type: 'json' }
import tldsPackage from 'tlds/package.json' with { type: 'json' }

const LINE = 110

const lines = ['']
for (const name of names.map((each) => domainToASCII(each)).toSorted()) {
  const line = lines.at(-1)
  if (line === '') lines[lines.length - 1] = name
  else if (line.length + name.length < LINE) lines[lines.length - 1] = `${line} ${name}`
  else lines.push(name)
}
const text = `/**
 * IANA's top-level domains as the npm package tlds ${tldsPackage.version} lists them (MIT), in ASCII. Made by
 * \`npm run top-level-domains\`; not to be edited.
 */
export const TOP_LEVEL_DOMAINS: string = \`
${lines.join('\n')}
\`
`
if (process.argv.includes('--print')) process.stdout.write(text)
else writeFileSync(new URL('../src/dns/top-level-domains.ts', import.meta.url), text)
