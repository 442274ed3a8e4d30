/**
 * Snapshots, as they are sent: row states in key order for a replica that is new or too far behind, while writes go on.
 *
 * Only servers give them, and only to clients. What a snapshot brings is in no log, so whoever passes on what it gets by its
 * log, a relay or a peer without a server, uses the log alone.
 *
 * Because row states join, the scan needs no frozen view: a row that changes meanwhile is sent as it is then, and the log
 * from the position at which the snapshot began brings what was missed.
 *
 * Invariants:
 * Q1  The position and clock of a snapshot are taken before its first row is read.
 */
import { badFrame } from './bytes.ts'
import { encodeFrame, ROWS_MAX } from './frame.ts'
import { allRows, keyAfter, keyIndex, rowKey, rowKeyId } from './keys.ts'
import type { Ledger } from './ledger.ts'
import type { SnapshotRows } from './message.ts'
import type { Feed, FeedPlace } from './outflow.ts'
import { chunkOf, placeAfter, type SnapshotPlace } from './snapshot.ts'

/** The next piece of a snapshot, or of the log behind it. */
export async function readSnapshotFeed(
  ledger: Ledger,
  place: Extract<FeedPlace, { readonly type: 'snapshot' }>,
  bytesMax: number,
): Promise<Feed> {
  const frames: Uint8Array[] = []
  let { position } = place
  if (position === undefined) {
    position = ledger.durablePosition
    const clock = [...ledger.durableClock().entries()]
    frames.push(encodeFrame({ type: 'snapshot-begin', position, clock }))
  }
  const chunk = await readSnapshotRows(ledger, place.after, bytesMax)
  if (chunk === undefined) {
    frames.push(encodeFrame({ type: 'snapshot-end' }))
    return { frames, next: { type: 'log', position }, isEnd: false }
  }
  frames.push(encodeFrame(chunk))
  return { frames, next: { type: 'snapshot', position, after: placeAfter(chunk) }, isEnd: false }
}

/** The rows after a place, of one table, about `bytesMax` of them; undefined when there are no more. */
export async function readSnapshotRows(
  ledger: Ledger,
  after: SnapshotPlace | undefined,
  bytesMax: number,
): Promise<SnapshotRows | undefined> {
  const { state, store } = ledger
  const whole = allRows()
  const from = after === undefined ? whole.from : keyAfter(rowKey('r', placeTable(ledger, after), after.id))
  const page = await store.range({ from, to: whole.to, limit: ROWS_MAX, bytesMax })
  const [first] = page
  if (first === undefined) return undefined
  const table = keyIndex(first.key)
  const entries = page.filter(({ key }) => keyIndex(key) === table)
  const last = entries[entries.length - 1] ?? first
  const isWholePage = entries.length === page.length
  const rows = entries.map(({ key, value }) => ({ id: rowKeyId(key), row: value }))
  const name = state.names.textOf(table)
  const through = isWholePage ? rowKeyId(last.key) : undefined
  return chunkOf(ledger, name, after?.table === name ? after.id : undefined, through, rows)
}

function placeTable(ledger: Ledger, place: SnapshotPlace): number {
  const table = ledger.state.names.find(place.table)
  if (table < 0) throw badFrame('a snapshot resumes in a table that is not known')
  return table
}
