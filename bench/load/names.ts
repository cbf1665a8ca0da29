/** Names and query files for the load generator. */
import { closeSync, openSync, writeSync } from 'node:fs'

/** Services are spread over this many namespaces. */
export const NAMESPACES = 50

/** `{n}` is the service's number, `{ns}` its namespace's. */
export const MESH_PATTERN = 'svc-{n}.ns{ns}.svc.cluster.local'

/** Name number `n` by a pattern. */
export function nameAt(n: number, pattern: string = MESH_PATTERN): string {
  return pattern.replace('{n}', String(n)).replace('{ns}', String(n % NAMESPACES))
}

/** IPv4 address of service `n`: in 240.240.0.0/16 first, as Istio's automatic addresses are, then above it. */
export function addressAt(n: number): string {
  return `240.${240 + (n >> 16)}.${(n >> 8) & 255}.${n & 255}`
}

/** Its address in the other table, in which every host has moved. */
export function movedAddressAt(n: number): string {
  return addressAt(n).replace('240.', '250.')
}

/** A query file with one A question for each name, in an order that jumps around (neighbours in memory would flatter caches). */
export function writeHitFile(file: string, count: number, pattern: string = MESH_PATTERN): void {
  const order = shuffled(count)
  writeLines(file, count, (i) => `${nameAt(order[i]!, pattern)} A\n`)
}

/** A query file with `count` names that no other file written with another `label` holds. */
export function writeMissFile(file: string, count: number, label: string): void {
  writeLines(file, count, (i) => `${missName(i, label)} A\n`)
}

/** Of every ten questions nine are hits among `hits` names and one is a name asked once. */
export function writeMixedFile(
  file: string,
  count: number,
  hits: number,
  label: string,
  pattern: string = MESH_PATTERN,
): void {
  const order = shuffled(hits)
  writeLines(file, count, (i) =>
    i % 10 === 9 ? `${missName(i, label)} A\n` : `${nameAt(order[i % hits]!, pattern)} A\n`,
  )
}

/** Two labels vary, so that neither hash tables nor per-domain state see one crowded zone. */
function missName(i: number, label: string): string {
  return `h${i.toString(36)}.z${i % 1000}.${label}.example.net`
}

/** Writes in blocks: files of millions of lines must not be one string. */
function writeLines(file: string, count: number, line: (i: number) => string): void {
  const descriptor = openSync(file, 'w')
  try {
    let block = ''
    for (let i = 0; i < count; i++) {
      block += line(i)
      if (block.length > 1 << 20) {
        writeSync(descriptor, block)
        block = ''
      }
    }
    writeSync(descriptor, block)
  } finally {
    closeSync(descriptor)
  }
}

/** 0 … count-1 in a fixed order that looks random: the same for every server and every run. */
function shuffled(count: number): Uint32Array {
  const order = Uint32Array.from({ length: count }, (_, i) => i)
  let state = 1
  for (let i = count - 1; i > 0; i--) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    const j = state % (i + 1)
    const held = order[i]!
    order[i] = order[j]!
    order[j] = held
  }
  return order
}
