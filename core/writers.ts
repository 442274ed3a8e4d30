/**
 * Writers: the replicas that a ledger knows, and what each has brought. For the operator of a server.
 *
 * Knows: the dictionary of replicas, the last change of each. Must never know: sessions, who a replica belongs to.
 */
import type { Ledger } from './ledger.ts'
import type { ReplicaId } from './names.ts'
import { timestampToMs } from './timestamp.ts'

export interface Writer {
  readonly replica: ReplicaId
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
  const writers: Writer[] = []
  for (const index of asked) {
    const changes = ledger.durableSeqOf(index)
    const found = changes === 0 ? undefined : await ledger.log.entryOf(index, changes)
    const last = found?.entry
    writers.push({
      replica: state.replicas.textOf(index) as ReplicaId,
      changes,
      refused: state.voidCounts[index] ?? 0,
      lastChangeMs: last === undefined || last.op === 'void' ? undefined : timestampToMs(last.timestamp),
    })
  }
  return writers
}
