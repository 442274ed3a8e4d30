/**
 * Writers: the replicas that a ledger knows, and what each has brought. For the operator of a server.
 *
 * Knows: the dictionary of replicas, the last change of each, whose each is. Must never know: sessions.
 */
import { subjectKey } from './keys.ts'
import type { Ledger } from './ledger.ts'
import type { ReplicaId } from './names.ts'
import { unpackRecord } from './packing.ts'
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
      lastChangeMs: last === undefined || last.op === 'void' ? undefined : timestampToMs(last.timestamp),
    })
  }
  return writers
}
