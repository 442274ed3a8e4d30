/**
 * What a ledger keeps in memory: log identity and counters, the dictionaries, the replica's clock, the row cache.
 *
 * Knows: how these are read from a store and written back. Must never know: why they change.
 * Invariant G1: everything here but the cache is a function of the store's content; `load` is always a way back.
 */
import { Dictionary } from './dictionary.ts'
import { TidemarkError } from './errors.ts'
import {
  FAMILY_KEY,
  type KeyRange,
  keyIndex,
  kindRange,
  META_KEY,
  nameKey,
  rejectedKeySeq,
  rejectedRange,
  replicaKey,
} from './keys.ts'
import type { Limits } from './limits.ts'
import { createReplicaId, quote, type ReplicaId, type TenantName } from './names.ts'
import { asArray, asCount, asText, packRecord, unpackRecord } from './packing.ts'
import type { RowState } from './row.ts'
import { RowCache } from './row-cache.ts'
import type { AskForTurn } from './slices.ts'
import type { Store, StoreEntry } from './store.ts'

/** What the cache may hold, over both generations: about 50 MB of typical rows at most, usually far less. */
const CACHED_ROWS_MAX = 65_536
const CACHED_BYTES_MAX = 64 * 1_024 * 1_024
const FORMAT = 1
const PAGE_ENTRIES = 1_000

/** The one record that changes with every commit. Plain numbers and texts, so that a copy is an undo. */
export interface Meta {
  tenant: TenantName
  /** The name of this log: a cursor carries it. */
  logId: string
  /** 1, and after a backup was restored the time at which that was found out, in Unix milliseconds. */
  epoch: number
  /** Our own replica id. */
  replicaId: ReplicaId
  ownSeq: number
  /** Our own changes up to here were answered by the server: accepted, or refused and rolled back. */
  ackedSeq: number
  /** The highest timestamp given out or seen. */
  lastTimestamp: number
  /** The position of the next entry; the first is 1. */
  nextPosition: number
  /** The first position the log still holds. */
  floor: number
  changes: number
  voids: number
  rows: number
  conflicts: number
  logBytes: number
  /** Of all rows, encoded. */
  rowBytes: number
  /** At least as many as there are agreed states; 0 only when there are none. */
  agreed: number
  /** Changes of our own that were refused and not yet dismissed. */
  rejected: number
  /** Journal records are numbered [journalStart, journalEnd). */
  journalStart: number
  journalEnd: number
  /** 1 when a replica admits for itself (no server), 0 when a server admits, 2 for the server itself. */
  authority: number
  /** A server's: until when it waits for changes that it lost (Unix milliseconds); 0 when it does not. */
  recoveringUntilMs: number
}

/** Who answers this store, and which servers pass its changes on to each other. See family.ts. */
export interface Family {
  /** Who answers: a client's server, by its post or its log; the log of a relay's upstream, or a root's own; '' before it was met. */
  readonly home: string
  /** The root's log; '' when the server did not say. */
  readonly name: string
  /** Of a relay: the epoch of its own log in which it has caught up with its upstream. Of a client: how often it began to push. */
  readonly epoch: number
  /** Of a client: none of its changes above this seq were ever sent to its home. */
  readonly offeredSeq: number
  /** Of a relay: the name under which it answers; '' before it has met an upstream, and of everybody else. */
  readonly post: string
}

export class LedgerState {
  readonly #limits: Limits
  readonly cache: RowCache = new RowCache(CACHED_ROWS_MAX, CACHED_BYTES_MAX)
  replicas: Dictionary = new Dictionary()
  names: Dictionary = new Dictionary()
  /** The replica's clock: the highest seq held, by replica index. */
  seqs: number[] = []
  /** How many voids each replica has, by index: without any, no look-up is needed. */
  voidCounts: number[] = []
  meta: Meta
  family: Family | undefined
  head = 0
  /** How much of the dictionaries is in the store. */
  savedReplicas = 0
  savedNames = 0
  /** At least the highest seq of our own stream that was refused or withdrawn. */
  lastRejectedSeq = 0

