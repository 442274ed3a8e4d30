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
import { compareBytes } from './bytes.ts'
import type { Dot } from './clock.ts'
import { TidemarkError } from './errors.ts'
import { isName, quote } from './names.ts'
import type { Head, Version } from './row.ts'
import { compareCodePoints, encodeValue, type Value } from './value.ts'

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
  /** Decides whole rows instead of picking; falls back to the picks above when it fails. */
  readonly decide?: DecideRow
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

// ── Your own ────────────────────────────────────────────────────────────────────────────────────────────────────────

/** One of several concurrent versions of a row, as its writer left it. */
export interface ConcurrentRow {
  readonly dot: Dot
  readonly op: 'insert' | 'update' | 'delete'
  /** Unix milliseconds, from the writer's hybrid clock. */
  readonly time: number
  /** The fields that this side changed and another had not seen. */
  readonly written: readonly string[]
  /** The row as this side left it; in fields that only others wrote since, what they wrote. Undefined for a delete. */
  readonly row: Readonly<Record<string, Value>> | undefined
}

/** What the engine itself has to say about the answer of a policy, or of what it was given. */
export class PolicyError extends Error {}

/** Given 2 or more versions in canonical order; answers with the fields of the row, or null for "deleted". */
export type DecideRow = (versions: readonly ConcurrentRow[]) => Readonly<Record<string, Value>> | null

/**
 * A policy of your own. It must be a pure function of its argument: no time, no randomness, nothing from outside. What it
 * answers is a view: nothing is written back. `checkPolicy` of tidemark/testing searches for a case that breaks this.
 */
export function custom(name: string, version: number, decide: DecideRow): Policy {
  return { ...LAST_WRITE_WINS, ...parseIdentity(name, version), decide }
}

// ── Policies of one field ───────────────────────────────────────────────────────────────────────────────────────────

export interface ConcurrentValue {
  readonly dot: Dot
  readonly time: number
  readonly value: Value
}

/** Given 2 or more concurrent values of one field in canonical order; answers with the value it shows. */
export type DecideField = (versions: readonly ConcurrentValue[]) => Value

/** How one field with concurrent versions is settled. Only for tables with granularity `fields`. */
export interface FieldPolicy {
  readonly name: string
  readonly version: number
  readonly decideField: DecideField
  /** True: the field counts, and takes increments instead of values. */
  readonly isCounter?: boolean
}

export function customField(name: string, version: number, decideField: DecideField): FieldPolicy {
  return { ...parseIdentity(name, version), decideField }
}

/** The greatest value: numbers, texts or dates, all of one type. */
export function max(): FieldPolicy {
  return { name: 'max', version: 1, decideField: (versions) => extreme(versions, 1) }
}

/** The smallest value: numbers, texts or dates, all of one type. */
export function min(): FieldPolicy {
  return { name: 'min', version: 1, decideField: (versions) => extreme(versions, -1) }
}

function extreme(versions: readonly ConcurrentValue[], sign: 1 | -1): Value {
  let best = first(versions).value
  for (const { value } of versions) {
    if (typeof value !== typeof best) throw new PolicyError('values of different types have no order')
    if (compareScalars(value, best) * sign > 0) best = value
  }
  return best
}

function compareScalars(left: Value, right: Value): number {
  if (typeof left === 'number' && typeof right === 'number') return left - right
  if (typeof left === 'string' && typeof right === 'string') return compareCodePoints(left, right)
  if (left instanceof Date && right instanceof Date) return left.getTime() - right.getTime()
  throw new PolicyError('only numbers, texts and dates have an order')
}

/** The set union of arrays: distinct elements, in canonical order. What is taken out on one side stays if another keeps it. */
export function union(): FieldPolicy {
  return { name: 'union', version: 1, decideField: uniteArrays }
}

function uniteArrays(versions: readonly ConcurrentValue[]): Value {
  const byBytes = new Map<string, { readonly key: Uint8Array; readonly value: Value }>()
  for (const { value } of versions) {
    if (!Array.isArray(value)) throw new PolicyError('union needs arrays')
    for (const item of value as readonly Value[]) {
      const key = encodeValue(item)
      byBytes.set(key.join(), { key, value: item })
    }
  }
  return [...byBytes.values()].sort((a, b) => compareBytes(a.key, b.key)).map(({ value }) => value)
}

/** The longest text; of equally long ones the later. */
export function longestText(): FieldPolicy {
  return {
    name: 'longestText',
    version: 1,
    decideField: (versions) => {
      let best = ''
      for (const { value } of versions) {
        if (typeof value !== 'string') throw new PolicyError('longestText needs texts')
        if (value.length >= best.length) best = value
      }
      return best
    },
  }
}

/**
 * A number that replicas count up and down: concurrent increments add up. Written with `increment(n)`; inserted with a plain
 * number to start from. Inserting the row anew starts from zero.
 */
export function counter(): FieldPolicy {
  return { name: 'counter', version: 1, isCounter: true, decideField: (versions) => last(versions).value }
}

/** The policies that come with the engine, by name. */
export const POLICIES: ReadonlyMap<string, Policy> = new Map(
  [LAST_WRITE_WINS, CAUSAL, FIRST_WRITE_WINS, DELETE_WINS, UPDATE_WINS].map((policy) => [policy.name, policy]),
)
export const FIELD_POLICIES: ReadonlyMap<string, FieldPolicy> = new Map(
  [max(), min(), union(), longestText(), counter()].map((policy) => [policy.name, policy]),
)

function parseIdentity(name: string, version: number): { readonly name: string; readonly version: number } {
  if (!isName(name)) throw new TidemarkError('bad-name', `${quote(name)} is not a policy name`)
  // Another policy by that name would pass for it at hello.
  if (POLICIES.has(name) || FIELD_POLICIES.has(name)) {
    throw new TidemarkError('bad-name', `${name} is the name of a policy that comes with the engine`, {
      remedy: 'Give a policy of your own a name of its own',
    })
  }
  if (!Number.isSafeInteger(version) || version < 1) {
    throw new TidemarkError(
      'bad-option',
      `the version of policy ${name} must be a whole number from 1, not ${quote(version)}`,
    )
  }
  return { name, version }
}
