/**
 * What of a simulation is its user's: tables with policies, and stores.
 *
 * Knows: definitions as an app writes them. Must never know: what is right about them; the oracle judges.
 *
 * Invariant SU1: a policy of the user runs in the surroundings of the machine that asks it: its clock, time zone and
 * language, and chance that comes from the seed. So what looks around gives different answers on different machines, and
 * the same ones in every run.
 */
import { type FieldPolicy, POLICIES, type Policy } from '../../core/policy.ts'
import type { TableDefinition, TableDefinitions } from '../../core/table.ts'
import { runWithin, type Surroundings } from '../testing/guard.ts'
import type { CrashingPlace } from './adapter-disk.ts'
import type { KnownPolicyName } from './history.ts'
import type { TablePlan } from './plan.ts'
import type { Random } from './random.ts'

export interface Subject {
  /** Of one process: each that starts has tables of its own. Undefined: those of the plan. */
  readonly tables?: (() => TableDefinitions) | undefined
  /** Where the stores of the user keep their data. Undefined: simulated disks. */
  readonly createPlace?: ((name: string) => CrashingPlace) | undefined
}

/** A table of the user in the words of the oracle, which knows what the policies of the engine do, and no others. */
export function toTablePlan(name: string, { granularity, policy, fields }: TableDefinition): TablePlan {
  const known = POLICIES.get(policy.name) === policy
  return {
    name,
    policy: known ? (policy.name as KnownPolicyName) : 'own',
    granularity,
    fields: Object.fromEntries(
      [...fields].map(([field, each]) => [field, 'isCounter' in each && each.isCounter === true ? 'counter' : 'own']),
    ),
    isOwn: true,
  }
}

/** The tables of one process, whose policies run in its surroundings. */
export function surroundTables(tables: TableDefinitions, surroundings: Surroundings): TableDefinitions {
  const surrounded = Object.entries(tables).map(([name, definition]) => {
    const { policy, fields } = definition
    const own = [...fields].map(([field, each]) => [field, surround(each, surroundings)] as const)
    return [name, { ...definition, policy: surround(policy, surroundings), fields: new Map(own) }] as const
  })
  return Object.fromEntries(surrounded)
}

function surround<Any extends Policy | FieldPolicy>(policy: Any, surroundings: Surroundings): Any {
  if (POLICIES.get(policy.name) === policy) return policy
  const functions = Object.entries(policy).map(([name, part]: [string, unknown]) => [
    name,
    typeof part === 'function'
      ? (...input: readonly unknown[]) =>
          runWithin(surroundings, () => (part as (...given: unknown[]) => unknown)(...input))
      : part,
  ])
  return Object.fromEntries(functions) as Any
}

const LANGUAGES = ['en', 'sv', 'de', 'lt'] as const
const TIME_ZONES = ['UTC', 'Pacific/Kiritimati', 'America/Anchorage', 'Asia/Kolkata'] as const

/** Where a machine stands. */
export function drawSurroundings(now: () => number, random: Random): Surroundings {
  return { now, random: () => random.next(), language: random.pick(LANGUAGES), timeZone: random.pick(TIME_ZONES) }
}
