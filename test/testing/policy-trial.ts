/**
 * A trial: one policy, one case, and the first thing that is wrong with how the one answers the other.
 *
 * First the policy's own code is called with what the engine would hand it, and watched. Then the case comes to three stores by
 * three ways, through the engine, and the rows that are shown there in the end are compared.
 * Knows: policies, and how to watch them. Must never know: where cases come from, or how a flaw is told.
 */
import { isDeepStrictEqual } from 'node:util'
import { decodeField } from '../../core/counter.ts'
import type { ConcurrentRow, ConcurrentValue, FieldPolicy, Granularity, Policy } from '../../core/index.ts'
import type { Version } from '../../core/row.ts'
import { concurrentRows, decodeVersions, type SettleRules, settleRow, toDot } from '../../core/settle.ts'
import { timestampToMs } from '../../core/timestamp.ts'
import { encodeValue } from '../../core/value.ts'
import { EndlessError, runElsewhere, runGuarded } from './guard.ts'
import { CaseStore, FIELD, type PolicyCase, ROUTES } from './policy-case.ts'

/** What can be wrong with a policy. */
export type PolicyFlawKind =
  /** The answer is another one by another order of arrival: the policy remembers. */
  | 'order'
  /** The answer to the same question is another one at another time, or by chance. */
  | 'nondeterminism'
  | 'throws'
  /** It changes what it is given. */
  | 'mutation'
  /** The answer is not a value, not a row, or has fields that the row does not have. */
  | 'unstorable'
  /** It does not come back, or reads its input without end. */
  | 'endless'

export type Versions = readonly ConcurrentRow[] | readonly ConcurrentValue[]

export interface Finding {
  readonly kind: PolicyFlawKind
  /** What happened, as the end of a sentence about the policy. */
  readonly what: string
  /** What it was given: the last of these is the question in the case. */
  readonly calls: readonly (readonly Versions[])[]
  readonly answers: readonly unknown[]
}

export interface TrialOptions {
  /** A policy for each replica: the same one each time, or a new one. */
  readonly create: () => Policy | FieldPolicy
  readonly granularity: Granularity
  readonly timeoutMs: number
}

export function tryPolicy(policyCase: PolicyCase, options: TrialOptions): Finding | undefined {
  try {
    return runGuarded(options.timeoutMs, () => tryCode(policyCase, options) ?? tryRoutes(policyCase, options))
  } catch (error) {
    if (!(error instanceof EndlessError)) throw error
    const policy = options.create()
    const calls = codeOf(policy) === undefined ? [] : [[questionOf(fill(policyCase), policy, options.granularity)]]
    return { kind: 'endless', what: `does not come back: ${error.message}`, calls, answers: [] }
  }
}

// ── The policy's own code ───────────────────────────────────────────────────────────────────────────────────────────

type Code = (versions: Versions) => unknown

/** The code of a policy; undefined for one that only picks. */
function codeOf(policy: Policy | FieldPolicy): Code | undefined {
  if ('decideField' in policy) return (versions) => policy.decideField(versions as readonly ConcurrentValue[])
  const { decide } = policy
  return decide && ((versions) => decide(versions as readonly ConcurrentRow[]))
}

function tryCode(policyCase: PolicyCase, { create, granularity }: TrialOptions): Finding | undefined {
  const policy = create()
  const code = codeOf(policy)
  if (code === undefined) return undefined
  const store = fill(policyCase)
  const ask = (): Versions => questionOf(store, policy, granularity)
  const given = ask()
  const found = (kind: PolicyFlawKind, what: string, answers: readonly unknown[] = []): Finding => {
    return { kind, what, calls: [[ask()]], answers }
  }
  try {
    const first = code(given)
    const isChanged = !isDeepStrictEqual(given, ask()) || !worksOn(freeze(ask()), code)
    if (isChanged) return found('mutation', 'changes what it is given', [first])
    const trouble = findUnstorable(policy, first, store)
    if (trouble !== undefined) return found('unstorable', trouble, [first])
    const second = runElsewhere(() => code(ask()))
    if (isSameAnswer(first, second)) return undefined
    return found('nondeterminism', 'answers the same question differently', [first, second])
  } catch (error) {
    return found('throws', `throws ${describeThrown(error)}`)
  }
}

/** False when code that has just worked fails on the same question: because that one cannot be changed. */
function worksOn(frozen: Versions, code: Code): boolean {
  try {
    code(frozen)
    return true
  } catch {
    return false
  }
}

function freeze<Part>(part: Part): Part {
  if (typeof part !== 'object' || part === null || ArrayBuffer.isView(part)) return part
  for (const inner of Object.values(part)) freeze(inner)
  return Object.freeze(part)
}

function fill(policyCase: PolicyCase): CaseStore {
  const store = new CaseStore(policyCase, 0)
  for (const change of policyCase.changes) store.apply(change)
  return store
}

/** What the engine would ask: copies that are asked for anew each time. */
function questionOf(store: CaseStore, policy: Policy | FieldPolicy, granularity: Granularity): Versions {
  if (!('decideField' in policy)) return concurrentRows(store.state, rulesOf(policy, granularity), store)
  const versions = store.state.versions.filter(({ name }) => store.names.textOf(name) === FIELD)
  return versions.map((version: Version) => ({
    dot: toDot(version.stamp, store),
    time: timestampToMs(version.stamp.timestamp),
    value: decodeField(version),
  }))
}

