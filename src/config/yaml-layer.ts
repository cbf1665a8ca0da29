import { isMap as isYamlMap, isNode, isPair, isScalar, isSeq, LineCounter } from 'yaml'
import { readYaml } from '../yaml/plain-yaml.ts'
import { isMap, type KeyPath, type Layer, mergeMaps } from './layer.ts'

/**
 * Reads a YAML configuration file's text. `name` is what problems call the file. Syntax errors are `problems`, one line
 * each with line and column, and the layer is then not to be used.
 */
export function readYamlLayer(text: string, name: string): { layer: Layer; problems: string[] } {
  const lines = new LineCounter()
  const [document, second] = readYaml(text, lines)
  const contents = document?.contents ?? null
  const placeOf = (offset: number): string => {
    const { line, col } = lines.linePos(offset)
    return `${name}:${line}:${col}`
  }
  const problems = (document?.problems ?? []).map(({ message, offset }) => `${placeOf(offset)}: ${message}`)
  if (second !== undefined) {
    problems.push(`${placeOf(startOf(second.contents) ?? 0)}: begins a second document; a configuration is one`)
  }
  const values = document?.values ?? {}
  if (!isMap(values)) {
    problems.push(`${placeOf(startOf(contents) ?? 0)}: must be a section of keys such as "workers: 1"`)
  }
  const layer: Layer = {
    // Merged over nothing, which drops keys without a value ("cache:" with every line below it commented out).
    values: mergeMaps({}, isMap(values) ? values : {}),
    whereIs(path, wantsKey): string | null {
      const offset = offsetOf(contents, path, wantsKey)
      return offset === null ? null : placeOf(offset)
    },
  }
  return { layer, problems }
}

/** Offset of the value (or key) at `path`, or of the nearest part of it that exists; null if not even its first key. */
function offsetOf(root: unknown, path: KeyPath, wantsKey: boolean): number | null {
  let node = root
  let found: number | null = null
  for (const [index, segment] of path.entries()) {
    if (isYamlMap(node)) {
      const pair = node.items.find((item) => isPair(item) && isScalar(item.key) && String(item.key.value) === segment)
      if (pair === undefined) return found
      const key = startOf(pair.key)
      found = wantsKey && index === path.length - 1 ? key : (startOf(pair.value) ?? key)
      node = pair.value
    } else if (isSeq(node)) {
      node = node.items[Number(segment)]
      if (node === undefined) return found
      found = startOf(node) ?? found
    } else return found
  }
  return found
}

function startOf(node: unknown): number | null {
  return isNode(node) ? (node.range?.[0] ?? null) : null
}
