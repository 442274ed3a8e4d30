/**
 * Samples of lines to break: so many of all there are, the same for the same seed.
 */

import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type BrokenLine, breakableLines } from './lines.ts'

/** All of core that is not the adapter of a store. */
export function allLines(root: string): BrokenLine[] {
  const names = readdirSync(join(root, 'core')).filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts'))
  return names.sort().flatMap((name) => breakableLines(`core/${name}`, readFileSync(join(root, 'core', name), 'utf8')))
}

/** In an order that the seed draws: whoever wants more takes more of the same. */
export function shuffled(lines: readonly BrokenLine[], seed: string): BrokenLine[] {
  const lot = (line: BrokenLine): string =>
    createHash('sha256').update(`${seed} ${line.file} ${line.start} ${line.replace} ${line.kind}`).digest('hex')
  return lines
    .map((line) => ({ line, lot: lot(line) }))
    .sort((a, b) => (a.lot < b.lot ? -1 : 1))
    .map(({ line }) => line)
}
