/**
 * Policies: how the value of a row with concurrent heads or versions is settled.
 *
 * The value of a row is a pure function of its heads and registers in canonical order. A policy sees nothing else: no
 * side, no arrival order, no time of day. So any policy gives the same value on every replica that holds the same state,
 * and nothing is ever written back by itself.
 *
 * Invariants:
 * Y1  A policy is asked only about what is concurrent: happens-before has been decided by clocks already.
 * Y2  Name and version identify a policy; replicas that disagree about them are told before they sync.
 */
import { type Head, type RowState, sameStamp, type Version } from './row.ts'

export type Granularity = 'fields' | 'row'

export interface Policy {
  readonly name: string
  /** Raised whenever the outcome for any input changes. */
  readonly version: number
  /** The head that decides whether the row exists (and, with row granularity, its content). Given 2 or more, sorted. */
  readonly pickHead: (heads: readonly Head[]) => Head
  /** The version that a field shows. Given 2 or more, sorted. */
  readonly pickVersion: (versions: readonly Version[]) => Version
  /** True: the value is provisional, and the conflict stays open until somebody resolves it. */
  readonly escalates: boolean
}

const first = <T>(items: readonly T[]): T => items[0] as T
const last = <T>(items: readonly T[]): T => items[items.length - 1] as T
const isDelete = (head: Head): boolean => head.op === 'delete'

const LAST_WRITE_WINS: Policy = {
  name: 'lastWriteWins',
  version: 1,
  pickHead: last,
  pickVersion: last,
  escalates: false,
}

/** The later timestamp wins; ties go to the higher replica id. The default. */
export function lastWriteWins(): Policy {
  return LAST_WRITE_WINS
}

const CAUSAL: Policy = { ...LAST_WRITE_WINS, name: 'causal', escalates: true }

/** Happens-before wins. What is concurrent shows the later value for the time being, and waits for a decision. */
export function causal(): Policy {
  return CAUSAL
}

const FIRST_WRITE_WINS: Policy = {
  name: 'firstWriteWins',
  version: 1,
  pickHead: first,
  pickVersion: first,
  escalates: false,
}

/** The earlier timestamp wins: reservations, claims. */
export function firstWriteWins(): Policy {
  return FIRST_WRITE_WINS
}

const DELETE_WINS: Policy = {
  ...LAST_WRITE_WINS,
  name: 'deleteWins',
  pickHead: (heads) => heads.find(isDelete) ?? last(heads),
}

/** A row that anybody deleted stays deleted, whatever was written at the same time. */
export function deleteWins(): Policy {
  return DELETE_WINS
}

const UPDATE_WINS: Policy = {
  ...LAST_WRITE_WINS,
  name: 'updateWins',
  pickHead: (heads) => last(heads.filter((head) => !isDelete(head))) ?? last(heads),
}

/** A row that anybody wrote to survives a concurrent delete, as a whole row. */
export function updateWins(): Policy {
  return UPDATE_WINS
}

/** What a row amounts to. */
export interface SettledRow {
  /** The head that decided; undefined for a row that never was. */
  readonly winner: Head | undefined
  readonly isAlive: boolean
  /** One version for each field, sorted by name index; empty when the row does not exist. */
  readonly versions: readonly Version[]
}

const ABSENT: SettledRow = { winner: undefined, isAlive: false, versions: [] }

export function isRowAlive(row: RowState, policy: Policy): boolean {
  const head = pickHead(row, policy)
  return head !== undefined && head.op !== 'delete'
}

function pickHead(row: RowState, policy: Policy): Head | undefined {
  return row.heads.length > 1 ? policy.pickHead(row.heads) : row.heads[0]
}

/** The value of a row: which version each of its fields shows. */
export function settleRow(row: RowState, policy: Policy, granularity: Granularity): SettledRow {
  const winner = pickHead(row, policy)
  if (winner === undefined) return ABSENT
  if (winner.op === 'delete') return { winner, isAlive: false, versions: [] }
  if (granularity === 'row') return { winner, isAlive: true, versions: versionsOf(row, winner) }
  return { winner, isAlive: true, versions: settleVersions(row.versions, policy) }
}

/** What one head wrote and is still in the registers. */
export function versionsOf(row: RowState, head: Head): readonly Version[] {
  return row.versions.filter((version) => sameStamp(version.stamp, head))
}

function settleVersions(versions: readonly Version[], policy: Policy): readonly Version[] {
  let isSimple = true
  for (let at = 1; at < versions.length; at++) {
    if ((versions[at] as Version).name === (versions[at - 1] as Version).name) isSimple = false
  }
  if (isSimple) return versions
  const settled: Version[] = []
  for (let at = 0; at < versions.length; ) {
    let end = at + 1
    while (end < versions.length && (versions[end] as Version).name === (versions[at] as Version).name) end++
    settled.push(end - at === 1 ? (versions[at] as Version) : policy.pickVersion(versions.slice(at, end)))
    at = end
  }
  return settled
}
