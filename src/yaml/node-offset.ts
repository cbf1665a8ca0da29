import { isMap, isNode, isPair, isScalar, isSeq } from 'yaml'

/** Offset, in characters, of the value at `path` in a document's tree, or of the nearest part of the path that exists. */
export function offsetOf(contents: unknown, path: readonly PropertyKey[]): number {
  let node = contents
  let found = startOf(node) ?? 0
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find(
        (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(key),
      )
      if (pair === undefined) break
      found = startOf(pair.value) ?? startOf(pair.key) ?? found
      node = pair.value
    } else if (isSeq(node)) {
      node = node.items[Number(key)]
      found = startOf(node) ?? found
    } else break
  }
  return found
}

/** Offset of a key in the map at `path`; of the map itself if it has no such key. */
export function keyOffsetOf(contents: unknown, path: readonly PropertyKey[], key: string): number {
  let node = contents
  for (const step of path) {
    if (isMap(node))
      node = node.items.find(
        (item) => isPair(item) && isScalar(item.key) && String(item.key.value) === String(step),
      )?.value
    else if (isSeq(node)) node = node.items[Number(step)]
  }
  const pair = isMap(node) ? node.items.find((item) => isScalar(item.key) && String(item.key.value) === key) : undefined
  return (pair === undefined ? null : startOf(pair.key)) ?? offsetOf(contents, path)
}

function startOf(node: unknown): number | null {
  return isNode(node) ? (node.range?.[0] ?? null) : null
}
