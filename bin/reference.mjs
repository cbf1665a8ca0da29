/** Writes what src/config/schema.ts declares to where people read it. A test sees to it that nobody forgets. */
import { writeFileSync } from 'node:fs'
import { referenceMarkdown, referenceYaml } from '../src/config/reference.ts'

writeFileSync(new URL('../config/byname.yaml', import.meta.url), referenceYaml())
writeFileSync(new URL('../docs/configuration.md', import.meta.url), referenceMarkdown())