function findUnstorable(policy: Policy | FieldPolicy, answer: unknown, store: CaseStore): string | undefined {
  const isRow = !('decideField' in policy)
  if (answer instanceof Promise) {
    answer.catch(() => undefined)
    return 'answers with a promise, and nobody waits for it'
  }
  if (isRow && answer === null) return undefined
  if (isRow && !isPlainObject(answer)) return 'answers with something that is neither a plain object nor null'
  const fields = isRow ? Object.entries(answer as object).filter(([name]) => name !== 'id') : [[FIELD, answer] as const]
  const known = new Set(store.state.versions.map(({ name }) => store.names.textOf(name)))
  for (const [name, value] of fields) {
    if (!known.has(name)) return `answers with a field ${name} that the row does not have`
    try {
      encodeValue(value)
    } catch (error) {
      return `answers with a value that cannot be stored${isRow ? ` in ${name}` : ''}: ${describeThrown(error)}`
    }
  }
  return undefined
}

function isPlainObject(answer: unknown): boolean {
  if (typeof answer !== 'object' || answer === null) return false
  const prototype: unknown = Object.getPrototypeOf(answer)
  return prototype === null || prototype === Object.prototype
}

function isSameAnswer(left: unknown, right: unknown): boolean {
  try {
    return Buffer.compare(encodeValue(plain(left)), encodeValue(plain(right))) === 0
  } catch {
    return false
  }
}

/** Fields as pairs, which nest no deeper than a row may. */
function plain(answer: unknown): unknown {
  return isPlainObject(answer) ? JSON.stringify(toTexts(answer as Readonly<Record<string, unknown>>)) : answer
}

function toTexts(row: Readonly<Record<string, unknown>>): unknown {
  return Object.entries(row)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => [name, Buffer.from(encodeValue(value)).toString('hex')])
}

function describeThrown(error: unknown): string {
  try {
    const text = error instanceof Error ? `${error.name}: ${error.message}` : String(error)
    return text.length > 200 ? `${text.slice(0, 200)}…` : text
  } catch {
    return 'something that cannot be shown'
  }
}

// ── The engine ──────────────────────────────────────────────────────────────────────────────────────────────────────

const CHANCE_TRIES = 16

interface Arrival {
  readonly shown: string
  readonly fallback: string | undefined
  readonly calls: readonly Versions[]
  readonly answer: unknown
}

function tryRoutes(policyCase: PolicyCase, options: TrialOptions): Finding | undefined {
  const arrivals: Arrival[] = []
  try {
    for (const route of ROUTES) arrivals.push(travel(policyCase, route, options))
  } catch (error) {
    return { kind: 'throws', what: `throws ${describeThrown(error)}`, calls: [], answers: [] }
  }
  const failed = arrivals.find(({ fallback }) => fallback !== undefined)
  if (failed !== undefined) {
    const reason = failed.fallback ?? ''
    const isEndless = reason.includes('it read its input more than')
    return {
      kind: isEndless ? 'endless' : 'throws',
      what: `is not followed: ${reason}`,
      calls: [failed.calls],
      answers: [],
    }
  }
  const [first] = arrivals
  const other = arrivals.find(({ shown }) => shown !== first?.shown)
  if (first === undefined || other === undefined) return undefined
  // Chance may have answered twice alike before.
  for (let again = 0; again < CHANCE_TRIES; again++) {
    const finding = tryCode(policyCase, options)
    if (finding !== undefined) return finding
  }
  const what = 'depends on the order in which changes arrive'
  return { kind: 'order', what, calls: [first.calls, other.calls], answers: [first.answer, other.answer] }
}

/** One way to one store, where the row is looked at after every arrival. */
function travel(
  policyCase: PolicyCase,
  route: (typeof ROUTES)[number],
  { create, granularity }: TrialOptions,
): Arrival {
  const calls: Versions[] = []
  const policy = create()
  const rules = rulesOf(policy, granularity)
  const look = (store: CaseStore): ReturnType<typeof settleRow> => {
    if (store.state.heads.length > 1) calls.push(questionOf(store, policy, granularity))
    return settleRow(store.state, rules, store)
  }
  const store = route(policyCase, (each) => void look(each))
  const { isAlive, versions, fallback } = look(store)
  const row = isAlive ? decodeVersions(versions, store) : null
  const answer = 'decideField' in policy ? row?.[FIELD] : row
  return { shown: JSON.stringify(row && toTexts(row)), fallback, calls, answer }
}

function rulesOf(policy: Policy | FieldPolicy, granularity: Granularity): SettleRules {
  if (!('decideField' in policy)) return { granularity, policy: watchPicks(policy), fields: new Map() }
  return { granularity: 'fields', policy: KEEP_ALIVE, fields: new Map([[FIELD, policy]]) }
}

/** For fields the row itself is not in question. */
const KEEP_ALIVE: Policy = {
  name: 'updateWins',
  version: 1,
  pickHead: (heads) => heads[heads.length - 1] as (typeof heads)[number],
  pickVersion: (versions) => versions[versions.length - 1] as Version,
  escalates: false,
}

/** A policy that picks may only pick what it is given. */
function watchPicks(policy: Policy): Policy {
  const watch = <Item>(pick: (items: readonly Item[]) => Item): ((items: readonly Item[]) => Item) => {
    return (items) => {
      const picked = pick(items)
      if (!items.includes(picked)) throw new TypeError('it picked something that it was not given')
      return picked
    }
  }
  return { ...policy, pickHead: watch(policy.pickHead), pickVersion: watch(policy.pickVersion) }
}
