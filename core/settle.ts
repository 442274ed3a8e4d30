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
import type { Dictionaries, Names } from './block.ts'
import { clockCovers, type Dot } from './clock.ts'
import { decodeField, isCounter, sumCounters } from './counter.ts'
import { quote, type ReplicaId } from './names.ts'
import {
  type ConcurrentRow,
  type FieldPolicy,
  type Granularity,
  lastWriteWins,
  type Policy,
  PolicyError,
} from './policy.ts'
import {
  type Head,
  publicOp,
  type RowState,
  type Stamp,
  sameStamp,
  sameValue,
  type Version,
  writesWholeRow,
} from './row.ts'
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
  if (rules.granularity === 'row') return { winner, isAlive: true, ...settleWhole(row, winner, rules, dictionaries) }
  return { winner, isAlive: true, ...settleFields(row.versions, rules, dictionaries) }
}

/** True when the writer of a head knew the change, or wrote it. */
export function hasSeen(head: Head, { replica, seq }: Stamp): boolean {
  return clockCovers(head.clock, replica, seq)
}

/** The row of one writer. Where the table was settled by fields once, its last change may be an update of a few of them. */
export function settleWhole(
  row: RowState,
  head: Head,
  rules: SettleRules,
  dictionaries: Dictionaries,
): Pick<SettledRow, 'versions' | 'fallback'> {
  if (!writesWholeRow(head.op)) return settleFields(leftBy(row, head, rules), rules, dictionaries)
  return { versions: row.versions.filter(({ stamp }) => sameStamp(stamp, head)), fallback: undefined }
}

/**
 * What the writer of a head left of the row. What it had in a field that only others wrote since is not known any more: such a
 * field has what they wrote, so that it is a whole row, unless its writer wrote all of it.
 */
function leftBy(row: RowState, head: Head, { granularity }: SettleRules): readonly Version[] {
  const seen = row.versions.filter(({ stamp }) => hasSeen(head, stamp))
  if (granularity === 'row' && writesWholeRow(head.op)) return seen
  return row.versions.filter((version) => seen.includes(version) || !seen.some(({ name }) => name === version.name))
}

// ── Fields ──────────────────────────────────────────────────────────────────────────────────────────────────────────

