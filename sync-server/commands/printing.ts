/**
 * How values, ids and lists look on a terminal.
 *
 * Invariant W3: what comes from rows and other replicas cannot move the cursor, and does not look like what it is not.
 */
import { InvalidArgumentError } from 'commander'
import type { Dot } from '../../core/index.ts'

/** What JSON leaves as it is and a terminal might obey is escaped as well. */
export function toJson(value: unknown, indent = 2): string {
  const text = JSON.stringify(tag(value), undefined, indent)
  return text.replace(UNSEEN, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

/** Control characters, and those that turn the direction of writing. */
const UNSEEN = /[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu

/** With dates and bytes as objects of one key, and clocks as they write themselves. */
function tag(value: unknown): unknown {
  if (value instanceof Date) return { $date: value.toISOString() }
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('base64') }
  if (Array.isArray(value)) return value.map(tag)
  if (typeof value !== 'object' || value === null) return value
  if ('toJSON' in value && typeof value.toJSON === 'function') return (value.toJSON as () => unknown)()
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, tag(each)]))
}

/** A dot with its replica shortened. */
export function nameOf({ replica, seq }: Dot): string {
  return `${replica.slice(0, 8)}:${seq}`
}

export function parseCount(text: string): number {
  const count = Number(text)
  if (/^\d+$/.test(text) && count > 0) return count
  throw new InvalidArgumentError('It must be a whole number from 1.')
}

const CELL_MAX = 48

/** Columns as wide as they need to be; long cells are cut, the last column never. */
export function formatColumns(titles: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [titles, ...rows].map((row) =>
    row.map((cell, index) => (index < titles.length - 1 ? cut(oneLine(cell)) : oneLine(cell))),
  )
  const widths = titles.map((_, index) => Math.max(...cells.map((row) => row[index]?.length ?? 0)))
  return cells
    .map((row) =>
      row
        .map((cell, index) => cell.padEnd(widths[index] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

function cut(text: string): string {
  return text.length > CELL_MAX ? `${text.slice(0, CELL_MAX - 1)}…` : text
}

/** Row ids and texts come from anywhere: nothing in them may move the terminal's cursor. */
export function oneLine(text: string): string {
  return text.replace(UNSEEN, '\ufffd')
}
