/**
 * Conflicts: concurrent heads of a row, classified and reported. Open conflicts are a view of rows with several heads.
 *
 * Invariants:
 * F1  Detection is by clocks alone: two heads of a row are concurrent because neither context covers the other's dot.
 * F2  The answer for (a, b) is the mirror image of the answer for (b, a).
 * F3  Reports name sides by dot and in canonical order, never as local and remote; so they are equal on every replica.
 */
import type { Dictionaries } from './block.ts'
import type { Dot } from './clock.ts'
import type { ReplicaId } from './names.ts'
import { type Policy, settleRow, versionsOf } from './policy.ts'
import { type Head, type RowState, sameValue, type Version } from './row.ts'
import type { TableDefinition } from './table.ts'
import { timestampToMs } from './timestamp.ts'
import { decodeValue, type Value } from './value.ts'

export const CONFLICT_TYPES = ['update-update', 'update-delete', 'delete-update', 'insert-insert'] as const
export type ConflictType = (typeof CONFLICT_TYPES)[number]
export type ChangeOp = 'insert' | 'update' | 'delete'

/** What two concurrent changes of a row are to each other. */
export type Relation =
  | { readonly type: 'agreement' }
  /** Updates of different fields: both survive. */
  | { readonly type: 'merged' }
  | { readonly type: 'conflict'; readonly conflict: ConflictType }

export interface ConflictSide {
  readonly dot: Dot
  readonly op: ChangeOp
  /** Unix milliseconds, from the writer's hybrid clock. */
  readonly time: number
  readonly timestamp: number
  /** The fields this side wrote. Empty for a delete. */
  readonly values: Readonly<Record<string, Value>>
}

export interface Conflict {
  /** The same on every replica: derived from the row and the two dots. */
  readonly id: string
  readonly type: ConflictType | 'merged'
  readonly table: string
  readonly row: string
  /** In canonical order: the earlier timestamp first. */
  readonly sides: readonly [ConflictSide, ConflictSide]
  readonly commonFields: readonly string[]
  readonly policy: string
  /** The dot of the side that decided the row; undefined when both survive. */
  readonly winner: Dot | undefined
  /** True while the policy waits for somebody to decide. */
  readonly isProvisional: boolean
  readonly reason: string
}

export function publicOp(head: Head): ChangeOp {
  return head.op === 'replace' ? 'update' : head.op
}

/** All nine pairs of operations. `commonFields` and `isEqual` matter only where both sides wrote values. */
export function classify(left: ChangeOp, right: ChangeOp, commonFields: number, isEqual: boolean): Relation {
  if (left === 'delete') return right === 'delete' ? { type: 'agreement' } : conflict('delete-update')
  if (right === 'delete') return conflict('update-delete')
  if (isEqual) return { type: 'agreement' }
  if (left === 'insert' && right === 'insert') return conflict('insert-insert')
  if (commonFields === 0) return { type: 'merged' }
  return conflict('update-update')
}

function conflict(type: ConflictType): Relation {
  return { type: 'conflict', conflict: type }
}

export interface ReportOptions {
  readonly table: string
  readonly row: string
  readonly state: RowState
  readonly definition: TableDefinition
  readonly dictionaries: Dictionaries
}

/** The conflicts of one row as it stands: each head that lost (or is merged) against the one that decided. */
export function rowConflicts(options: ReportOptions): Conflict[] {
  const { state, definition } = options
  if (state.heads.length < 2) return []
  const { winner } = settleRow(state, definition.policy, definition.granularity)
  const reports: Conflict[] = []
  for (const head of state.heads) {
    if (winner === undefined || head === winner) continue
    const [left, right] = state.heads.indexOf(head) < state.heads.indexOf(winner) ? [head, winner] : [winner, head]
    const report = reportPair(options, left, right, winner)
    if (report !== undefined) reports.push(report)
  }
  return reports
}

function reportPair(options: ReportOptions, left: Head, right: Head, winner: Head): Conflict | undefined {
  const { state, dictionaries, definition } = options
  const leftVersions = versionsOf(state, left)
  const rightVersions = versionsOf(state, right)
  const common = leftVersions.filter((version) => rightVersions.some((other) => other.name === version.name))
  const isEqual = equalContent(leftVersions, rightVersions)
  const relation = classify(publicOp(left), publicOp(right), common.length, isEqual)
  if (relation.type === 'agreement') return undefined
  const leftSide = toSide(left, leftVersions, dictionaries)
  const rightSide = toSide(right, rightVersions, dictionaries)
  const isMerged = relation.type === 'merged'
  return {
    id: conflictId(options.table, options.row, leftSide.dot, rightSide.dot),
    type: isMerged ? 'merged' : relation.conflict,
    table: options.table,
    row: options.row,
    sides: [leftSide, rightSide],
    commonFields: common.map((version) => dictionaries.names.textOf(version.name)),
    policy: definition.policy.name,
    winner: isMerged ? undefined : toDot(winner, dictionaries),
    isProvisional: definition.policy.escalates,
    reason: isMerged
      ? 'Both sides changed different fields of the row, so both edits are kept.'
      : explainWinner(definition.policy, left, right, winner, dictionaries),
  }
}

function equalContent(left: readonly Version[], right: readonly Version[]): boolean {
  return (
    left.length === right.length &&
    left.every((version, index) => {
      const other = right[index] as Version
      return other.name === version.name && sameValue(version, other)
    })
  )
}

function toSide(head: Head, versions: readonly Version[], dictionaries: Dictionaries): ConflictSide {
  return {
    dot: toDot(head, dictionaries),
    op: publicOp(head),
    time: timestampToMs(head.timestamp),
    timestamp: head.timestamp,
    values: decodeVersions(versions, dictionaries),
  }
}

function toDot(head: Head, { replicas }: Dictionaries): Dot {
  return { replica: replicas.textOf(head.replica) as ReplicaId, seq: head.seq }
}

export function decodeVersions(versions: readonly Version[], { names }: Dictionaries): Record<string, Value> {
  const values = Object.create(null) as Record<string, Value>
  for (const { name, bytes, start, end } of versions) values[names.textOf(name)] = decodeValue(bytes, start, end)
  return values
}

/** Readable and unique: names cannot hold the separators, and the row id comes last. */
function conflictId(table: string, row: string, left: Dot, right: Dot): string {
  return `${left.replica}:${left.seq}~${right.replica}:${right.seq}@${table}/${row}`
}

function explainWinner(policy: Policy, left: Head, right: Head, winner: Head, dictionaries: Dictionaries): string {
  const { replica, seq } = toDot(winner, dictionaries)
  const other = winner === left ? right : left
  const won = `The ${publicOp(winner)} of replica ${replica} (change ${seq}) `
  const same = winner.timestamp === other.timestamp
  switch (policy.name) {
    case 'firstWriteWins':
      return `${won}wins: it was made ${same ? 'at the same time, by the lower replica id' : 'earlier'}.`
    case 'deleteWins':
      if (winner.op === 'delete') return `${won}wins: in this table a delete wins against anything concurrent.`
      break
    case 'updateWins':
      if (other.op === 'delete') return `${won}wins: in this table a write survives a concurrent delete.`
      break
    case 'causal':
      return `${won}is shown for now, because it was made later; neither side knew of the other, so somebody has to decide.`
  }
  return `${won}wins: it was made ${same ? 'at the same time, by the higher replica id' : 'later'}.`
}
