/**
 * How values, ids, times and lists look on a terminal.
 *
 * Invariant W3: what comes from rows and other replicas cannot move the cursor, and does not look like what it is not.
 */
import { InvalidArgumentError } from 'commander'
import type { Dot } from '../../core/index.ts'
import { toJson, UNSEEN } from '../json.ts'

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

/** What a command answers with: for people, or for programs. */
export function print<Answer>(
  { json }: { readonly json: boolean },
  answer: Answer,
  toText: (answer: Answer) => string,
): void {
  process.stdout.write(`${json ? toJson(answer) : toText(answer)}\n`)
}

export function showTime(ms: number | null): string {
  return ms === null ? '' : new Date(ms).toISOString().slice(0, 19).replace('T', ' ')
}

export function showCount(value: number): string {
  return value.toLocaleString('en-US')
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB'] as const

export function showBytes(value: number): string {
  let unit = 0
  let shown = value
  while (shown >= 1_024 && unit < UNITS.length - 1) {
    shown /= 1_024
    unit++
  }
  return `${unit === 0 ? shown : shown.toFixed(1)} ${UNITS[unit]}`
}
