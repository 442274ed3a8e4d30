/**
 * Plans: what a tenant may use and how much of it, as data.
 *
 * Knows: the names of features and quotas, and how a plan is read from configuration. Must never know: what is used.
 *
 * Invariants:
 * TP1  Denied unless named: a plan that is unknown or was deleted allows no feature and has every quota at 0.
 * TP2  A plan names every quota. What is left out is an error, never "unlimited".
 */
import { quote, TidemarkError } from '../core/index.ts'

/** What a plan can switch on. An app that embeds the engine may add its own (`PlansOptions.features`). */
export const FEATURES = ['sync', 'capture', 'journal'] as const

export type QuotaName =
  /** Rows that are not deleted. */
  | 'rows'
  /** Bytes of rows and of the change log. */
  | 'storedBytes'
  /** Replicas that ever wrote or said hello. */
  | 'replicas'
  /** Connections open at once. */
  | 'connections'
  /** Replicas of one subject connected at once. */
  | 'liveReplicasPerSubject'
  | 'changesPerSecond'
  | 'bytesPerSecond'
  /**
   * Pieces of snapshots being read at once, and stretches being compared; others wait for their turn, and readers of the same
   * piece share it.
   */
  | 'snapshotBuilds'

const NO_CEILING = Number.POSITIVE_INFINITY

/** The most that a plan may give. Where that is finite, the engine itself goes no further. */
export const QUOTA_CEILINGS: Readonly<Record<QuotaName, number>> = {
  rows: NO_CEILING,
  storedBytes: NO_CEILING,
  replicas: NO_CEILING,
  connections: NO_CEILING,
  liveReplicasPerSubject: 20,
  changesPerSecond: NO_CEILING,
  bytesPerSecond: NO_CEILING,
  snapshotBuilds: 2,
}

/** `Infinity` where a plan sets no limit. */
export type Quotas = Readonly<Record<QuotaName, number>>

export interface Plan {
  readonly name: string
  readonly features: ReadonlySet<string>
  readonly quotas: Quotas
}

export const QUOTA_NAMES: readonly QuotaName[] = Object.keys(QUOTA_CEILINGS) as QuotaName[]

const PLAN_NAME = /^[a-z0-9][a-z0-9_-]{0,62}$/
const PLAN_KEYS: readonly string[] = ['features', 'quotas']
const UNLIMITED = 'unlimited'

/**
 * Reads one plan: `{ features: ['sync'], quotas: { rows: 1000, storedBytes: 'unlimited', … } }`.
 *
 * Throws `bad-option`; message and `details.key` name what is wrong.
 */
export function parsePlan(name: string, input: unknown, features: readonly string[] = FEATURES): Plan {
  const key = `plans.${name}`
  if (!PLAN_NAME.test(name)) {
    throw wrong('plans', `${quote(name)} is not a plan name`, 'Use 1 to 63 of a-z, 0-9, "_" and "-"')
  }
  const record = asRecord(input, key)
  refuseUnknownKeys(record, PLAN_KEYS, key)
  return {
    name,
    features: parseFeatures(record.features, features, `${key}.features`),
    quotas: parseQuotas(record.quotas, `${key}.quotas`),
  }
}

function parseFeatures(input: unknown, known: readonly string[], key: string): ReadonlySet<string> {
  if (!Array.isArray(input)) throw wrong(key, 'must be a list of features')
  for (const feature of input) {
    if (typeof feature === 'string' && known.includes(feature)) continue
    throw wrong(key, `names ${quote(feature)}, which is no feature`, `The features are ${known.join(', ')}`)
  }
  return new Set(input as string[])
}

function parseQuotas(input: unknown, key: string): Quotas {
  const record = asRecord(input, key)
  refuseUnknownKeys(record, QUOTA_NAMES, key)
  const quotas: Partial<Record<QuotaName, number>> = {}
  for (const name of QUOTA_NAMES) quotas[name] = parseQuota(name, record[name], `${key}.${name}`)
  return quotas as Quotas
}

function parseQuota(name: QuotaName, input: unknown, key: string): number {
  const ceiling = QUOTA_CEILINGS[name]
  if (input === undefined) throw wrong(key, 'is missing', `Give a number, or "${UNLIMITED}"`)
  if (input === UNLIMITED) return ceiling
  if (typeof input !== 'number' || !Number.isSafeInteger(input) || input < 0) {
    throw wrong(key, `must be a whole number or "${UNLIMITED}", not ${quote(input)}`)
  }
  if (input > ceiling) throw wrong(key, `must be at most ${ceiling}, not ${input}`)
  return input
}

