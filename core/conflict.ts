/**
 * Conflicts: concurrent heads of a row, classified and reported in pairs.
 *
 * Invariants:
 * F1  Detection is by clocks alone: two heads of a row are concurrent because neither context covers the other's dot.
 * F2  The answer for (a, b) is the mirror image of the answer for (b, a).
 * F3  Reports name sides by dot and in canonical order, never as local and remote; so they are equal on every replica.
 */
import type { Dictionaries } from './block.ts'
import { equalSlices } from './bytes.ts'
import { clockGet, type Dot, type SparseClock, type VectorClock } from './clock.ts'
import {
  explainDecision,
  explainFallback,
  explainField,
  explainSide,
  explainWinner,
  UNDECIDED,
} from './conflict-words.ts'
import { isCounter } from './counter.ts'
import { lastWriteWins } from './policy.ts'
import {
  type ChangeOp,
  compareStamps,
  type Head,
  publicOp,
  type RowState,
  sameStamp,
  sameValue,
  type Version,
} from './row.ts'
import { decodeSettled, hasSeen, type SettleRules, settleField, settleRow, toDot } from './settle.ts'
import { timestampToMs } from './timestamp.ts'
import { encodeValue, type Value } from './value.ts'

export const CONFLICT_TYPES = ['update-update', 'update-delete', 'delete-update', 'insert-insert'] as const
export type ConflictType = (typeof CONFLICT_TYPES)[number]

/** What two concurrent changes of a row are to each other. `merged`: updates of different fields, which both survive. */
export type Relation = 'agreement' | 'merged' | ConflictType

export interface ConflictSide {
  readonly dot: Dot
  readonly op: ChangeOp
  /** Unix milliseconds, from the writer's hybrid clock. */
  readonly time: number
  readonly timestamp: number
  /**
   * What this side changed and the other had not seen; of a row that is settled as a whole, all of it. Empty for a delete, and
   * where the journal is redacted.
   */
  readonly values: Readonly<Record<string, Value>>
  /** What its writer had seen of the row; undefined when the log does not hold the change. */
  readonly context?: VectorClock
}

/** A field that both sides wrote. */
export interface ConflictField {
  readonly name: string
  /** What both sides had before them; undefined when there was none or the log does not reach back. */
  readonly base?: Value
  /** The dot whose value is shown of these two; undefined when the field's policy made one of both. */
  readonly winner: Dot | undefined
}

export interface Conflict {
  /** The same on every replica: derived from the row and the two dots. */
  readonly id: string
  readonly type: ConflictType | 'merged'
  readonly table: string
  readonly row: string
  /** In canonical order: the earlier timestamp first. */
  readonly sides: readonly [ConflictSide, ConflictSide]
  /** The fields that both sides wrote. */
  readonly fields: readonly ConflictField[]
  /** Name and version: lastWriteWins@1. */
  readonly policy: string
  /** The dot of the side that prevails; undefined when both survive, or the policy made something of both. */
  readonly winner: Dot | undefined
  /** True while the policy waits for somebody to decide. */
  readonly isProvisional: boolean
  /** Why a policy's own code was not followed, if it was not. */
  readonly fallback?: string
  /** True where this replica's log does not hold all that the two sides did: another one may tell more. */
  readonly isPartial?: true
  readonly reason: string
}

/** All nine pairs of operations. `commonFields` and `isEqual` matter only where both sides wrote values. */
export function classify(left: ChangeOp, right: ChangeOp, commonFields: number, isEqual: boolean): Relation {
  if (left === 'delete') return right === 'delete' ? 'agreement' : 'delete-update'
  if (right === 'delete') return 'update-delete'
  if (isEqual) return 'agreement'
  if (left === 'insert' && right === 'insert') return 'insert-insert'
  return commonFields === 0 ? 'merged' : 'update-update'
}

export interface ReportOptions {
  readonly table: string
  readonly row: string
  readonly state: RowState
  readonly rules: SettleRules
  readonly dictionaries: Dictionaries
}

/** The conflicts of one row as it stands: every pair of its heads that is not in agreement. */
export function rowConflicts(options: ReportOptions): Conflict[] {
  const { heads } = options.state
  const reports: Conflict[] = []
  for (let right = 1; right < heads.length; right++) {
    for (let left = 0; left < right; left++) {
      const report = reportPair(options, heads[left] as Head, heads[right] as Head)
      if (report !== undefined) reports.push(report)
    }
  }
  return reports
}

