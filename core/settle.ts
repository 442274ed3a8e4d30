/**
 * Settling: what a row amounts to. A pure function of its state and its table's policies.
 *
 * Knows: which version each field shows, and where a policy's own code failed. Must never know: sides, order, time, stores.
 *
 * Invariants:
 * V6  Equal states settle equally on every replica, whatever their dictionaries and histories.
 * V7  A policy's own code sees copies in canonical order. When it throws, reads more than its budget or answers with
 *     something that cannot be stored, the row is settled by last write, and says so. Nothing is written back.
 */
import type { Dictionaries } from './block.ts'
import { clockCovers, type Dot } from './clock.ts'
import { decodeField, isCounter, sumCounters } from './counter.ts'
import type { ReplicaId } from './names.ts'
import { type ConcurrentRow, type FieldPolicy, type Granularity, lastWriteWins, type Policy } from './policy.ts'
import { type Head, type RowState, type Stamp, sameStamp, sameValue, type Version } from './row.ts'
import { timestampToMs } from './timestamp.ts'
import { encodeValue, type Value } from './value.ts'

/** The parts of a table definition that settling needs. */
export interface SettleRules {
  readonly granularity: Granularity
  readonly policy: Policy
  readonly fields: ReadonlyMap<string, FieldPolicy | Policy>
}

/** What a row amounts to. */
export interface SettledRow {
  /** The head that decided; undefined for a row that never was, and where a policy's own code made something new. */
  readonly winner: Head | undefined
  readonly isAlive: boolean
  /** One version for each field, sorted by name index; empty when the row does not exist. */
  readonly versions: readonly Version[]
  /** Why a policy's own code was not followed, if it was not. */
  readonly fallback: string | undefined
}

const ABSENT: SettledRow = { winner: undefined, isAlive: false, versions: [], fallback: undefined }

/** True when the row exists under its policy. */
export function isRowAlive(row: RowState, rules: SettleRules, dictionaries: Dictionaries): boolean {
  if (row.heads.length > 1 && rules.policy.decide !== undefined) return settleRow(row, rules, dictionaries).isAlive
  const head = pickHead(row, rules.policy)
  return head !== undefined && head.op !== 'delete'
}

function pickHead(row: RowState, policy: Policy): Head | undefined {
  return row.heads.length > 1 ? policy.pickHead(row.heads) : row.heads[0]
}

export function settleRow(row: RowState, rules: SettleRules, dictionaries: Dictionaries): SettledRow {
  if (row.heads.length > 1 && rules.policy.decide !== undefined) return settleByDecision(row, rules, dictionaries)
  return settleByPick(row, rules, dictionaries)
}

function settleByPick(row: RowState, rules: SettleRules, dictionaries: Dictionaries): SettledRow {
  const winner = pickHead(row, rules.policy)
  if (winner === undefined) return ABSENT
  if (winner.op === 'delete') return { winner, isAlive: false, versions: [], fallback: undefined }
  if (rules.granularity === 'row') {
    return { winner, isAlive: true, versions: versionsOf(row, winner), fallback: undefined }
  }
  return { winner, isAlive: true, ...settleFields(row.versions, rules, dictionaries) }
}

/** True when the writer of a head knew the change, or wrote it. */
export function hasSeen(head: Head, { replica, seq }: Stamp): boolean {
  return clockCovers(head.clock, replica, seq)
}

/** What one head wrote and is still in the registers. */
export function versionsOf(row: RowState, head: Stamp): readonly Version[] {
  return row.versions.filter((version) => sameStamp(version.stamp, head))
}

// ── Fields ──────────────────────────────────────────────────────────────────────────────────────────────────────────

function settleFields(
  versions: readonly Version[],
  rules: SettleRules,
  dictionaries: Dictionaries,
): Pick<SettledRow, 'versions' | 'fallback'> {
  let isSimple = true
  for (let at = 1; at < versions.length; at++) {
    if ((versions[at] as Version).name === (versions[at - 1] as Version).name) isSimple = false
  }
  if (isSimple) return { versions, fallback: undefined }
  const settled: Version[] = []
  let fallback: string | undefined
  for (let at = 0; at < versions.length; ) {
    let end = at + 1
    while (end < versions.length && (versions[end] as Version).name === (versions[at] as Version).name) end++
    if (end - at === 1) settled.push(versions[at] as Version)
    else {
      const field = settleField(versions.slice(at, end), rules, dictionaries)
      settled.push(field.version)
      fallback ??= field.fallback
    }
    at = end
  }
  return { versions: settled, fallback }
}

export interface SettledField {
  readonly version: Version
  /** True when the value is none of those given, but made of them. */
  readonly isMade: boolean
  readonly fallback: string | undefined
}

