/**
 * Foresight: whether there is room for what a relay brings once more of it is here. Its log has an order: what makes room stands
 * behind what needs it, and a relay cannot send the one without the other.
 *
 * Knows: entries that are to come, what they may add and surely take away. Must never know: what room is, or whose.
 *
 * Invariants:
 * FS1  What is foreseen is never less than what comes: a row counts from the first change that may bring it, and no more only
 *      after a delete that has seen everything about it.
 * FS2  Only rows are foreseen. Deletes give nothing else back.
 */
import type { ChangeEntry, Entry } from './block.ts'
import { clockGet } from './clock.ts'
import { type Growth, growthOf } from './gate.ts'
import type { RowEntry } from './row-cache.ts'

/** A change that came, and is not taken yet. */
export interface Coming {
  readonly entry: Entry
  readonly row: RowEntry | undefined
}

/** So many of what is to come have room together. */
export interface Foreseen {
  readonly count: number
  readonly growth: Growth
}

/** The first end of a transaction at which there is room for all up to there; undefined when there is none in sight. */
export function foresee(
  coming: readonly Coming[],
  isHeld: (entry: Entry) => boolean,
  hasRoom: (growth: Growth) => boolean,
): Foreseen | undefined {
  const alive = new Map<RowEntry, boolean>()
  const earlier = new Map<RowEntry, ChangeEntry[]>()
  let [rows, storedBytes] = [0, 0]
  let isLess = false
  for (const [at, { entry, row }] of coming.entries()) {
    const isFresh = !isHeld(entry)
    if (isFresh) storedBytes += growthOf([entry], [row]).storedBytes
    if (isFresh && entry.op !== 'void' && row !== undefined) {
      const wasAlive = alive.get(row) ?? row.isAlive
      const before = earlier.get(row) ?? []
      earlier.set(row, before)
      const isAlive = entry.op === 'delete' ? wasAlive && !hasSeen(entry, row, before) : true
      alive.set(row, isAlive)
      before.push(entry)
      rows += Number(isAlive) - Number(wasAlive)
      isLess ||= wasAlive && !isAlive
    }
    if (entry.op !== 'void' && entry.more) continue
    if (!isLess) continue
    isLess = false
    const growth = { rows, storedBytes, replicas: 0, isRelief: rows <= 0 }
    if (hasRoom(growth)) return { count: at + 1, growth }
  }
  return undefined
}

function hasSeen({ context, replica }: ChangeEntry, row: RowEntry, earlier: readonly ChangeEntry[]): boolean {
  const { clock } = row.state
  for (let at = 0; at < clock.length; at += 2) {
    if (clockGet(context, clock[at] as number) < (clock[at + 1] as number)) return false
  }
  return earlier.every((change) => change.replica === replica || clockGet(context, change.replica) >= change.seq)
}
