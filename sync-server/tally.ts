/**
 * Tallies: what passed through a server since it started, per tenant, as plain counts. Metrics and usage are read from
 * them; nothing is decided by them.
 *
 * Knows: counts. Must never know: how they are shown, rows, principals.
 *
 * Invariants:
 * TY1  Counting costs an addition, and memory for what is bounded: tenants up to `TENANTS_MAX`, codes, conflict types.
 * TY2  A count never goes down while the server runs.
 * TY3  A tenant gets a tally only when it is one of ours: tokens name whatever their issuer likes.
 */
import type { TenantName, TidemarkError } from '../core/index.ts'
import type { Answered, CountedConflict } from '../core/server-door.ts'

/** The rest share one tally: a page of metrics with more series than this helps nobody. */
const TENANTS_MAX = 1_000
/** No tenant has this name: it does not begin with a letter or digit. */
const OTHERS = '_others'

const MARK_MS = 10_000
const MINUTE_MARKS = 6

export interface Passed {
  readonly changes: number
  /** In both directions. */
  readonly bytes: number
}

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
  /** That came faster than the plan or the subject may send, and had to wait. */
  heldFrames = 0
  /** By code, or `code resource` where a quota is used up. */
  readonly refusedConnections: Counts = new Counts()
  /** Of changes, by code. */
  readonly refusedChanges: Counts = new Counts()
  /** Ends of sessions that were not the client's wish, by code. */
  readonly failures: Counts = new Counts()
  /** By `type policy`. */
  readonly conflicts: Counts = new Counts()

  /** The last one of each table; only tables that are defined can be refused, and those are bounded. */
  readonly refusedDefinitions: Map<string, RefusedDefinition> = new Map()

  readonly #marks: Passed[] = []

  /** What passed in the last minute, or up to ten seconds more. */
  get lastMinute(): Passed {
    const [oldest] = this.#marks
    const { changes, bytes } = this.#passed
    return { changes: changes - (oldest?.changes ?? 0), bytes: bytes - (oldest?.bytes ?? 0) }
  }

  get #passed(): Passed {
    return { changes: this.changes, bytes: this.bytesIn + this.bytesOut }
  }

  /** Every `MARK_MS`. */
  mark(): void {
    if (this.#marks.push(this.#passed) > MINUTE_MARKS) this.#marks.shift()
  }

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

/** A connection that was refused for this says nothing of whether there is such a tenant. */
const SAYS_NOTHING = 'forbidden'

export class Tallies {
  readonly #byTenant = new Map<string, Tally>()
  /** Connections that were refused before it was known to which tenant of ours they belong, by code. */
  readonly refusedConnections: Counts = new Counts()
  #markedAtMs = 0

  of(tenant: TenantName): Tally {
    const name = this.#byTenant.has(tenant) || this.#byTenant.size < TENANTS_MAX ? tenant : OTHERS
    const known = this.#byTenant.get(name)
    if (known !== undefined) return known
    const tally = new Tally()
    this.#byTenant.set(name, tally)
    return tally
  }

  /** `tenant`: of a token that is good. TY3 */
  refuseConnection(tenant: TenantName | undefined, { code, details: { resource } }: TidemarkError): void {
    const isOurs = tenant !== undefined && (this.#byTenant.has(tenant) || code !== SAYS_NOTHING)
    const counts = isOurs ? this.of(tenant).refusedConnections : this.refusedConnections
    counts.add(typeof resource === 'string' ? `${code} ${resource}` : code)
  }

  /** For a timer. `nowMs`: monotonic. */
  tick(nowMs: number): void {
    if (nowMs - this.#markedAtMs < MARK_MS) return
    this.#markedAtMs = nowMs
    for (const tally of this.#byTenant.values()) tally.mark()
  }

  /** Undefined when nothing of it was counted by itself. */
  find(tenant: TenantName): Tally | undefined {
    return this.#byTenant.get(tenant)
  }

  entries(): IterableIterator<[tenant: string, tally: Tally]> {
    return this.#byTenant.entries()
  }
}