/** The report about two heads of the state, in canonical order; undefined when they agree. */
export function reportPair(options: ReportOptions, left: Head, right: Head): Conflict | undefined {
  const { dictionaries, rules } = options
  const { relation, common, leftVersions, rightVersions } = relate(options, left, right)
  if (relation === 'agreement') return undefined
  const sides = [
    toSide(options, left, opAgainst(left, right), broughtBy(options, left, leftVersions)),
    toSide(options, right, opAgainst(right, left), broughtBy(options, right, rightVersions)),
  ] as const
  const isMerged = relation === 'merged'
  const isMerging = isMerged && rules.policy.decide === undefined
  const both = haveCounted(leftVersions, rightVersions) ? BOTH_COUNTED : BOTH_KEPT
  const outcome = isMerging ? both : decidePair(options, left, right, common)
  return {
    id: conflictId(options.table, options.row, sides[0].dot, sides[1].dot),
    type: relation,
    table: options.table,
    row: options.row,
    sides,
    fields: outcome.fields,
    policy: `${rules.policy.name}@${rules.policy.version}`,
    winner: outcome.winner && toDot(outcome.winner, dictionaries),
    isProvisional: !isMerged && waitsForDecision(rules, outcome.fields),
    ...(outcome.fallback === undefined ? {} : { fallback: outcome.fallback }),
    reason: outcome.fallback === undefined ? outcome.reason : `${explainFallback(outcome.fallback)} ${outcome.reason}`,
  }
}

/** Somebody has to decide about the row, or about a field that has such a policy of its own. */
function waitsForDecision(rules: SettleRules, fields: readonly ConflictField[]): boolean {
  return rules.policy.escalates || fields.some(({ name }) => isUndecided(rules, name))
}

interface Related {
  readonly relation: Relation
  readonly common: readonly ContestedField[]
  readonly leftVersions: readonly Version[]
  readonly rightVersions: readonly Version[]
}

/** What two heads of the state are to each other, and by what they differ. */
export function relate(
  { state, dictionaries, rules }: Pick<ReportOptions, 'state' | 'dictionaries' | 'rules'>,
  left: Head,
  right: Head,
): Related {
  const leftVersions = newsOf(state, left, right)
  const rightVersions = newsOf(state, right, left)
  const common = contestedFields(leftVersions, rightVersions, dictionaries)
  const isEqual = equalContent(leftVersions, rightVersions)
  // Of rows that are settled as a whole only one can be shown, whatever fields they have.
  const overlap = rules.granularity === 'row' ? Math.max(1, common.length) : common.length
  const relation = classify(opAgainst(left, right), opAgainst(right, left), overlap, isEqual)
  return { relation, common, leftVersions, rightVersions }
}

/** What one side changed and the other had not seen: by its head, and by the changes that the head covers. */
function newsOf(state: RowState, head: Head, other: Head): readonly Version[] {
  if (head.op === 'delete') return []
  return state.versions.filter(({ stamp }) => hasSeen(head, stamp) && !hasSeen(other, stamp))
}

/** What a side brings to the choice: its news, or a whole row, also where the table was settled by fields once. */
function broughtBy({ state, rules }: ReportOptions, head: Head, news: readonly Version[]): readonly Version[] {
  if (rules.granularity === 'fields' || head.op !== 'update') return news
  return state.versions.filter(({ stamp }) => hasSeen(head, stamp))
}

/** In the order of names instead of indexes, so that a report reads the same everywhere (F3). */
function byName(versions: readonly Version[], { names }: Dictionaries): readonly Version[] {
  return [...versions].sort((a, b) => (names.textOf(a.name) < names.textOf(b.name) ? -1 : 1))
}

/** What a side did, as the other sees it: a row that they have no common past of was inserted by both. */
function opAgainst(head: Head, other: Head): ChangeOp {
  const op = publicOp(head)
  return op === 'update' && !haveCommonPast(head.clock, other.clock) ? 'insert' : op
}

function haveCommonPast(left: SparseClock, right: SparseClock): boolean {
  for (let at = 0; at < left.length; at += 2) if (clockGet(right, left[at] as number) > 0) return true
  return false
}

/** A field that both sides wrote, with what they wrote in canonical order. */
interface ContestedField {
  readonly name: string
  readonly versions: readonly Version[]
}

