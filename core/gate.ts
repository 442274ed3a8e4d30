/**
 * The gate: what stands between a writer and the log of a server, as core sees it. Who may write what and how much is
 * decided outside; core asks inside the commit, so that the answer counts what the commit already holds.
 *
 * Knows: proposals, usage, growth. Must never know: principals, plans, tokens.
 *
 * Invariants:
 * GT1  A refusal is about one transaction: its dots become void and the next one goes on. A shortage is about the tenant:
 *      nothing of the transaction is taken, no dot is used, and nothing behind it is looked at.
 * GT2  What a transaction may add is reckoned generously: what it does add is never more.
 */
import type { ChangeEntry, Dictionaries, Entry, VoidCode } from './block.ts'
import type { Dot } from './clock.ts'
import { TidemarkError } from './errors.ts'
import type { ReplicaId } from './names.ts'
import { lastWriteWins } from './policy.ts'
import { LOST_CHANGES } from './recovery.ts'
import { type ChangeOp, publicOp } from './row.ts'
import type { RowEntry } from './row-cache.ts'
import { decodeVersions, settleRow } from './settle.ts'
import type { Value } from './value.ts'

/** What a tenant has stored. */
export interface Usage {
  readonly rows: number
  readonly storedBytes: number
  readonly replicas: number
}

/** The most that a transaction, or a new replica, may add. */
export interface Growth extends Usage {
  /** True when all it does is to delete. */
  readonly isRelief: boolean
}

/** What there is too little of. */
export interface Shortage {
  readonly resource: string
  readonly limit: number
  readonly used: number
  readonly retryAfterMs: number
}

/** Who may enter: asked for each change, and for each transaction. Both may be asked again for the same one. */
export interface Gate {
  readonly mayRead: () => boolean
  readonly mayWrite: () => boolean
  /** Whether changes of other replicas are taken without judging them. Default: no. */
  readonly mayRelay?: () => boolean
  /** Whether this replica may be met at all; asked once, at its hello. */
  readonly mayMeet?: (replica: ReplicaId) => boolean
  /** Whether a table that is new may be defined as the peer says: all replicas have to agree with that from then on. */
  readonly mayDefine?: (table: string) => boolean
  /**
   * Who says hello. A replica belongs to whoever said hello as it first, and nobody else may speak for it; `undefined`:
   * to nobody yet.
   */
  readonly subject?: () => string | undefined
  /** Reads a piece of a snapshot, or compares a stretch of rows, when it is its turn. Default: at once. */
  readonly readSnapshot?: <Result>(read: () => Promise<Result>) => Promise<Result>
  /** A code to refuse a change with that is otherwise in order; not `quota-exceeded`: that is what its writer withdraws. */
  readonly judge?: (change: Proposal) => VoidCode | undefined
  /** Whether there is room. */
  readonly weigh?: (usage: Usage, growth: Growth) => Shortage | undefined
}

/** Nobody asks: a server that is open to everybody. */
export const OPEN_GATE: Gate = {
  mayRead: () => true,
  mayWrite: () => true,
  mayRelay: () => true,
}

/** A change that asks to be admitted. */
export interface Proposal {
  readonly dot: Dot
  readonly table: string
  readonly id: string
  readonly op: ChangeOp
  /** The fields it writes; empty for a delete. */
  readonly values: Readonly<Record<string, Value>>
  /** The row as it stands, by last write; undefined when there is none. */
  readonly row: Readonly<Record<string, Value>> | undefined
}

/** A proposal whose values are decoded when somebody asks for them. */
export class ProposedChange implements Proposal {
  readonly #entry: ChangeEntry
  readonly #row: RowEntry | undefined
  readonly #dictionaries: Dictionaries

  constructor(entry: ChangeEntry, row: RowEntry | undefined, dictionaries: Dictionaries) {
    this.#entry = entry
    this.#row = row
    this.#dictionaries = dictionaries
  }

  get dot(): Dot {
    const { replica, seq } = this.#entry
    return { replica: this.#dictionaries.replicas.textOf(replica) as ReplicaId, seq }
  }

  get table(): string {
    return this.#dictionaries.names.textOf(this.#entry.table)
  }

  get id(): string {
    return this.#entry.id
  }

  get op(): ChangeOp {
    return publicOp(this.#entry)
  }

  get values(): Readonly<Record<string, Value>> {
    return decodeVersions(this.#entry.versions, this.#dictionaries)
  }

  get row(): Readonly<Record<string, Value>> | undefined {
    if (this.#row === undefined) return undefined
    const settled = settleRow(this.#row.state, LAST_WRITE, this.#dictionaries)
    return settled.isAlive ? decodeVersions(settled.versions, this.#dictionaries) : undefined
  }
}

const LAST_WRITE = { granularity: 'fields', policy: lastWriteWins(), fields: new Map() } as const

/** Stamps, heads, names and what a block has around its entries, once in the log and once in the row. */
const ENTRY_OVERHEAD_BYTES = 128
/** Its entry in the log, and its record. */
const VOID_BYTES = 96

/** What a transaction may add to what is stored. */
export function growthOf(transaction: readonly Entry[], rows: readonly (RowEntry | undefined)[]): Growth {
  const born = new Set<RowEntry | string>()
  let storedBytes = 0
  let isRelief = true
  for (let index = 0; index < transaction.length; index++) {
    const entry = transaction[index] as Entry
    if (entry.op === 'void') {
      storedBytes += VOID_BYTES
      continue
    }
    // None in a table that is new.
    const row = rows[index]
    // A row that gets a second head spells out the clock of the first as well.
    storedBytes += 2 * (ENTRY_OVERHEAD_BYTES + bytesOf(entry)) + (row?.header.clock.length ?? 0) * 8
    if (entry.op === 'delete') continue
    isRelief = false
    if (row?.isAlive !== true) born.add(row ?? `${entry.table} ${entry.id}`)
  }
  return { rows: born.size, storedBytes, replicas: 0, isRelief }
}

function bytesOf({ id, context, versions }: ChangeEntry): number {
  let bytes = id.length * 3 + context.length * 8
  for (const { start, end } of versions) bytes += end - start + 8
  return bytes
}

/** What a refused transaction leaves: its voids. They are no way out, and have no part in what is kept for that. */
export function voidGrowth(transaction: readonly Entry[]): Growth {
  return { rows: 0, storedBytes: transaction.length * VOID_BYTES, replicas: 0, isRelief: false }
}

export const NEW_REPLICA: Growth = { rows: 0, storedBytes: 0, replicas: 1, isRelief: false }

/** What whoever waits for a paused writer is told. */
export function pausedBy(shortage: Shortage): TidemarkError {
  if (shortage.resource !== LOST_CHANGES) return quotaExceeded(shortage)
  return new TidemarkError('server-restored', 'the server lost changes that these build on, and waits for them', {
    retryable: true,
    remedy: 'Connect the replicas that wrote them; they push them again by themselves',
    details: { ...shortage },
  })
}

export function quotaExceeded({ resource, limit, used, retryAfterMs }: Shortage): TidemarkError {
  return new TidemarkError('quota-exceeded', `the tenant may have ${limit} ${resource}, and has ${used}`, {
    retryable: true,
    remedy: 'Delete what is not needed, or move the tenant to a larger plan',
    details: { resource, limit, used, retryAfterMs },
  })
}
