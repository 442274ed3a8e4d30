/**
 * Changes as the app sees them: dots, names and values instead of indexes and bytes.
 */
import type { ChangeEntry, Dictionaries } from './block.ts'
import { type Dot, type SparseClock, VectorClock } from './clock.ts'
import type { ReplicaId } from './names.ts'
import { type ChangeOp, publicOp } from './row.ts'
import { decodeVersions } from './settle.ts'
import { timestampToMs } from './timestamp.ts'
import type { Value } from './value.ts'

export interface Change {
  readonly dot: Dot
  readonly op: ChangeOp
  readonly table: string
  readonly id: string
  /** The fields it wrote; empty for a delete. */
  readonly values: Readonly<Record<string, Value>>
  /** Hybrid logical timestamp: it orders concurrent changes. */
  readonly timestamp: number
  /** Its wall part, Unix milliseconds. */
  readonly time: number
  /** The row's clock as the writer saw it. */
  readonly context: VectorClock
  /** Its place in this replica's log. */
  readonly position: number
  /** True when the next change of the log belongs to the same transaction. */
  readonly more: boolean
}

export function toChange(entry: ChangeEntry, position: number, dictionaries: Dictionaries): Change {
  return {
    dot: { replica: dictionaries.replicas.textOf(entry.replica) as ReplicaId, seq: entry.seq },
    op: publicOp(entry),
    table: dictionaries.names.textOf(entry.table),
    id: entry.id,
    values: decodeVersions(entry.versions, dictionaries),
    timestamp: entry.timestamp,
    time: timestampToMs(entry.timestamp),
    context: toVectorClock(entry.context, dictionaries),
    position,
    more: entry.more,
  }
}

export function toVectorClock(clock: SparseClock, { replicas }: Dictionaries): VectorClock {
  const entries: [string, number][] = []
  for (let at = 0; at < clock.length; at += 2) {
    entries.push([replicas.textOf(clock[at] as number), clock[at + 1] as number])
  }
  return new VectorClock(entries)
}