/** The fields that both sides changed, by name. Parts of a counter do not compete: they add up. */
function contestedFields(
  left: readonly Version[],
  right: readonly Version[],
  dictionaries: Dictionaries,
): ContestedField[] {
  const contested: ContestedField[] = []
  const values = byName(left, dictionaries).filter((version) => !isCounter(version))
  const others = right.filter((version) => !isCounter(version))
  for (const name of new Set(values.map((version) => version.name))) {
    const theirs = others.filter((version) => version.name === name)
    if (theirs.length === 0) continue
    const versions = [...values.filter((version) => version.name === name), ...theirs]
    versions.sort((a, b) => compareStamps(a.stamp, b.stamp, dictionaries.replicas))
    contested.push({ name: dictionaries.names.textOf(name), versions })
  }
  return contested
}

/** True when both sides wrote to one counter. */
function haveCounted(left: readonly Version[], right: readonly Version[]): boolean {
  return left.some((version) => isCounter(version) && right.some(({ name }) => name === version.name))
}

function equalContent(left: readonly Version[], right: readonly Version[]): boolean {
  return (
    left.length === right.length &&
    left.every((version, index) => {
      const other = right[index] as Version
      return other.name === version.name && !isCounter(version) && sameValue(version, other)
    })
  )
}

function toSide(
  { rules, dictionaries }: ReportOptions,
  head: Head,
  op: ChangeOp,
  versions: readonly Version[],
): ConflictSide {
  return {
    dot: toDot(head, dictionaries),
    op,
    time: timestampToMs(head.timestamp),
    timestamp: head.timestamp,
    values: decodeSettled(versions, rules, dictionaries),
  }
}

/** True when two reports about the same pair say the same. */
export function isSameReport(left: Conflict, right: Conflict): boolean {
  const [ours, theirs] = [encodeReport(left), encodeReport(right)]
  return equalSlices(ours, 0, ours.length, theirs, 0, theirs.length)
}

/** What may change while the two sides stay the same. Values are as deep as values may be, so each is encoded on its own. */
function encodeReport({ type, reason, fallback, winner, fields, sides }: Conflict): Uint8Array {
  const values = sides.map((side) => Object.entries(side.values).map(([name, value]) => [name, encodeValue(value)]))
  const winners = fields.map((field) => [field.name, field.winner ?? null])
  return encodeValue([type, reason, fallback ?? null, winner ?? null, winners, values])
}

// ── Who prevails ────────────────────────────────────────────────────────────────────────────────────────────────────

interface PairOutcome {
  readonly winner: Head | undefined
  readonly fields: readonly ConflictField[]
  readonly fallback: string | undefined
  readonly reason: string
}

const BOTH_KEPT: PairOutcome = {
  winner: undefined,
  fields: [],
  fallback: undefined,
  reason: 'Both sides changed different fields of the row, so both edits are kept.',
}

const BOTH_COUNTED: PairOutcome = {
  ...BOTH_KEPT,
  reason: 'Both sides counted, and increments add up: both edits are kept.',
}

function decidePair(options: ReportOptions, left: Head, right: Head, common: readonly ContestedField[]): PairOutcome {
  const { state, rules, dictionaries } = options
  const isByField = rules.granularity === 'fields' && left.op !== 'delete' && right.op !== 'delete'
  if (isByField && rules.policy.decide === undefined) return decideFields(options, left, right, common)
  const pair: RowState = { ...state, heads: [left, right], versions: pairVersions(state, left, right) }
  const settled = settleRow(pair, rules, dictionaries)
  const { fallback } = settled
  const isDecided = rules.policy.decide !== undefined && fallback === undefined
  if (isByField && !isDecided) {
    // A policy's own code that is not followed is as if the table had none.
    const plain = { ...options, rules: { ...rules, policy: lastWriteWins() } }
    return { ...decideFields(plain, left, right, common), fallback }
  }
  const authors = isDecided && settled.isAlive ? authorsOf(settled.versions, pair) : []
  if (authors.length === 2 && common.length === 0) return BOTH_KEPT
  const winner = settled.winner ?? (authors.length === 1 ? authors[0] : undefined)
  const fields = common.map(({ name }) => ({ name, winner: winner && toDot(winner, dictionaries) }))
  const policy = fallback === undefined ? rules.policy : lastWriteWins()
  const reason = isDecided
    ? explainDecision(rules.policy, winner, dictionaries)
    : explainWinner(policy, left, right, winner as Head, dictionaries)
  return { winner, fields, fallback, reason }
}