/** One version for each field. Given some that may be concurrent, sorted by name index, then canonically. */
export function settleFields(
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
  const fallbacks: [name: string, reason: string][] = []
  for (let at = 0; at < versions.length; ) {
    let end = at + 1
    while (end < versions.length && (versions[end] as Version).name === (versions[at] as Version).name) end++
    if (end - at === 1) settled.push(versions[at] as Version)
    else {
      const field = settleField(versions.slice(at, end), rules, dictionaries)
      settled.push(field.version)
      if (field.fallback !== undefined) fallbacks.push([dictionaries.names.textOf(field.version.name), field.fallback])
    }
    at = end
  }
  // By name and not by index: of several the same one on every replica (V6).
  const [first] = fallbacks.sort(([a], [b]) => (a < b ? -1 : 1))
  return { versions: settled, fallback: first?.[1] }
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
    return { version: withValue(newest, sumCounters(parts, dictionaries.replicas)), isMade: true, fallback: undefined }
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
  const outcome = runBounded(rules.policy.name, concurrentRows(row, rules, dictionaries), (input) => {
    const values = decide(input)
    return values === null ? null : toSynthetic(values, row, newest, dictionaries)
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

/** Every head as its writer left the row. Nothing in it depends on the store (V6). */
export function concurrentRows(row: RowState, rules: SettleRules, dictionaries: Dictionaries): ConcurrentRow[] {
  const { names } = dictionaries
  return row.heads.map((head) => {
    const seen = row.versions.filter((version) => hasSeen(head, version.stamp))
    const news = seen.filter(({ stamp }) => row.heads.some((other) => !hasSeen(other, stamp)))
    return {
      dot: toDot(head, dictionaries),
      op: publicOp(head),
      time: timestampToMs(head.timestamp),
      written: [...new Set(news.map(({ name }) => names.textOf(name)))].sort(),
      row: head.op === 'delete' ? undefined : decodeSettled(leftBy(row, head, rules), rules, dictionaries),
    }
  })
}

export function decodeSettled(
  versions: readonly Version[],
  rules: SettleRules,
  dictionaries: Dictionaries,
): Record<string, Value> {
  return decodeVersions(settleFields(versions, rules, dictionaries).versions, dictionaries)
}

/**
 * What a policy's own code answered. It may use the fields that the row has, and no others: a name that only this store has
 * met would pass here and fail elsewhere.
 */
function toSynthetic(values: object, row: RowState, stamp: Stamp, { names }: Dictionaries): Version[] {
  const prototype: unknown = typeof values === 'object' ? Object.getPrototypeOf(values) : undefined
  if (prototype !== null && prototype !== Object.prototype) {
    throw new PolicyError('it answered with something that is neither a plain object nor null')
  }
  const versions: Version[] = []
  for (const [field, value] of Object.entries(values)) {
    if (field === 'id') continue
    const name = names.find(field)
    if (!row.versions.some((version) => version.name === name)) {
      throw new PolicyError(`it answered with a field ${quote(field)} that the row does not have`)
    }
    versions.push(withValue({ name, stamp, bytes: EMPTY, start: 0, end: 0 }, value))
  }
  return versions.sort((a, b) => a.name - b.name)
}
const EMPTY = new Uint8Array(0)

/** The fields in the order of their names, which is the same in every store; the order of name indexes is not (V6). */
export function decodeVersions(versions: readonly Version[], { names }: Dictionaries): Record<string, Value> {
  const values = Object.create(null) as Record<string, Value>
  for (const version of byName(versions, names)) values[names.textOf(version.name)] = decodeField(version)
  return values
}

/** Mostly the names of a row were learned together, in their order, and nothing has to be moved. */
function byName(versions: readonly Version[], names: Names): readonly Version[] {
  for (let at = 1; at < versions.length; at++) {
    if (names.textOf((versions[at] as Version).name) > names.textOf((versions[at - 1] as Version).name)) continue
    return [...versions].sort((a, b) => (names.textOf(a.name) < names.textOf(b.name) ? -1 : 1))
  }
  return versions
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
    return { type: 'failed', reason: `policy ${name} failed (${messageOf(error)}), so the last write is shown` }
  }
}

/** What a policy's own code threw may quote values. */
export function withoutMessage(fallback: string): string {
  return fallback.replace(/ \(.*\)(?=, so the last write is shown$)/s, '')
}

const MESSAGE_MAX = 200

/** Mistakes that the language finds: each browser words them in its own way. */
const ERRORS_OF_THE_LANGUAGE = [TypeError, RangeError, ReferenceError, SyntaxError, EvalError, URIError]

/** What was thrown may be anything, and may throw itself. Nothing in the text depends on where the code ran (V6). */
function messageOf(error: unknown): string {
  try {
    const mistake = ERRORS_OF_THE_LANGUAGE.find((type) => error instanceof type)
    if (mistake !== undefined) return `its code threw a ${mistake.name}`
    return String(error instanceof Error ? error.message : error).slice(0, MESSAGE_MAX)
  } catch {
    return 'it threw something that cannot be shown'
  }
}

/**
 * The input behind proxies that count reads at every level, of values and of keys, and allow no change. Each part has one
 * proxy, so that a policy finds again what it has found before.
 */
function countReads<Input extends object>(input: Input): Input {
  let left = READS_MAX
  const proxies = new WeakMap<object, object>()
  const count = (): void => {
    if (left-- === 0) throw new PolicyError(`it read its input more than ${READS_MAX} times`)
  }
  const wrap = <Part>(part: Part): Part => {
    if (typeof part !== 'object' || part === null || part instanceof Date || part instanceof Uint8Array) return part
    let proxy = proxies.get(part)
    if (proxy === undefined) {
      proxy = new Proxy(part, handler)
      proxies.set(part, proxy)
    }
    return proxy as Part
  }
  const handler: ProxyHandler<object> = {
    get: (target, key) => {
      count()
      return wrap(Reflect.get(target, key) as unknown)
    },
    has: (target, key) => {
      count()
      return Reflect.has(target, key)
    },
    ownKeys: (target) => {
      count()
      return Reflect.ownKeys(target)
    },
    getOwnPropertyDescriptor: (target, key) => {
      count()
      const descriptor = Reflect.getOwnPropertyDescriptor(target, key)
      return descriptor && { ...descriptor, value: wrap(descriptor.value as unknown) }
    },
    getPrototypeOf: (target) => {
      count()
      return Reflect.getPrototypeOf(target)
    },
    set: () => false,
    defineProperty: () => false,
    deleteProperty: () => false,
    setPrototypeOf: () => false,
    preventExtensions: () => false,
  }
  return wrap(input)
}
