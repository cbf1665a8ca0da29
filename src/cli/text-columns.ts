/**
 * Rows of cells as lines with aligned columns, two spaces between them; each line ends in a newline. Columns whose
 * index is in `right` are aligned to the right.
 */
export function alignColumns(rows: readonly (readonly string[])[], right: readonly number[] = []): string {
  const widths: number[] = []
  for (const row of rows) row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)))
  return rows
    .map((row) => {
      const cells = row.map((cell, i) => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      return `${cells.join('  ').trimEnd()}\n`
    })
    .join('')
}
