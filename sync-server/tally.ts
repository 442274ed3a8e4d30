/**
 * Tallies: what passed through a server since it started, per tenant, as plain counts. Metrics and usage are read from
 * them; nothing is decided by them.
 *
 * Knows: counts. Must never know: how they are shown, rows, principals.
 *
 * Invariants:
 * TY1  Counting costs an addition, and memory for what is bounded: tenants up to `TENANTS_MAX`, codes, conflict types.
 * TY2  A count never goes down while the server runs.
 */
import type { TenantName, TidemarkError } from '../core/index.ts'
import type { Answered, CountedConflict } from '../core/server-door.ts'

/** The rest share one tally: a page of metrics with more series than this helps nobody. */
const TENANTS_MAX = 1_000
/** No tenant has this name: it does not begin with a letter or digit. */
const OTHERS = '_others'

/** A definition of a table that some replica came with and that is not the one in force. */
export interface RefusedDefinition {
  readonly text: string
  readonly subject: string
  /** Unix milliseconds. */
  readonly atMs: number
}

/** Of one tenant. */
export class Tally {
  connections = 0
  framesIn = 0
  framesOut = 0
  bytesIn = 0
  bytesOut = 0
  /** Answered, refused ones included. */
  changes = 0
  /** How often a writer was told that there is no room. */
  pauses = 0
  snapshots = 0
  commits = 0
  /** Of changes, by code. */
  readonly refusedChanges: Counts = new Counts()
  /** Ends of sessions that were not the client's wish, by code. */
  readonly failures: Counts = new Counts()
  /** By `type policy`. */
  readonly conflicts: Counts = new Counts()

  /** The last one of each table; only tables that are defined can be refused, and those are bounded. */
  readonly refusedDefinitions: Map<string, RefusedDefinition> = new Map()

  frameIn(bytes: number): void {
    this.framesIn++
    this.bytesIn += bytes
  }

  frameOut(bytes: number): void {
    this.framesOut++
    this.bytesOut += bytes
  }

  answer({ changes, refusals, isPaused }: Answered): void {
    this.changes += changes
    if (isPaused) this.pauses++
    for (const code of refusals) this.refusedChanges.add(code)
  }

  conflict({ type, policy }: CountedConflict): void {
    this.conflicts.add(`${type} ${policy}`)
  }

  end(error: TidemarkError | undefined, subject: string, atMs: number): void {
    if (error === undefined) return
    this.failures.add(error.code)
    const { table, actual } = error.details
    if (error.code !== 'schema-mismatch' || typeof table !== 'string' || typeof actual !== 'string') return
    this.refusedDefinitions.set(table, { text: actual, subject, atMs })
  }
}

/** By a name from a set that is small by nature. */
export class Counts {
  readonly #counts = new Map<string, number>()

  add(name: string): void {
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1)
  }

  entries(): IterableIterator<[name: string, count: number]> {
    return this.#counts.entries()
  }
}

export class Tallies {
  readonly #byTenant = new Map<string, Tally>()
  /** Connections that were refused before anybody's tenant was known, or let in, by code. */
  readonly refusedConnections: Counts = new Counts()

  of(tenant: TenantName): Tally {
    const name = this.#byTenant.has(tenant) || this.#byTenant.size < TENANTS_MAX ? tenant : OTHERS
    const known = this.#byTenant.get(name)
    if (known !== undefined) return known
    const tally = new Tally()
    this.#byTenant.set(name, tally)
    return tally
  }

  /** Undefined when nothing of it was counted by itself. */
  find(tenant: TenantName): Tally | undefined {
    return this.#byTenant.get(tenant)
  }

  entries(): IterableIterator<[tenant: string, tally: Tally]> {
    return this.#byTenant.entries()
  }
}