  constructor(meta: Meta, limits: Limits) {
    this.meta = meta
    this.#limits = limits
  }

  get own(): number {
    return this.replicas.intern(this.meta.replicaId)
  }

  seqOf(replica: number): number {
    return this.seqs[replica] ?? 0
  }

  /** The index of a table or field name; refuses to learn more names than a tenant may have. */
  internName(name: string): number {
    const known = this.names.find(name)
    if (known >= 0) return known
    if (this.names.size >= this.#limits.namesPerTenantMax) {
      throw new TidemarkError('too-large', `this tenant already has ${this.names.size} table and field names`, {
        remedy: 'Use fewer distinct names; data with free keys belongs inside a value',
      })
    }
    return this.names.intern(name)
  }

  /** True for names that are in the store: others may come to mean something else there (D1). */
  isNameSaved(name: number): boolean {
    return name >= 0 && name < this.savedNames
  }

  /** False when a row uses names or replicas that another process has added since. */
  knowsAll(row: RowState): boolean {
    for (const { name, stamp } of row.versions) {
      if (name >= this.savedNames || stamp.replica >= this.savedReplicas) return false
    }
    for (let at = 0; at < row.clock.length; at += 2) if ((row.clock[at] as number) >= this.savedReplicas) return false
    return true
  }

  internReplica(id: ReplicaId): number {
    const index = this.replicas.intern(id)
    if (this.seqs[index] === undefined) {
      this.seqs[index] = 0
      this.voidCounts[index] = 0
    }
    return index
  }

  metaEntry(): StoreEntry {
    const { meta } = this
    return {
      key: META_KEY,
      value: packRecord([
        FORMAT,
        meta.tenant,
        meta.logId,
        meta.epoch,
        meta.replicaId,
        meta.ownSeq,
        meta.ackedSeq,
        meta.lastTimestamp,
        meta.nextPosition,
        meta.floor,
        meta.changes,
        meta.voids,
        meta.rows,
        meta.conflicts,
        meta.logBytes,
        meta.agreed,
        meta.rejected,
        meta.journalStart,
        meta.journalEnd,
        meta.authority,
        meta.rowBytes,
        meta.recoveringUntilMs,
      ]),
    }
  }

  /** The clock entry of one replica. */
  replicaEntry(index: number): StoreEntry {
    const record = [this.replicas.textOf(index), this.seqOf(index), this.voidCounts[index] ?? 0]
    return { key: replicaKey(index), value: packRecord(record) }
  }

  nameEntry(index: number): StoreEntry {
    return { key: nameKey(index), value: packRecord(this.names.textOf(index)) }
  }

  /**
   * Reads everything anew. Answers false for a store that was never written. What is in memory is replaced at once, when all
   * is read: sessions that look into it meanwhile see the old state and never a part of the new one.
   */
  async load(store: Store): Promise<boolean> {
    const head = await store.head()
    const [bytes, family] = await store.getMany([META_KEY, FAMILY_KEY])
    const meta = bytes === undefined ? undefined : decodeMeta(bytes)
    const replicas = new Dictionary()
    const names = new Dictionary()
    const seqs: number[] = []
    const voidCounts: number[] = []
    for await (const { key, value } of scanRange(store, kindRange('i'))) {
      const [id, seq, voids] = asArray(unpackRecord(value))
      const index = replicas.intern(asText(id))
      if (index !== keyIndex(key)) throw new TidemarkError('store-failed', 'the store lost a replica record')
      seqs[index] = asCount(seq)
      voidCounts[index] = asCount(voids)
    }
    for await (const { value } of scanRange(store, kindRange('n'))) names.intern(asText(unpackRecord(value)))
    const own = meta === undefined ? -1 : replicas.find(meta.replicaId)
    const isAnyRejected = own >= 0 && (meta?.rejected ?? 0) > 0
    const [rejected] = isAnyRejected ? await store.range({ ...rejectedRange(own), reverse: true, limit: 1 }) : []
    this.cache.clear()
    this.head = head
    if (meta === undefined) return false
    this.meta = meta
    this.family = family === undefined ? undefined : decodeFamily(family)
    this.replicas = replicas
    this.names = names
    this.seqs = seqs
    this.voidCounts = voidCounts
    this.savedReplicas = replicas.size
    this.savedNames = names.size
    this.lastRejectedSeq = rejected === undefined ? 0 : rejectedKeySeq(rejected.key)
    return true
  }
}

