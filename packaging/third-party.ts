/** Whose work is in what byname ships, and under which licence. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Metafile } from 'esbuild'

/** A package of somebody else's. */
export interface ForeignPackage {
  name: string
  version: string
  /** SPDX expression. */
  license: string
  /** The whole licence. */
  text: string
}

const PACKAGE_FOLDER = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//

/** The packages of which there is code in the bundles, each version once, by name. Paths in `metafiles` are below `root`. */
export function bundledPackages(metafiles: readonly Metafile[], root: string): ForeignPackage[] {
  const outputs = metafiles.flatMap((metafile) => Object.values(metafile.outputs))
  const files = outputs.flatMap(({ inputs }) => Object.keys(inputs).filter((file) => inputs[file]!.bytesInOutput > 0))
  const folders = new Set(files.flatMap((file) => PACKAGE_FOLDER.exec(file)?.[1] ?? []))
  const packages = [...folders].map((folder) => packageIn(join(root, folder)))
  const byName = new Map(packages.map((each) => [`${each.name} ${each.version}`, each]))
  return [...byName.keys()].toSorted().map((key) => byName.get(key)!)
}

/**
 * The package in a folder.
 * @throws Error if it has no licence file: what may not be shipped must not slip in.
 */
export function packageIn(folder: string): ForeignPackage {
  const { name, version, license }: ForeignPackage = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'))
  const file = readdirSync(folder).find((each) => /^licen[cs]e(\.md|\.txt)?$/i.test(each))
  if (file === undefined) throw new Error(`${folder} has no licence file, so that ${name} may not be shipped`)
  return { name, version, license, text: readFileSync(join(folder, file), 'utf8').replaceAll('\r\n', '\n').trim() }
}

/** The file THIRD-PARTY: packages whose licences have the same words share a section. */
export function thirdPartyText(packages: readonly ForeignPackage[]): string {
  const byText = Map.groupBy(packages, ({ text }) => text)
  const sections = [...byText].map(([text, sharers]) => {
    const names = sharers.map(({ name, version, license }) => `${name} ${version} (${license})`)
    return `${'─'.repeat(80)}\n${names.join('\n')}\n\n${text}\n`
  })
  return `What is shipped with byname and is the work of others, with its licences. The definitions in protos are cut down from
envoyproxy/envoy, istio/istio, istio/api and googleapis/googleapis, which have the licence that byname has (LICENSE).

${sections.join('\n')}`
}
