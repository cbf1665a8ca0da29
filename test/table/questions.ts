import type { TableIdentity } from '../../src/table/identity.ts'
import type { NameTable } from '../../src/table/nds.ts'
import { labelsOf, type ReferenceTable, wireOf } from './reference-table.ts'

/** Every name near those of the table: the names themselves, with labels added or taken away, with each search domain. */
export function questions(
  table: NameTable,
  who: TableIdentity,
  reference: ReferenceTable,
  extra: string[],
): string[][] {
  const known = [...reference.exact.keys(), ...reference.wildcards.keys(), ...reference.aliases.keys()].map((key) =>
    key.split('\0'),
  )
  const names = [...known, ...[...table.keys(), ...extra].map(labelsOf).filter((labels) => labels !== null)]
  const search = labelsOf(who.searchDomain ?? '') ?? []
  return names
    .flatMap((name) => [name, name.slice(1), name.slice(0, -1), ['a', ...name], ['zz', ...name.slice(1)]])
    .flatMap((name) => [name, [...name, ...search], [...name, ...search, ...search]])
    .filter((name) => wireOf(name).length <= 255)
}
