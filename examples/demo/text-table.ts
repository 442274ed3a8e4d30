/**
 * Tables for people: columns as wide as they need to be, long cells wrapped at words.
 */

export interface Column {
  readonly title: string
  /** Longer cells are wrapped. */
  readonly widthMax?: number
  /** True for figures. */
  readonly isRight?: boolean
}

/** `isRuled`: a line between rows, for cells of several lines. */
export function formatTable(columns: readonly Column[], rows: readonly (readonly string[])[], isRuled = false): string {
  const cells = rows.map((row) => row.map((cell, index) => wrap(cell, columns[index]?.widthMax)))
  const widths = columns.map(({ title }, index) =>
    Math.max(title.length, ...cells.flatMap((row) => row[index] ?? []).map((line) => line.length)),
  )
  const rule = `  ${widths.map((width) => '─'.repeat(width)).join('──')}`
  const titles = columns.map(({ title }) => title)
  const lines = [formatLine(columns, widths, titles), rule]
  for (const [index, row] of cells.entries()) {
    if (isRuled && index > 0) lines.push(rule)
    const height = Math.max(...row.map((cell) => cell.length))
    for (let line = 0; line < height; line++) {
      const parts = row.map((cell) => cell[line] ?? '')
      lines.push(formatLine(columns, widths, parts))
    }
  }
  return lines.join('\n')
}

function formatLine(columns: readonly Column[], widths: readonly number[], cells: readonly string[]): string {
  const padded = cells.map((cell, index) => {
    const width = widths[index] ?? 0
    return columns[index]?.isRight === true ? cell.padStart(width) : cell.padEnd(width)
  })
  return `  ${padded.join('  ')}`.trimEnd()
}

function wrap(text: string, widthMax = Number.POSITIVE_INFINITY): string[] {
  const lines: string[] = []
  for (const paragraph of text.split('\n')) {
    let line = ''
    for (const word of paragraph.split(' ')) {
      if (line !== '' && line.length + 1 + word.length > widthMax) {
        lines.push(line)
        line = word
      } else line = line === '' ? word : `${line} ${word}`
    }
    lines.push(line)
  }
  return lines
}

export function formatCount(count: number): string {
  return Math.round(count).toLocaleString('en-US')
}
