/**
 * The journal: which conflicts there were, also after they are settled. Bounded, local, and erasable.
 *
 * A record names changes by dot and holds no values: those are looked up in the log while it has them. So nothing that
 * was lost in a conflict is kept longer than the log keeps it.
 *
 * Invariants:
 * J2  A record is written in the commit that made the row's heads concurrent, whether a change or a snapshot did it; also
 *     when a later change of the same commit settled it.
 * J4  Of the changes that one side brings in one commit only the last meets the other side: its report has them all.
 * J3  The journal has at most `JOURNAL_RECORDS_MAX` records: the oldest goes with the commit that adds one more.
 */
import { ByteReader, ByteWriter } from './bytes.ts'
import { clockCovers } from './clock.ts'
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

/** Two changes of a row that turned out to be concurrent: `head` came to where `other` was. */
export interface Meeting {
  readonly entry: RowEntry
  /** Unix milliseconds at this replica. */
  readonly time: number
  readonly head: Head
  readonly other: Head
}

/** Notes every head of `after` that is new and concurrent with another. Called for rows with more than one head only. */
export function witnessHeads(draft: Draft, entry: RowEntry, before: RowState, after: RowState, nowMs: number): void {
  const known = new Set<Head>(after.heads.filter((head) => hasHead(before.heads, head)))
  for (const head of after.heads) {
    if (known.has(head)) continue
    for (const other of known) draft.meetings.push({ entry, time: nowMs, head, other })
    known.add(head)
  }
}

/** Writes what the commit under way has to remember. */
export function recordMeetings(draft: Draft): void {
  const byRow = new Map<RowEntry, Meeting[]>()
  for (const meeting of draft.meetings) {
    const meetings = byRow.get(meeting.entry)
    if (meetings === undefined) byRow.set(meeting.entry, [meeting])
    else meetings.push(meeting)
  }
  const records = [...byRow.values()].flatMap(recordsOf)
  // What would be dropped again by the same commit is counted, and not written: of a put and a delete the put would win.
  draft.state.meta.journalEnd += Math.max(0, records.length - JOURNAL_RECORDS_MAX)
  for (const record of records.slice(-JOURNAL_RECORDS_MAX)) addRecord(draft, record)
}

function recordsOf(meetings: readonly Meeting[]): JournalRecord[] {
  const records = new Map<Head, JournalRecord & { readonly others: DotRef[] }>()
  // One new head meets heads that are concurrent with each other: none of these meetings goes on in another.
  const isOneHead = meetings.every(({ head }) => head === meetings[0]?.head)
  for (const meeting of meetings) {
    if (!isOneHead && meetings.some((later) => goesOn(meeting, later))) continue
    const { entry, time, head, other } = meeting
    const record = records.get(head) ?? { table: entry.table, id: entry.id, time, head, others: [] }
    record.others.push(other)
    records.set(head, record)
  }
  return [...records.values()]
}

/** True when the later meeting is the same one, after one side had written again (J4). */
function goesOn(meeting: Meeting, later: Meeting): boolean {
  return (
    (sameStamp(later.other, meeting.other) && covers(later.head, meeting.head)) ||
    (sameStamp(later.head, meeting.head) && covers(later.other, meeting.other))
  )
}

function covers(head: Head, other: Head): boolean {
  return !sameStamp(head, other) && clockCovers(head.clock, other.replica, other.seq)
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
  writer.reset()
  text.reset()
  writer.varint(table)
  writer.varint(text.text(id))
  writer.raw(text.bytes, 0, text.length)
  writer.varint(time)
  writeDot(head)
  for (const other of others) writeDot(other)
  return writer.toBytes()
}

const writer: ByteWriter = new ByteWriter(1024)
const text: ByteWriter = new ByteWriter(1024)

function writeDot({ replica, seq }: DotRef): void {
  writer.varint(replica)
  writer.varint(seq)
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
