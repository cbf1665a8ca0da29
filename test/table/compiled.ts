import { scanName, ScannedName } from '../../src/dns/name.ts'
import { type CompileResult, TableCompiler, type TableCompilerOptions } from '../../src/table/compile.ts'
import type { TableIdentity } from '../../src/table/identity.ts'
import type { Image } from '../../src/table/image.ts'
import { FLAG_KUBERNETES } from '../../src/table/image-layout.ts'
import { encodeNameTable, type NameInfo, type NameTable } from '../../src/table/nds.ts'
import { labelsOf, type ReferenceAnswer, wireOf } from './reference-table.ts'

/** The identity of the recorded answers. */
export const SHOP: TableIdentity = {
  namespace: 'shop',
  domain: 'shop.svc.cluster.local',
  searchDomain: 'shop.svc.cluster.local',
}

export function newCompiler(options: Partial<TableCompilerOptions> = {}): TableCompiler {
  return new TableCompiler({ identity: SHOP, seed: 0x5eed, now: () => 1000, ...options })
}

export type CompiledImage = Extract<CompileResult, { kind: 'image' }>

/** Compiles and expects an image. */
export function compiled(compiler: TableCompiler, table: NameTable, version: string = '1'): CompiledImage {
  const result = compiler.compile(encodeNameTable(table), version)
  if (result.kind !== 'image') throw new Error(`expected an image, got ${JSON.stringify(result)}`)
  return result
}

export function imageOf(table: NameTable, identity: TableIdentity = SHOP): Image {
  return compiled(newCompiler({ identity }), table).image
}

/** A host's fields, those of an external host with one address where not given. */
export function info(fields: Partial<NameInfo> = {}): NameInfo {
  return { ips: ['192.0.2.1'], registry: 'External', shortname: '', namespace: '', altHosts: [], ...fields }
}

/** A Kubernetes service as istiod describes it. */
export function service(name: string, namespace: string, ips: string[]): [string, NameInfo] {
  const host = `${name}.${namespace}.svc.cluster.local`
  return [host, { ips, registry: 'Kubernetes', shortname: name, namespace, altHosts: [] }]
}

/** Lets the image look up a name given as text or labels, and puts what it says into the reference's words. */
export function find(image: Image, name: string | string[]): Omit<ReferenceAnswer, 'host'> | null {
  const labels = typeof name === 'string' ? labelsOf(name)! : name
  const wire = wireOf(labels)
  const scanned = new ScannedName()
  if (scanName(wire, 0, wire.length, image.seed, scanned) !== wire.length)
    throw new Error(`no name: ${labels.join('.')}`)
  if (!image.find(scanned)) return null
  const owner = readLabels(image.bytes, image.ownerAt, image.ownerLength)
  let cname: string[] | null = null
  if (image.expanded) cname = image.wildcard ? labels.slice(0, image.prefixLabels) : owner
  return {
    expanded: image.expanded,
    wildcard: image.wildcard,
    kubernetes: (image.bytes[image.record]! & FLAG_KUBERNETES) !== 0,
    owner,
    cname,
    v4: readAddresses(image.bytes, image.v4At, image.v4Count, 4),
    v6: readAddresses(image.bytes, image.v6At, image.v6Count, 16),
  }
}

/** The name that the image has for an address in hexadecimal. */
export function findAddress(image: Image, address: string): string[] | null {
  const bytes = Buffer.concat([Buffer.of(7, 7, 7), Buffer.from(address, 'hex')])
  if (!image.findAddress(bytes, 3, address.length === 8 ? 4 : 16)) return null
  return readLabels(image.bytes, image.ownerAt, image.ownerLength)
}

function readLabels(bytes: Uint8Array, at: number, length: number): string[] {
  const labels: string[] = []
  let i = at
  while (bytes[i]! !== 0) {
    labels.push(Buffer.from(bytes.slice(i + 1, i + 1 + bytes[i]!)).toString('latin1'))
    i += bytes[i]! + 1
  }
  if (i + 1 !== at + length) throw new Error(`a name of ${i + 1 - at} bytes is said to have ${length}`)
  return labels
}

function readAddresses(bytes: Uint8Array, at: number, count: number, size: number): string[] {
  return Array.from({ length: count }, (_, k) =>
    Buffer.from(bytes.slice(at + k * size, at + (k + 1) * size)).toString('hex'),
  )
}