function asRecord(input: unknown, key: string): Readonly<Record<string, unknown>> {
  if (typeof input === 'object' && input !== null && !Array.isArray(input)) return { ...input }
  throw wrong(key, `must be an object, not ${quote(input)}`)
}

function refuseUnknownKeys(record: Readonly<Record<string, unknown>>, known: readonly string[], key: string): void {
  for (const name of Object.keys(record)) {
    if (!known.includes(name)) throw wrong(key, `has no key ${quote(name)}`, `The keys are ${known.join(', ')}`)
  }
}

function wrong(key: string, what: string, remedy?: string): TidemarkError {
  return new TidemarkError('bad-option', `${key} ${what}`, {
    details: { key },
    ...(remedy === undefined ? {} : { remedy }),
  })
}

// ── All plans of a server ───────────────────────────────────────────────────────────────────────────────────────────

export interface PlansOptions {
  /** Plans by name, as in a configuration file. They come beside the default ones, or in their place. */
  readonly plans?: Readonly<Record<string, unknown>>
  /** Features beyond the engine's own. */
  readonly features?: readonly string[]
  /** False: only `plans`, none of the default ones. */
  readonly withDefaults?: boolean
}

export class Plans {
  readonly #plans = new Map<string, Plan>()

  /** Throws `bad-option` for the first thing that is wrong. */
  constructor(options: PlansOptions = {}) {
    const features = [...FEATURES, ...(options.features ?? [])]
    const defaults = options.withDefaults === false ? {} : DEFAULT_PLANS
    for (const [name, input] of Object.entries({ ...defaults, ...options.plans })) {
      this.#plans.set(name, parsePlan(name, input, features))
    }
  }

  has(name: string): boolean {
    return this.#plans.has(name)
  }

  get names(): readonly string[] {
    return [...this.#plans.keys()]
  }

  /** The plan of this name; one that allows nothing when there is none (TP1). */
  get(name: string): Plan {
    return this.#plans.get(name) ?? { name, features: NO_FEATURES, quotas: NO_QUOTAS }
  }
}

export function hasFeature(plan: Plan, feature: string): boolean {
  return plan.features.has(feature)
}

/** Throws `forbidden` when the plan does not include the feature. */
export function expectFeature(plan: Plan, feature: string): void {
  if (hasFeature(plan, feature)) return
  throw new TidemarkError('forbidden', `the plan ${quote(plan.name)} does not include ${quote(feature)}`, {
    remedy: 'Move the tenant to a plan that does',
    details: { plan: plan.name, feature },
  })
}

const NO_FEATURES: ReadonlySet<string> = new Set()
const NO_QUOTAS: Quotas = Object.fromEntries(QUOTA_NAMES.map((name) => [name, 0])) as unknown as Quotas

const MIB = 2 ** 20
const GIB = 2 ** 30

/** Sized by what one person tries, one small team runs, and one product carries on a single machine. */
export const DEFAULT_PLANS: Readonly<Record<string, unknown>> = {
  free: {
    features: ['sync', 'journal'],
    quotas: {
      rows: 10_000,
      storedBytes: 100 * MIB,
      replicas: 100,
      connections: 20,
      liveReplicasPerSubject: 20,
      changesPerSecond: 100,
      bytesPerSecond: MIB,
      snapshotBuilds: 1,
    },
  },
  starter: {
    features: ['sync', 'capture', 'journal'],
    quotas: {
      rows: 250_000,
      storedBytes: 2 * GIB,
      replicas: 2_000,
      connections: 200,
      liveReplicasPerSubject: 20,
      changesPerSecond: 1_000,
      bytesPerSecond: 4 * MIB,
      snapshotBuilds: 2,
    },
  },
  pro: {
    features: ['sync', 'capture', 'journal'],
    quotas: {
      rows: 5_000_000,
      storedBytes: 50 * GIB,
      replicas: 50_000,
      connections: 5_000,
      liveReplicasPerSubject: 20,
      changesPerSecond: 10_000,
      bytesPerSecond: 32 * MIB,
      snapshotBuilds: 2,
    },
  },
  unlimited: {
    features: ['sync', 'capture', 'journal'],
    quotas: Object.fromEntries(QUOTA_NAMES.map((name) => [name, UNLIMITED])),
  },
}
