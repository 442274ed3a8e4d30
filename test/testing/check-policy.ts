/**
 * The law checker: searches for a case in which a policy does not give one answer everywhere, and tells the smallest one it
 * finds as code.
 */
import fc from 'fast-check'
import type { FieldPolicy, Granularity, Policy, Value } from '../../core/index.ts'
import { toCode } from './as-code.ts'
import { fieldCases, type PolicyCase, rowCases } from './policy-case.ts'
import { type Finding, type PolicyFlawKind, tryPolicy, type Versions } from './policy-trial.ts'

export interface CheckPolicyOptions {
  /** Random cases to try; 300 by default. */
  readonly runs?: number
  /** For the same cases again: the `seed` of a flaw. */
  readonly seed?: number
  /** Most concurrent versions in a case; 5 by default. */
  readonly versionsMax?: number
  /** Of the table that a row policy is for; `fields` by default. */
  readonly granularity?: Granularity
  /** How long the policy may take over one case before it counts as endless, in milliseconds; 1000 by default. */
  readonly timeoutMs?: number
}

export interface PolicyFlaw {
  readonly kind: PolicyFlawKind
  /** One sentence. */
  readonly reason: string
  /** The smallest case found, to paste. */
  readonly code: string
  /** Finds it again. */
  readonly seed: number
}

/** What `checkPolicy` throws: its message has the sentence and the code. */
export class PolicyFlawError extends Error {
  override readonly name: string = 'PolicyFlawError'
  readonly flaw: PolicyFlaw

  constructor(flaw: PolicyFlaw) {
    super(`${flaw.reason}\n\n${flaw.code}\n\nTo try the same cases again: { seed: ${flaw.seed} }`)
    this.flaw = flaw
  }
}

type Row = Readonly<Record<string, Value>>

/**
 * Tries a policy on random cases: that it comes back, throws nothing, changes nothing, answers with what can be stored,
 * and gives the answer that the set of versions has, whenever, wherever and in whatever order they came. Throws
 * `PolicyFlawError` with the smallest case that shows otherwise.
 *
 * `values` makes what stands in the field or, for a policy of rows, whole rows: give values that are alike, so that ties
 * happen. A policy that could remember something is best given as a function that makes one: each replica has its own.
 */
export function checkPolicy(
  policy: FieldPolicy | (() => FieldPolicy),
  values: fc.Arbitrary<Value>,
  options?: CheckPolicyOptions,
): void
export function checkPolicy(
  policy: Policy | (() => Policy),
  rows: fc.Arbitrary<Row>,
  options?: CheckPolicyOptions,
): void
export function checkPolicy(
  policy: Policy | FieldPolicy | (() => Policy | FieldPolicy),
  values: fc.Arbitrary<Value>,
  options: CheckPolicyOptions = {},
): void {
  const flaw = findPolicyFlaw(policy, values, options)
  if (flaw !== undefined) throw new PolicyFlawError(flaw)
}

/** After so many endless cases the smallest so far will do: each takes as long as it may. */
const ENDLESS_MAX = 8

/** Like `checkPolicy`, but answers with the flaw. */
export function findPolicyFlaw(
  policy: Policy | FieldPolicy | (() => Policy | FieldPolicy),
  values: fc.Arbitrary<Value>,
  options: CheckPolicyOptions = {},
): PolicyFlaw | undefined {
  const { runs = 300, versionsMax = 5, granularity = 'fields', timeoutMs = 1_000 } = options
  const create = typeof policy === 'function' ? policy : () => policy
  const { name } = create()
  let smallest: Finding | undefined
  let smallestCase: PolicyCase | undefined
  let endless = 0
  const isGood = (policyCase: PolicyCase): boolean => {
    if (endless >= ENDLESS_MAX) return true
    const finding = tryPolicy(policyCase, { create, granularity, timeoutMs })
    // Shrinking stays with the kind it began with.
    if (finding === undefined || (smallest !== undefined && smallest.kind !== finding.kind)) return true
    if (finding.kind === 'endless') endless++
    smallest = finding
    smallestCase = policyCase
    return false
  }
  const seed = options.seed === undefined ? {} : { seed: options.seed }
  const details = fc.check(fc.property(casesOf(create(), values, versionsMax, granularity), isGood), {
    numRuns: runs,
    ...seed,
  })
  if (smallest === undefined) {
    // Not the policy's: the arbitrary's, or a bug of the checker.
    if (details.failed) throw details.errorInstance ?? new Error('the check itself failed')
    return undefined
  }
  if (smallestCase !== undefined) dropNeedless(smallestCase, (fewer) => !isGood(fewer))
  const isRow = !('decideField' in create())
  return {
    kind: smallest.kind,
    reason: `Policy ${name} ${smallest.what}.`,
    code: tellCode(smallest, isRow),
    seed: details.seed,
  }
}

/** Takes changes away as long as the flaw stays: fast-check takes them from the front only. */
function dropNeedless(policyCase: PolicyCase, isFlawed: (fewer: PolicyCase) => boolean): void {
  const { changes } = policyCase
  for (let at = 0; changes.length > 2 && at < changes.length; at++) {
    const fewer = { ...policyCase, changes: changes.filter((_, index) => index !== at) }
    if (isFlawed(fewer)) return dropNeedless(fewer, isFlawed)
  }
}

function casesOf(
  policy: Policy | FieldPolicy,
  values: fc.Arbitrary<Value>,
  versionsMax: number,
  granularity: Granularity,
): fc.Arbitrary<PolicyCase> {
  if ('decideField' in policy) return fieldCases(values, versionsMax)
  return rowCases(values as fc.Arbitrary<Row>, versionsMax, granularity)
}

// ── As code ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function tellCode({ kind, calls, answers }: Finding, isRow: boolean): string {
  const call = isRow ? 'policy.decide' : 'policy.decideField'
  const [first = [], second = []] = calls
  if (kind === 'order') {
    return [
      '// On one replica, as changes arrive:',
      ...tellCalls(call, first, 'first'),
      `// ${toCode(answers[0])}`,
      '// On another, by another way:',
      ...tellCalls(call, second, 'second'),
      `// ${toCode(answers[1])}`,
      'assert.deepEqual(first, second)',
    ].join('\n')
  }
  const versions = first.at(-1)
  if (versions === undefined) return '// No call of its own code shows it: it happens where the engine picks.'
  const lines = ['const versions = [', ...versions.map((version) => `  ${toCode(version)},`), ']']
  if (kind === 'nondeterminism') {
    lines.push(`const first = ${call}(versions) // ${toCode(answers[0])}`)
    lines.push(`const second = ${call}(versions) // elsewhere, at another time: ${toCode(answers[1])}`)
    lines.push('assert.deepEqual(first, second)')
  } else if (kind === 'mutation') {
    lines.push('const before = structuredClone(versions)', `${call}(versions)`, 'assert.deepEqual(versions, before)')
  } else lines.push(`${call}(versions)${answers.length > 0 ? ` // ${toCode(answers[0])}` : ''}`)
  return lines.join('\n')
}

function tellCalls(call: string, calls: readonly Versions[], name: string): string[] {
  return calls.map((versions, index) => {
    const list = versions.map(toCode).join(', ')
    return `${index === calls.length - 1 ? `const ${name} = ` : ''}${call}([${list}])`
  })
}
