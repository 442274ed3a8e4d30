/**
 * Comparisons: where two holders of the same tables differ. Ranges are compared by hash and split where they differ, so a
 * difference is found in a number of questions that grows with the logarithm of the rows.
 *
 * Source: the hash trees of Merkle (1987) over ordered key ranges, made on the fly instead of stored.
 *
 * Knows: questions, answers, and how to go on from them. Must never know: whether a side is a store or a server.
 *
 * Invariants:
 * F4  A range covers the ids in (after, through]; `undefined` is the end of the table on that side.
 * F7  A side that answers with neither parts nor rows, with parts that leave something out, or for ever with more parts, is
 *     an error: a difference is never passed over.
 */
import type { Dictionaries } from './block.ts'
import { badFrame } from './bytes.ts'
import type { Dot } from './clock.ts'
import { Dictionary } from './dictionary.ts'
import { rowHasher } from './digest.ts'
import { addHashes, hashToText, textToHash, ZERO_HASH } from './hash.ts'
import type { RangePart, SnapshotRows } from './message.ts'
import { type ChangeOp, EMPTY_ROW, publicOp, type RowState } from './row.ts'
import { decodeRow } from './row-codec.ts'
import { decodeSettled, type SettleRules, settleRow, toDot } from './settle.ts'
import { indexMapOf } from './snapshot.ts'
import { timestampToMs } from './timestamp.ts'
import type { Value } from './value.ts'

/** A stretch of a table: ids in (after, through]. */
export interface IdStretch {
  readonly table: string
  readonly after: string | undefined
  readonly through: string | undefined
}

export interface Question extends IdStretch {
  /** 16 hexadecimal digits over the asker's rows. */
  readonly hash: string
}

export interface Answer {
  readonly isSame: boolean
  /** The stretch in parts, in order; empty when it is the same or its rows are there. */
  readonly parts: readonly RangePart[]
  /** The rows, when they are few. */
  readonly chunk: SnapshotRows | undefined
}

/** One side of a comparison: says whether a stretch hashes the same there; if not, its parts, or its rows. */
export type Ask = (question: Question) => Promise<Answer>

/** A stretch whose rows are few on both sides, and not the same. */
export interface DifferingStretch {
  readonly stretch: IdStretch
  readonly ours: SnapshotRows
  readonly theirs: SnapshotRows
}

/** How many rows are dealt with, of how many that are known of so far. */
export type CompareProgress = (done: number, total: number) => void

/** No rows hash to this: whoever is asked with it answers with what is there. */
const NO_HASH = ''
/** Every split leaves a sixteenth. */
const DEPTH_MAX = 64

interface Waiting {
  readonly stretch: IdStretch
  readonly ours: Answer
  readonly depth: number
}

/** Finds where two sides differ, table by table. What is under way between them counts as a difference. */
export async function* findDiffering(
  tables: readonly string[],
  ask: { readonly ours: Ask; readonly theirs: Ask },
  onProgress: CompareProgress = () => {},
): AsyncGenerator<DifferingStretch> {
  let [done, total] = [0, 0]
  for (const table of tables) {
    const whole: IdStretch = { table, after: undefined, through: undefined }
    const first = await ask.ours({ ...whole, hash: NO_HASH })
    total += rowsOf(first)
    const waiting: Waiting[] = [{ stretch: whole, ours: first, depth: 0 }]
    for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
      const { stretch, ours, depth } = next
      const theirs = await ask.theirs({ ...stretch, hash: hashOf(ours, table) })
      if (theirs.isSame || (ours.chunk !== undefined && theirs.chunk !== undefined)) {
        done += rowsOf(ours)
        onProgress(done, total)
        if (!theirs.isSame) yield { stretch, ours: ours.chunk as SnapshotRows, theirs: theirs.chunk as SnapshotRows }
        continue
      }
      // Of two that are split the other's parts are looked at: their hashes are known, and ours cost no journey.
      for (const { part, hash } of partsOf(stretch, theirs.chunk === undefined ? theirs : ours, depth)) {
        const answer = await ask.ours({ ...part, hash: theirs.chunk === undefined ? hash : NO_HASH })
        if (!answer.isSame) waiting.push({ stretch: part, ours: answer, depth: depth + 1 })
      }
      done = total - waiting.reduce((rows, { ours: open }) => rows + rowsOf(open), 0)
      onProgress(done, total)
    }
  }
}

