/**
 * The merge by set logic: every change carries the explicit set of changes of its row that its writer had seen.
 *
 * Knows: sets of dots, and what design and documents say a row is. Must never know: clocks, contexts, joins, or anything
 * of the code that it judges. Everything is computed anew from the set of known changes, in no particular order.
 */

export type OracleOp = 'insert' | 'update' | 'delete' | 'replace'

export interface OracleChange {
  /** Replica and seq as one text: the element of the sets. */
  readonly dot: string
  readonly replica: string
  readonly seq: number
  readonly timestamp: number
  readonly op: OracleOp
  /** What it writes; nothing for a delete. Values are small numbers; with a `#` before it, a counter's part. */
  readonly fields: Readonly<Record<string, string>>
  /** The changes of this row that its writer knew, all of them. */
  readonly seen: ReadonlySet<string>
}

/** All that is known of one row. */
export type Known = readonly OracleChange[]

export const ORACLE_POLICIES = ['lastWriteWins', 'causal', 'firstWriteWins', 'deleteWins', 'updateWins'] as const
export type OraclePolicy = (typeof ORACLE_POLICIES)[number]

/** Timestamp, then replica id, then seq. */
export function inCanonicalOrder(changes: Known): OracleChange[] {
  return [...changes].sort((a, b) => {
    if (a.timestamp !== b.timestamp) return a.timestamp - b.timestamp
    if (a.replica !== b.replica) return a.replica < b.replica ? -1 : 1
    return a.seq - b.seq
  })
}

/** The changes that nobody who wrote had seen. */
export function headsOf(known: Known): OracleChange[] {
  return inCanonicalOrder(known.filter((change) => !known.some((other) => other.seen.has(change.dot))))
}

/** The changes whose value of a field nobody who overwrote it had seen. */
export function visibleOf(known: Known, field: string): OracleChange[] {
  const writers = known.filter((change) => Object.hasOwn(change.fields, field))
  const isOverwritten = (change: OracleChange): boolean =>
    known.some((other) => other.seen.has(change.dot) && overwrites(other, change, field))
  return inCanonicalOrder(writers.filter((change) => !isOverwritten(change)))
}

/** A whole row overwrites everything, a value the field; a counter's part only that of its own replica. */
export function overwrites(later: OracleChange, earlier: OracleChange, field: string): boolean {
  if (writesAll(later.op)) return true
  if (!Object.hasOwn(later.fields, field)) return false
  return !isPart(later, field) || (isPart(earlier, field) && earlier.replica === later.replica)
}

/** True when a change wrote a counter's part to a field. */
export function isPart({ fields }: OracleChange, field: string): boolean {
  return fields[field]?.startsWith('#') === true
}

export function numberOf({ fields }: OracleChange, field: string): number {
  return Number((fields[field] as string).replace('#', ''))
}

function writesAll(op: OracleOp): boolean {
  return op === 'insert' || op === 'replace'
}

export function fieldsOf(known: Known): string[] {
  return [...new Set(known.flatMap((change) => Object.keys(change.fields)))].sort()
}

/** The head that decides over the row. */
function winnerOf(known: Known, policy: OraclePolicy): OracleChange | undefined {
  return pickOf(headsOf(known), policy)
}

/** Which of several concurrent changes, in canonical order, decides over the row. */
export function pickOf(heads: readonly OracleChange[], policy: OraclePolicy): OracleChange | undefined {
  const deletes = heads.filter((head) => head.op === 'delete')
  const writes = heads.filter((head) => head.op !== 'delete')
  switch (policy) {
    case 'lastWriteWins':
    case 'causal':
      return heads.at(-1)
    case 'firstWriteWins':
      return heads[0]
    case 'deleteWins':
      return deletes[0] ?? heads.at(-1)
    case 'updateWins':
      return writes.at(-1) ?? heads.at(-1)
  }
}

/** True when the writer of a change knew the other, or it is that change. */
export function knows(by: OracleChange, change: OracleChange): boolean {
  return by === change || by.seen.has(change.dot)
}

/** Of the values of a field those that the writer of a head had; where only others wrote since, theirs: the row is whole. */
function leftBy(head: OracleChange, visible: readonly OracleChange[]): readonly OracleChange[] {
  const known = visible.filter((change) => knows(head, change))
  return known.length > 0 ? known : visible
}

/**
 * The fields that a side is told with: what it changed and the other had not seen. An update in a table that is settled as a
 * whole comes from when it was settled by fields: then all that its writer had.
 */
export function broughtBy(
  known: Known,
  head: OracleChange,
  other: OracleChange,
  granularity: 'fields' | 'row',
): News[] {
  const isFragment = granularity === 'row' && head.op === 'update'
  return isFragment ? visibleNews(known, (change) => knows(head, change)) : newsOf(known, head, other)
}

/** A field, and a change that is seen there. */
export interface News {
  readonly field: string
  readonly change: OracleChange
}

/** What stands in the row because of one side, and the other had not seen. */
export function newsOf(known: Known, head: OracleChange, other: OracleChange): News[] {
  if (head.op === 'delete') return []
  return visibleNews(known, (change) => knows(head, change) && !knows(other, change))
}

function visibleNews(known: Known, isMeant: (change: OracleChange) => boolean): News[] {
  return fieldsOf(known).flatMap((field) =>
    visibleOf(known, field)
      .filter(isMeant)
      .map((change) => ({ field, change })),
  )
}

/** The value of the row; undefined when it does not exist. */
export function shownBy(
  known: Known,
  policy: OraclePolicy,
  granularity: 'fields' | 'row',
): Readonly<Record<string, number>> | undefined {
  const winner = winnerOf(known, policy)
  if (winner === undefined || winner.op === 'delete') return undefined
  if (granularity === 'row' && writesAll(winner.op)) {
    return Object.fromEntries(Object.keys(winner.fields).map((field) => [field, numberOf(winner, field)]))
  }
  const value: Record<string, number> = {}
  for (const field of fieldsOf(known)) {
    const visible = granularity === 'row' ? leftBy(winner, visibleOf(known, field)) : visibleOf(known, field)
    const shown = policy === 'firstWriteWins' ? visible[0] : visible.at(-1)
    const isCounter = visible.some((change) => isPart(change, field))
    if (isCounter) {
      // Of the plain values from before it was a counter, the one that would show is where it starts.
      const plain = visible.filter((change) => !isPart(change, field))
      const start = policy === 'firstWriteWins' ? plain[0] : plain.at(-1)
      const parts = visible.filter((change) => isPart(change, field))
      value[field] = parts.reduce((sum, change) => sum + numberOf(change, field), start ? numberOf(start, field) : 0)
    }
    if (!isCounter && shown !== undefined) value[field] = numberOf(shown, field)
  }
  return value
}
