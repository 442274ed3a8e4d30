/**
 * Writers: the replicas that a ledger knows, what each has brought, and how far each has read. For the operator of a server.
 *
 * Knows: the dictionary of replicas, the last change of each, whose each is, where each stood. Must never know: sessions.
 *
 * Invariant WR1: nothing is decided by where a replica stood: a session goes by the cursor that the replica brings.
 */
import { placeKey, subjectKey } from './keys.ts'
import type { Job, Ledger } from './ledger.ts'
import type { ReplicaId } from './names.ts'
import { note } from './note.ts'
import { asArray, asCount, packRecord, unpackRecord } from './packing.ts'
import { timestampToMs } from './timestamp.ts'

export interface Writer {
  readonly replica: ReplicaId
  /** Whose it is; undefined while nobody has signed in with it. */
  readonly subject: string | undefined
  /** Changes of it that are here: accepted and refused ones. */
  readonly changes: number
  readonly refused: number
  /** When it made the last one that was accepted, by its own clock, Unix milliseconds; undefined when there is none. */
  readonly lastChangeMs: number | undefined
  /** Undefined when none of its sessions has ended yet. */
  readonly lastSeenMs: number | undefined
  /** Entries of the log that it was not sent; undefined as well when the log has gone on from a backup since. */
  readonly behind: number | undefined
}

/** Where a replica stood when it was last heard of. */
export interface WriterPlace {
  /** Unix milliseconds. */
  readonly atMs: number
  readonly epoch: number
  /** What comes from here on in the log, it was not sent. */
  readonly position: number
}

export interface WriterQuery {
  /** Skip so many of them, in the order in which they were met. */
  readonly skip?: number
  /** Default 100. */
  readonly limit?: number
}

/** All but the ledger's own replica. */
export async function listWriters(ledger: Ledger, { skip = 0, limit = 100 }: WriterQuery = {}): Promise<Writer[]> {
  const { state } = ledger
  const indexes = Array.from({ length: state.replicas.size }, (_, index) => index)
  const asked = indexes.filter((index) => index !== state.own).slice(skip, skip + limit)
  const subjects = await ledger.store.getMany(asked.map(subjectKey))
  const places = await ledger.store.getMany(asked.map(placeKey))
  const writers: Writer[] = []
  for (const [at, index] of asked.entries()) {
    const bytes = subjects[at]
    const changes = ledger.durableSeqOf(index)
    const found = changes === 0 ? undefined : await ledger.log.entryOf(index, changes)
    const last = found?.entry
    writers.push({
      replica: state.replicas.textOf(index) as ReplicaId,
      subject: bytes === undefined ? undefined : String(unpackRecord(bytes)),
      changes,
      refused: state.voidCounts[index] ?? 0,
      ...readPlace(ledger, places[at]),
      lastChangeMs: last === undefined || last.op === 'void' ? undefined : timestampToMs(last.timestamp),
    })
  }
  return writers
}

export interface Straggler {
  readonly replica: ReplicaId
  /** Entries of the log that it was not sent. */
  readonly behind: number
  /** Unix milliseconds. */
  readonly lastSeenMs: number
}

export interface StragglerQuery {
  /** Who was not seen since is gone for good, as far as this goes. Unix milliseconds. */
  readonly seenSinceMs: number
  /** Those that are connected: where they stand now, their sessions know. */
  readonly except: ReadonlySet<string>
}

/** Who is furthest behind of those that have gone. */
export async function findStraggler(ledger: Ledger, query: StragglerQuery): Promise<Straggler | undefined> {
  const { state } = ledger
  let furthest: Straggler | undefined
  for (let from = 0; from < state.replicas.size; from += PLACES_MAX) {
    const count = Math.min(PLACES_MAX, state.replicas.size - from)
    const indexes = Array.from({ length: count }, (_, at) => from + at)
    const places = await ledger.store.getMany(indexes.map(placeKey))
    for (const [at, bytes] of places.entries()) {
      const { lastSeenMs, behind } = readPlace(ledger, bytes)
      if (behind === undefined || lastSeenMs === undefined || lastSeenMs < query.seenSinceMs) continue
      const replica = state.replicas.textOf(from + at) as ReplicaId
      if (behind > (furthest?.behind ?? 0) && !query.except.has(replica)) furthest = { replica, behind, lastSeenMs }
    }
  }
  return furthest
}

/** Read at once. */
const PLACES_MAX = 1_000

function readPlace(
  { state, durablePosition }: Ledger,
  bytes: Uint8Array | undefined,
): Pick<Writer, 'lastSeenMs' | 'behind'> {
  if (bytes === undefined) return { lastSeenMs: undefined, behind: undefined }
  const [atMs, epoch, position] = asArray(unpackRecord(bytes)).map(asCount)
  const isOfNow = epoch === state.meta.epoch && position !== undefined
  return { lastSeenMs: atMs, behind: isOfNow ? Math.max(0, durablePosition - position) : undefined }
}

/** Notes where a replica stands, so that it is known after a restart. */
export function notePlace(replica: ReplicaId, place: WriterPlace): Job<void> {
  return note((draft) => {
    const index = draft.state.replicas.find(replica)
    if (index < 0) return
    const { atMs, epoch, position } = place
    draft.put(placeKey(index), packRecord([Math.floor(atMs), epoch, position]))
  })
}
