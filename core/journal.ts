/**
 * The journal: which conflicts there were, also after they are settled. Bounded, local, and erasable.
 *
 * A record names changes by dot and holds no values: those are looked up in the log while it has them. So nothing that
 * was lost in a conflict is kept longer than the log keeps it.
 *
 * Invariants:
 * J2  A record is written in the commit that made the row's heads concurrent, whether a change or a snapshot did it.
 * J3  The journal has at most `JOURNAL_RECORDS_MAX` records: the oldest goes with the commit that adds one more.
 */
import { ByteReader, ByteWriter } from './bytes.ts'
import type { Draft } from './draft.ts'
import { journalKey } from './keys.ts'
import { type Head, type RowState, type Stamp, sameStamp } from './row.ts'
import type { RowEntry } from './row-cache.ts'

export const JOURNAL_RECORDS_MAX = 10_000

/** One head that met others. */
export interface JournalRecord {
  readonly table: number
  readonly id: string
  /** Unix milliseconds at this replica. */
  readonly time: number
  readonly head: DotRef
  readonly others: readonly DotRef[]
}

/** A change by the store's own replica index. */
export interface DotRef {
  readonly replica: number
  readonly seq: number
}

/** Notes every head of `after` that is new and concurrent with another. Called for rows with more than one head only. */
export function witnessHeads(draft: Draft, entry: RowEntry, before: RowState, after: RowState, nowMs: number): void {
  const known = [...before.heads]
  for (const head of after.heads) {
    if (hasHead(before.heads, head)) continue
    const others = after.heads.filter((other) => other !== head && hasHead(known, other))
    known.push(head)
    if (others.length > 0) addRecord(draft, { table: entry.table, id: entry.id, time: nowMs, head, others })
  }
}

function hasHead(heads: readonly Head[], head: Stamp): boolean {
  return heads.some((other) => sameStamp(other, head))
}

function addRecord(draft: Draft, record: JournalRecord): void {
  const { meta } = draft.state
  draft.put(journalKey(meta.journalEnd++), encodeRecord(record))
  while (meta.journalEnd - meta.journalStart > JOURNAL_RECORDS_MAX) draft.delete(journalKey(meta.journalStart++))
}

function encodeRecord({ table, id, time, head, others }: JournalRecord): Uint8Array {
  const writer = new ByteWriter(64 + id.length * 3 + others.length * 8)
  writer.varint(table)
  const text = new ByteWriter(id.length * 3)
  writer.varint(text.text(id))
  writer.raw(text.bytes, 0, text.length)
  writer.varint(time)
  for (const { replica, seq } of [head, ...others]) {
    writer.varint(replica)
    writer.varint(seq)
  }
  return writer.toBytes()
}

export function decodeRecord(bytes: Uint8Array): JournalRecord {
  const reader = new ByteReader(bytes)
  const table = reader.varint()
  const id = reader.text(reader.varint())
  const time = reader.varint()
  const readDot = (): DotRef => ({ replica: reader.varint(), seq: reader.varint() })
  const head = readDot()
  const others: DotRef[] = []
  while (reader.at < reader.end) others.push(readDot())
  return { table, id, time, head, others }
}