export function familyEntry({ home, name, epoch, offeredSeq, post }: Family): StoreEntry {
  return { key: FAMILY_KEY, value: packRecord([home, name, epoch, offeredSeq, post]) }
}

function decodeFamily(bytes: Uint8Array): Family {
  const [home, name, epoch, offeredSeq, post] = asArray(unpackRecord(bytes))
  return {
    home: asText(home),
    name: asText(name),
    epoch: asCount(epoch),
    offeredSeq: asCount(offeredSeq),
    post: asText(post ?? ''),
  }
}

/** Less than a turn takes: so many entries, or fewer large ones. */
const TURN_ENTRIES = 64
const TURN_ENTRY_BYTES = 1_024

/** Every entry of a range, in pages. `ask`: for whoever looks at each, in pieces that others may come between. */
export async function* scanRange(store: Store, range: KeyRange, ask?: AskForTurn): AsyncGenerator<StoreEntry> {
  let from = range.from
  let left = 0
  for (;;) {
    const page = await store.range({ from, to: range.to, limit: PAGE_ENTRIES, bytesMax: 1 << 20 })
    for (const entry of page) {
      const turn = left <= 0 ? ask?.() : undefined
      if (turn !== undefined) await turn
      if (left <= 0) left = TURN_ENTRIES
      left -= 1 + entry.value.length / TURN_ENTRY_BYTES
      yield entry
    }
    const last = page[page.length - 1]
    if (last === undefined) return
    from = keyAfterLast(last.key)
  }
}

function keyAfterLast(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1)
  next.set(key)
  return next
}

export function createMeta(tenant: TenantName, authority: number): Meta {
  return {
    tenant,
    logId: createReplicaId(),
    epoch: 1,
    replicaId: createReplicaId(),
    ownSeq: 0,
    ackedSeq: 0,
    lastTimestamp: 0,
    nextPosition: 1,
    floor: 1,
    changes: 0,
    voids: 0,
    rows: 0,
    conflicts: 0,
    logBytes: 0,
    rowBytes: 0,
    agreed: 0,
    rejected: 0,
    journalStart: 1,
    journalEnd: 1,
    authority,
    recoveringUntilMs: 0,
  }
}

function decodeMeta(bytes: Uint8Array): Meta {
  const record = asArray(unpackRecord(bytes))
  if (record[0] !== FORMAT) {
    throw new TidemarkError('store-foreign', `the store has format ${quote(record[0])}; this version reads ${FORMAT}`, {
      remedy: 'Open it with the version of Tidemark that wrote it',
    })
  }
  return {
    tenant: asText(record[1]) as TenantName,
    logId: asText(record[2]),
    epoch: asCount(record[3]),
    replicaId: asText(record[4]) as ReplicaId,
    ownSeq: asCount(record[5]),
    ackedSeq: asCount(record[6]),
    lastTimestamp: asCount(record[7]),
    nextPosition: asCount(record[8]),
    floor: asCount(record[9]),
    changes: asCount(record[10]),
    voids: asCount(record[11]),
    rows: asCount(record[12]),
    conflicts: asCount(record[13]),
    logBytes: asCount(record[14]),
    agreed: asCount(record[15]),
    rejected: asCount(record[16]),
    journalStart: asCount(record[17]),
    journalEnd: asCount(record[18]),
    authority: asCount(record[19]),
    rowBytes: asCount(record[20]),
    recoveringUntilMs: asCount(record[21] ?? 0),
  }
}