/** What a field with several concurrent versions shows. */
export function settleField(
  versions: readonly Version[],
  rules: SettleRules,
  dictionaries: Dictionaries,
): SettledField {
  const newest = versions[versions.length - 1] as Version
  if (versions.some(isCounter)) {
    // Plain values come from before the field was a counter: one of them is where it started.
    const plain = versions.filter((version) => !isCounter(version))
    const start = plain.length === 0 ? [] : [rules.policy.pickVersion(plain)]
    const parts = [...versions.filter(isCounter), ...start]
    return { version: withValue(newest, sumCounters(parts)), isMade: true, fallback: undefined }
  }
  const name = dictionaries.names.textOf(newest.name)
  const policy = rules.fields.get(name) ?? rules.policy
  if (!('decideField' in policy)) return { version: policy.pickVersion(versions), isMade: false, fallback: undefined }
  const given = versions.map((version) => ({
    dot: toDot(version.stamp, dictionaries),
    time: timestampToMs(version.stamp.timestamp),
    value: decodeField(version),
  }))
  const outcome = runBounded(policy.name, given, (input) => withValue(newest, policy.decideField(input)))
  if (outcome.type === 'failed') {
    return { version: lastWriteWins().pickVersion(versions), isMade: false, fallback: outcome.reason }
  }
  const same = versions.filter((version) => sameValue(version, outcome.result)).pop()
  return { version: same ?? outcome.result, isMade: same === undefined, fallback: undefined }
}

/** A version that no change wrote: what a policy made of several. It carries the stamp of the newest of them. */
function withValue({ name, stamp }: Version, value: unknown): Version {
  const bytes = encodeValue(value)
  return { name, stamp, bytes, start: 0, end: bytes.length }
}

// ── Rows by a policy's own code ─────────────────────────────────────────────────────────────────────────────────────

function settleByDecision(row: RowState, rules: SettleRules, dictionaries: Dictionaries): SettledRow {
  const decide = rules.policy.decide as NonNullable<Policy['decide']>
  const newest = row.heads[row.heads.length - 1] as Head
  const outcome = runBounded(rules.policy.name, concurrentRows(row, dictionaries), (input) => {
    const values = decide(input)
    return values === null ? null : toSynthetic(values, newest, dictionaries)
  })
  if (outcome.type === 'failed') {
    return { ...settleByPick(row, { ...rules, policy: lastWriteWins() }, dictionaries), fallback: outcome.reason }
  }
  const versions = outcome.result
  if (versions === null) {
    return { winner: row.heads.find((head) => head.op === 'delete'), isAlive: false, versions: [], fallback: undefined }
  }
  return { winner: undefined, isAlive: true, versions, fallback: undefined }
}

/** Every head as its writer left the row, as far as the state still knows. */
export function concurrentRows(row: RowState, dictionaries: Dictionaries): ConcurrentRow[] {
  return row.heads.map((head) => {
    const seen = row.versions.filter((version) => hasSeen(head, version.stamp))
    const isNews = ({ stamp }: Version): boolean => row.heads.some((other) => !hasSeen(other, stamp))
    return {
      dot: toDot(head, dictionaries),
      op: head.op === 'replace' ? 'update' : head.op,
      time: timestampToMs(head.timestamp),
      written: seen.filter(isNews).map((version) => dictionaries.names.textOf(version.name)),
      row: head.op === 'delete' ? undefined : decodeVersions(seen, dictionaries),
    }
  })
}

function toSynthetic(values: object, stamp: Stamp, { names }: Dictionaries): Version[] {
  const versions: Version[] = []
  for (const [field, value] of Object.entries(values)) {
    if (field === 'id') continue
    const name = names.find(field)
    if (name < 0) throw new TypeError(`the policy answered with a field ${field} that no replica wrote`)
    versions.push(withValue({ name, stamp, bytes: EMPTY, start: 0, end: 0 }, value))
  }
  return versions.sort((a, b) => a.name - b.name)
}
const EMPTY = new Uint8Array(0)

export function decodeVersions(versions: readonly Version[], { names }: Dictionaries): Record<string, Value> {
  const values = Object.create(null) as Record<string, Value>
  for (const version of versions) values[names.textOf(version.name)] = decodeField(version)
  return values
}

export function toDot({ replica, seq }: Stamp, { replicas }: Dictionaries): Dot {
  return { replica: replicas.textOf(replica) as ReplicaId, seq }
}

// ── A policy's own code ─────────────────────────────────────────────────────────────────────────────────────────────

/**
 * How many reads of its input a policy may make: a count and not a time, so that it fails on all replicas or on none. A loop
 * that never looks at its input cannot be stopped from inside the language; `checkPolicy` finds those before they ship.
 */
const READS_MAX = 100_000

type Outcome<Result> =
  | { readonly type: 'done'; readonly result: Result }
  | { readonly type: 'failed'; readonly reason: string }

function runBounded<Input extends object, Result>(
  name: string,
  input: Input,
  run: (input: Input) => Result,
): Outcome<Result> {
  try {
    return { type: 'done', result: run(countReads(input)) }
  } catch (error) {
    const what = error instanceof Error ? error.message : String(error)
    return { type: 'failed', reason: `policy ${name} failed (${what}), so the last write is shown` }
  }
}

/** The input behind a proxy that counts reads at every level and allows no change. */
function countReads<Input extends object>(input: Input): Input {
  let reads = 0
  const wrap = <Part>(part: Part): Part => {
    if (typeof part !== 'object' || part === null || part instanceof Date || part instanceof Uint8Array) return part
    return new Proxy(part, {
      get: (target, key, receiver) => {
        if (++reads > READS_MAX) throw new RangeError(`it read its input more than ${READS_MAX} times`)
        return wrap(Reflect.get(target, key, receiver))
      },
      set: () => false,
      defineProperty: () => false,
      deleteProperty: () => false,
    })
  }
  return wrap(input)
}