function* partsOf(
  stretch: IdStretch,
  { parts }: Answer,
  depth: number,
): Generator<{ readonly part: IdStretch; readonly hash: string }> {
  const last = parts[parts.length - 1]
  if (last === undefined || last.through !== stretch.through) throw badFrame('the parts of a range are not all there')
  if (depth === DEPTH_MAX) throw badFrame('a range does not come to an end')
  let { after } = stretch
  for (const { through, hash } of parts) {
    yield { part: { table: stretch.table, after, through }, hash }
    after = through
  }
}

function rowsOf({ parts, chunk }: Answer): number {
  return chunk?.rows.length ?? parts.reduce((rows, part) => rows + part.rows, 0)
}

/** Hashes add up, so that of a whole is known from its parts. */
function hashOf({ parts, chunk }: Answer, table: string): string {
  if (chunk === undefined) return hashToText(parts.map(({ hash }) => textToHash(hash)).reduce(addHashes, ZERO_HASH))
  const reader = new ChunkReader()
  const hash = rowHasher(table, reader)
  const hashes = reader.read(chunk).map(({ id, state }) => textToHash(hash(id, state)))
  return hashToText(hashes.reduce(addHashes, ZERO_HASH))
}

/** Reads rows of any sender, without a store. */
class ChunkReader implements Dictionaries {
  readonly replicas: Dictionary = new Dictionary()
  readonly names: Dictionary = new Dictionary()

  read(chunk: SnapshotRows): { readonly id: string; readonly state: RowState }[] {
    const map = indexMapOf(
      { internReplica: (id) => this.replicas.intern(id), internName: (name) => this.names.intern(name) },
      chunk,
    )
    return chunk.rows.map(({ id, row }) => ({ id, state: decodeRow(row, map) }))
  }
}

// ── For people ──────────────────────────────────────────────────────────────────────────────────────────────────────

/** A row as one side has it. */
export interface ComparedRow {
  readonly isAlive: boolean
  readonly heads: readonly { readonly dot: Dot; readonly op: ChangeOp; readonly time: number }[]
  /** What it shows; of a deleted row nothing. */
  readonly values: Readonly<Record<string, Value>>
}

/** A row that is not the same on both sides; undefined where it is not known at all. */
export interface DifferingRow {
  readonly table: string
  readonly id: string
  readonly ours: ComparedRow | undefined
  readonly theirs: ComparedRow | undefined
}

/** The rows of a stretch that are not the same, in the order of their ids, as `rules` settle them. */
export function differingRows({ stretch, ours, theirs }: DifferingStretch, rules: SettleRules): DifferingRow[] {
  const reader = new ChunkReader()
  const { table } = stretch
  const hash = rowHasher(table, reader)
  const statesById = new Map<string, [ours: RowState, theirs: RowState]>()
  for (const { id, state } of reader.read(ours)) statesById.set(id, [state, EMPTY_ROW])
  for (const { id, state } of reader.read(theirs)) statesById.set(id, [statesById.get(id)?.[0] ?? EMPTY_ROW, state])
  return [...statesById]
    .filter(([id, [left, right]]) => hash(id, left) !== hash(id, right))
    .map(([id, [left, right]]) => {
      return { table, id, ours: toCompared(left, rules, reader), theirs: toCompared(right, rules, reader) }
    })
}

function toCompared(state: RowState, rules: SettleRules, dictionaries: Dictionaries): ComparedRow | undefined {
  if (state.heads.length === 0) return undefined
  const { isAlive, versions } = settleRow(state, rules, dictionaries)
  const heads = state.heads.map((head) => ({
    dot: toDot(head, dictionaries),
    op: publicOp(head),
    time: timestampToMs(head.timestamp),
  }))
  return { isAlive, heads, values: decodeSettled(versions, rules, dictionaries) }
}
