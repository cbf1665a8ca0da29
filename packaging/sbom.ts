/** The bill of materials of what byname ships, as CycloneDX. */
import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'

/** A part of byname's. */
interface Component {
  name: string
  version: string
  'bom-ref': string
  scope?: string
  properties?: readonly { name: string; value: string }[]
}

/** What this file reads and writes of CycloneDX 1.5. */
interface Sbom {
  serialNumber: string
  metadata: { timestamp?: string; component: Component & { type: string } }
  components: Component[]
  dependencies: { ref: string; dependsOn?: string[] }[]
}

/**
 * npm's own bill of materials of the lock file in `root`, cut down to `shipped` (name and version) and always the same for
 * the same parts: npm draws a number, says what time it is and calls byname by its folder.
 * @throws Error if the lock file does not have one of the parts.
 */
export function sbomText(root: string, shipped: readonly { name: string; version: string }[]): string {
  const args = ['sbom', '--sbom-format=cyclonedx', '--sbom-type=application', '--package-lock-only']
  const { status, stdout, stderr } = spawnSync('npm', args, {
    cwd: root,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  })
  if (status !== 0) throw new Error(`npm ${args.join(' ')} failed: ${stderr}`)
  const sbom: Sbom = JSON.parse(stdout)
  sbom.components = shipped.map(({ name, version }) => {
    const component = sbom.components.find((each) => each.name === name && each.version === version)
    if (component === undefined) throw new Error(`package-lock.json does not have ${name} ${version}, which is shipped`)
    // To npm it is a tool for developers, as its code is in the bundle.
    const properties = (component.properties ?? []).filter((each) => each.name !== 'cdx:npm:package:development')
    return { ...component, scope: 'required', properties }
  })
  const refs = new Set(sbom.components.map((component) => component['bom-ref']))
  const { component } = sbom.metadata
  component.name = 'byname'
  delete sbom.metadata.timestamp
  sbom.dependencies = sbom.dependencies
    .filter(({ ref }) => refs.has(ref))
    .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((each) => refs.has(each)) }))
  sbom.dependencies.unshift({ ref: component['bom-ref'], dependsOn: [...refs] })
  sbom.serialNumber = ''
  const digest = createHash('sha256').update(JSON.stringify(sbom)).digest('hex')
  // The form of a UUID that an application makes of what it likes (version 8, RFC 9562).
  const variant = `8${digest.slice(17, 20)}`
  sbom.serialNumber = `urn:uuid:${digest.slice(0, 8)}-${digest.slice(8, 12)}-8${digest.slice(13, 16)}-${variant}-${digest.slice(20, 32)}`
  return `${JSON.stringify(sbom, null, 2)}\n`
}
