/**
 * The simulator for users: replicas under simulated networks, disks, clocks and crashes, with tables, policies
 * and stores of the user's.
 *
 * Knows: what a user brings, and what is told of a run. Must never know: what happens in a schedule; see test/simulation.
 */
import fc from 'fast-check'
import type { TableDefinition, Value } from '../../core/index.ts'
import type { TableDefinitions } from '../../core/table.ts'
import type { CrashingPlace } from '../simulation/adapter-disk.ts'
import type { PromiseName } from '../simulation/broken-promise.ts'
import { generatePlan, type Stock } from '../simulation/generate.ts'
import type { Plan } from '../simulation/plan.ts'
import { reportFailure } from '../simulation/report.ts'
import type { Outcome } from '../simulation/run-plan.ts'
import { createTally, REPEATED_ONE_IN, runSchedule, seedOf } from '../simulation/schedules.ts'
import { shrinkPlan } from '../simulation/shrink.ts'
import { type Subject, toTablePlan } from '../simulation/subject.ts'
import { retell } from '../simulation/tale.ts'

type Row = Readonly<Record<string, Value>>

/** A table as the app defines it, and what may stand in its rows. */
export interface SimulatedTable {
  readonly table: TableDefinition
  /** Whole rows without their id. Values that are alike make conflicts about equal values; counters take whole numbers. */
  readonly rows: fc.Arbitrary<Row>
}

export interface SimulateOptions {
  /** How many; 100 by default. Each has 2 to 6 replicas and about 50 pieces of work. */
  readonly schedules?: number
  /** What they are drawn from; `'1'` by default. */
  readonly seed?: string
  /**
   * The user's tables, or a function that makes them: a policy that could remember something is best made anew for each process
   * that starts. Without it, tables with all policies of the engine.
   */
  readonly tables?: SimulatedTables | (() => SimulatedTables)
  /** Makes an empty place for a store of the user's, one for each disk. Without it, simulated disks. */
  readonly stores?: (name: string) => SimulatedPlace
  /** Runs this plan instead: that of a failure. */
  readonly plan?: SimulatedPlan
  /** Told after each schedule. */
  readonly onProgress?: (progress: SimulationProgress) => void
}

export type SimulatedTables = Readonly<Record<string, SimulatedTable>>

/** A schedule as data: who there is, what they do, and what happens to them. */
export type SimulatedPlan = Plan

/** Where an adapter of the user's keeps its data, and what becomes of it when the power fails. */
export type SimulatedPlace = CrashingPlace

export interface SimulationProgress {
  readonly done: number
  readonly of: number
  readonly events: number
}

export interface SimulationFailure {
  readonly promise: PromiseName
  /** What happened, in one sentence or two. */
  readonly detail: string
  /** The promise, what happened, and the few events that are enough, to read. */
  readonly text: string
  /** Those events, to run again: `simulate({ plan })`. */
  readonly plan: SimulatedPlan
}

export interface SimulationResult {
  readonly held: boolean
  readonly failure: SimulationFailure | undefined
  readonly schedules: number
  /** Things that happened one after the other, over all schedules. */
  readonly events: number
  readonly seconds: number
  /** How many schedules had conflicts open. */
  readonly conflicted: number
  /** How often each fault took effect. */
  readonly faults: Readonly<Record<string, number>>
  /** With stores of the user's: what was answered or done in place of the adapter, and says nothing about it. */
  readonly notTried: readonly string[]
}

const NOT_TRIED = [
  'full disks and failed flushes: the adapter is not asked then',
  'slow disks: only the answer is late',
  'backups and copies: a new place is filled by commits',
] as const

/** Runs schedules until one breaks a promise; that one is made as small as can be. */
export async function simulate(options: SimulateOptions = {}): Promise<SimulationResult> {
  const { schedules = 100, seed = '1', onProgress } = options
  const { subject, stock } = subjectOf(options)
  const count = options.plan === undefined ? schedules : 1
  const startedAt = performance.now()
  const tally = createTally()
  let failure: SimulationFailure | undefined
  for (let number = 0; number < count && failure === undefined; number++) {
    const plan = options.plan ?? generatePlan(seedOf(seed, number), {}, stock)
    const outcome = await runSchedule(plan, number % REPEATED_ONE_IN === 0, tally, subject)
    if (outcome.failure !== undefined) failure = await tell(plan, outcome, subject)
    onProgress?.({ done: number + 1, of: count, events: tally.events })
  }
  return {
    held: failure === undefined,
    failure,
    schedules: tally.schedules,
    events: tally.events,
    seconds: (performance.now() - startedAt) / 1_000,
    conflicted: tally.conflicted,
    faults: Object.fromEntries(tally.faults),
    notTried: options.stores === undefined ? [] : NOT_TRIED,
  }
}

async function tell(plan: Plan, outcome: Outcome, subject: Subject): Promise<SimulationFailure | undefined> {
  // What differs from run to run cannot be made smaller by running it.
  const isSteady = outcome.failure?.promise !== 'repeatable'
  const smallest = isSteady ? await shrinkPlan(plan, outcome, subject) : { plan, outcome }
  const { failure } = smallest.outcome
  if (failure === undefined) return undefined
  const tale = await retell(smallest.plan, subject)
  const text = reportFailure(smallest.plan, smallest.outcome, 'simulate({ plan: result.failure.plan })', tale)
  return { promise: failure.promise, detail: failure.detail, text, plan: smallest.plan }
}

// ── What the user brings ────────────────────────────────────────────────────────────────────────────────────────────

function subjectOf({ tables, stores }: SimulateOptions): {
  readonly subject: Subject
  readonly stock: Stock | undefined
} {
  if (tables === undefined) return { subject: { createPlace: stores }, stock: undefined }
  const create = typeof tables === 'function' ? tables : () => tables
  const definitionsOf = (): TableDefinitions =>
    Object.fromEntries(Object.entries(create()).map(([name, { table }]) => [name, table]))
  const rows = new Map(Object.entries(create()).map(([name, each]) => [name, each.rows]))
  if (rows.size === 0) throw new RangeError('simulate needs a table')
  const plans = Object.entries(definitionsOf()).map(([name, definition]) => toTablePlan(name, definition))
  return {
    subject: { tables: definitionsOf, createPlace: stores },
    stock: {
      tables: plans,
      drawRow: (name, random) => {
        const [row] = fc.sample(rows.get(name) ?? fc.constant({}), { seed: random.bits() | 0, numRuns: 1 })
        return row ?? {}
      },
    },
  }
}