/** The versions that either of the two knew. */
function pairVersions(state: RowState, left: Head, right: Head): readonly Version[] {
  return state.versions.filter(({ stamp }) => hasSeen(left, stamp) || hasSeen(right, stamp))
}

/** The heads of a pair of which everything they changed is shown. */
function authorsOf(shown: readonly Version[], pair: RowState): readonly Head[] {
  return pair.heads.filter(
    (head) =>
      head.op !== 'delete' &&
      newsOf(pair, head, pair.heads.find((other) => other !== head) ?? head).every((version) => {
        const other = shown.find(({ name }) => name === version.name)
        return other !== undefined && sameValue(other, version)
      }),
  )
}

/** Both rows live and each field is settled on its own: there is one winner only when all fields have the same. */
function decideFields(options: ReportOptions, left: Head, right: Head, common: readonly ContestedField[]): PairOutcome {
  const { rules, dictionaries } = options
  const winners = new Set<Head | undefined>()
  const fields: ConflictField[] = []
  const reasons: string[] = []
  let fallback: string | undefined
  for (const { name, versions } of common) {
    const settled = settleField(versions, rules, dictionaries)
    fallback ??= settled.fallback
    const winner = settled.isMade ? undefined : hasSeen(right, settled.version.stamp) ? right : left
    winners.add(winner)
    fields.push({ name, winner: winner && toDot(winner, dictionaries) })
    const policy = settled.fallback === undefined ? (rules.fields.get(name) ?? rules.policy) : lastWriteWins()
    reasons.push(explainField(name, policy, versions, settled.isMade ? undefined : settled.version, dictionaries))
  }
  if (fields.length === 0) return ALL_FIELDS_KEPT
  const [winner] = winners.size === 1 ? winners : [undefined]
  const isPlain = winner !== undefined && fallback === undefined && fields.every(({ name }) => !rules.fields.has(name))
  const isWhole = isPlain && common.every(({ versions }) => versions.length === 2 && versions.every(isOf(left, right)))
  if (fields.some(({ name }) => isUndecided(rules, name))) reasons.push(UNDECIDED)
  let reason = reasons.join(' ')
  if (isWhole) reason = explainWinner(rules.policy, left, right, winner, dictionaries)
  else if (isPlain)
    reason = explainSide(
      rules.policy,
      winner,
      common.map(({ name }) => name),
      dictionaries,
    )
  return { winner, fields, fallback, reason }
}

function isUndecided({ policy, fields }: SettleRules, name: string): boolean {
  const own = fields.get(name) ?? policy
  return 'escalates' in own && own.escalates
}

/** True for versions that the heads themselves wrote, not changes beneath them. */
function isOf(left: Head, right: Head): (version: Version) => boolean {
  return ({ stamp }) => sameStamp(stamp, left) || sameStamp(stamp, right)
}

const ALL_FIELDS_KEPT: PairOutcome = {
  winner: undefined,
  fields: [],
  fallback: undefined,
  reason: 'Both sides inserted the row with different fields, so all of them are kept.',
}

/** Readable and unique: replica ids and table names cannot hold the separators, and the row id comes last. */
export function conflictId(table: string, row: string, left: Dot, right: Dot): string {
  return `${left.replica}:${left.seq}~${right.replica}:${right.seq}@${table}/${row}`
}

const CONFLICT_ID = /^([0-9a-f-]{36}):(\d{1,16})~([0-9a-f-]{36}):(\d{1,16})@([A-Za-z][A-Za-z0-9_]{0,62})\/([\s\S]+)$/

export interface ConflictAddress {
  readonly table: string
  readonly row: string
  readonly dots: readonly [Dot, Dot]
}

/** What a conflict's id names; undefined for a text that is no such id. */
export function parseConflictId(id: string): ConflictAddress | undefined {
  const parts = CONFLICT_ID.exec(id)
  if (parts === null) return undefined
  const [, leftReplica, leftSeq, rightReplica, rightSeq, table, row] = parts as unknown as string[]
  const dot = (replica: string | undefined, seq: string | undefined): Dot => ({
    replica: replica as Dot['replica'],
    seq: Number(seq),
  })
  return { table: table ?? '', row: row ?? '', dots: [dot(leftReplica, leftSeq), dot(rightReplica, rightSeq)] }
}
