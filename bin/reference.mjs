/** Writes what src/config/schema.ts and the metrics declare to where people read it. Tests see to it that nobody forgets. */
import { readFileSync, writeFileSync } from 'node:fs'
import { withMetricTable } from '../src/observe/metric-reference.ts'
import { createMetrics } from '../src/observe/metrics.ts'
import { referenceMarkdown, referenceYaml, withConfigDefinition } from '../src/config/reference.ts'

writeFileSync(new URL('../config/byname.yaml', import.meta.url), referenceYaml())
writeFileSync(new URL('../docs/configuration.md', import.meta.url), referenceMarkdown())

const chartSchema = new URL('../config/helm/byname/values.schema.json', import.meta.url)
writeFileSync(chartSchema, withConfigDefinition(readFileSync(chartSchema, 'utf8')))

const observability = new URL('../docs/observability.md', import.meta.url)
// Nothing is read of the sources until a scrape.
const { describe } = createMetrics({}, {}, { warn() {} })
writeFileSync(observability, withMetricTable(readFileSync(observability, 'utf8'), describe()))
