/**
 * Verifying: do two replicas really hold the same rows? Ranges of a table are compared by hash and split where they differ,
 * so a difference is found in a number of messages that grows with the logarithm of the rows; rows that differ are joined.
 *
 * Source: the hash trees of Merkle (1987) over ordered key ranges, made on the fly instead of stored.
 *
 * Invariants:
 * F4  A range covers the ids in (after, through]; `undefined` is the end of the table on that side.
 * F5  Equal hashes mean equal heads and versions, by the same canonical form as a digest. Clocks of replicas do not count.
 * F6  Repair joins states, so it can only add what was missing: it never overrules a merge.
 */
import { ByteWriter, badFrame } from './bytes.ts'
import { hashRow } from './digest.ts'
import type { Draft } from './draft.ts'
import { type Compare, type Compared, encodeFrame, type RangePart, type SnapshotRows } from './frame.ts'
import { addHashes, type Hash64, hashToText, ZERO_HASH } from './hash.ts'
import { type KeyRange, keyAfter, rowKey, rowKeyId, rowRange } from './keys.ts'
import type { Job, Ledger } from './ledger.ts'
import { scanRange } from './ledger-state.ts'
import { isName } from './names.ts'
import { joinRows, type RowState } from './row.ts'
import type { RowEntry } from './row-cache.ts'
import { decodeRow } from './row-codec.ts'
import { chunkOf, indexMapOf } from './snapshot.ts'
import type { StoreEntry } from './store.ts'

/** A stretch of a table: ids in (after, through]. */
export interface IdStretch {
  readonly table: string
  readonly after: string | undefined
  readonly through: string | undefined
}

export interface Fingerprint {
  readonly hash: string
  readonly rows: number
}

const PARTS = 16
/** A stretch this small is sent instead of split. */
const ROWS_SENT_MAX = 32
const BYTES_SENT_MAX = 512 * 1024

function keysOf(ledger: Ledger, { table, after, through }: IdStretch): KeyRange | undefined {
  const index = ledger.state.names.find(table)
  if (index < 0) return undefined
  const whole = rowRange('r', index)
  return {
    from: after === undefined ? whole.from : keyAfter(rowKey('r', index, after)),
    to: through === undefined ? whole.to : keyAfter(rowKey('r', index, through)),
  }
}

/** Hash and number of the rows of a stretch. */
export async function fingerprintOf(ledger: Ledger, stretch: IdStretch): Promise<Fingerprint> {
  const hasher = new RowHasher(ledger, stretch.table)
  const keys = keysOf(ledger, stretch)
  if (keys !== undefined) for await (const entry of scanRange(ledger.store, keys)) hasher.add(entry)
  return hasher.fingerprint
}

class RowHasher {
  readonly #ledger: Ledger
  readonly #table: string
  readonly #writer: ByteWriter = new ByteWriter(1024)
  #sum: Hash64 = ZERO_HASH
  rows = 0
  bytes = 0

  constructor(ledger: Ledger, table: string) {
    this.#ledger = ledger
    this.#table = table
  }

  add({ key, value }: StoreEntry): void {
    const hash = hashRow(this.#writer, this.#table, rowKeyId(key), decodeRow(value), this.#ledger.state)
    this.#sum = addHashes(this.#sum, hash)
    this.rows++
    this.bytes += value.length
  }

  get fingerprint(): Fingerprint {
    return { hash: hashToText(this.#sum), rows: this.rows }
  }
}

// ── The side that is asked ──────────────────────────────────────────────────────────────────────────────────────────

/** Answers whether a stretch is the same here; if not, with its parts, or with its rows when they are few. */
export async function answerCompare(ledger: Ledger, question: Compare): Promise<Compared> {
  if (!isName(question.table)) throw badFrame('a table name is not allowed')
  const { type: _, ...stretch } = question
  const keys = keysOf(ledger, stretch)
  const hasher = new RowHasher(ledger, question.table)
  const entries: StoreEntry[] = []
  if (keys !== undefined) {
    for await (const entry of scanRange(ledger.store, keys)) {
      hasher.add(entry)
      if (entries.length <= ROWS_SENT_MAX && hasher.bytes <= BYTES_SENT_MAX) entries.push(entry)
    }
  }
  const answer = { type: 'compared', token: question.token } as const
  if (hasher.fingerprint.hash === question.hash) return { ...answer, isSame: true, parts: [], chunk: undefined }
  if (hasher.rows === entries.length && (hasher.bytes <= BYTES_SENT_MAX || hasher.rows === 1)) {
    const rows = entries.map(({ key, value }) => ({ id: rowKeyId(key), row: value }))
    const chunk = encodeFrame(chunkOf(ledger, question.table, question.after, question.through, rows))
    return { ...answer, isSame: false, parts: [], chunk }
  }
  const parts = await splitStretch(ledger, question, keys as KeyRange, hasher.rows)
  return { ...answer, isSame: false, parts, chunk: undefined }
}

async function splitStretch(ledger: Ledger, stretch: IdStretch, keys: KeyRange, rows: number): Promise<RangePart[]> {
  const size = Math.ceil(rows / PARTS)
  const parts: RangePart[] = []
  let hasher = new RowHasher(ledger, stretch.table)
  for await (const entry of scanRange(ledger.store, keys)) {
    hasher.add(entry)
    if (hasher.rows < size || parts.length === PARTS - 1) continue
    parts.push({ through: rowKeyId(entry.key), ...hasher.fingerprint })
    hasher = new RowHasher(ledger, stretch.table)
  }
  return [...parts, { through: stretch.through, ...hasher.fingerprint }]
}

// ── The side that asks ──────────────────────────────────────────────────────────────────────────────────────────────

export interface VerifyReport {
  /** Rows compared here. */
  readonly rows: number
  /** Questions asked: grows with the logarithm of the rows, times the rows that differ. */
  readonly questions: number
  readonly differing: readonly RowDifference[]
}

export interface RowDifference {
  readonly table: string
  readonly id: string
  /** `missing-here`, `missing-there`, or both have it and it `differs`. */
  readonly what: 'missing-here' | 'missing-there' | 'differs'
  /** True when the peer's state was joined into ours. */
  readonly isRepaired: boolean
}

export type Ask = (question: Omit<Compare, 'type' | 'token'>) => Promise<{
  readonly isSame: boolean
  readonly parts: readonly RangePart[]
  readonly chunk: SnapshotRows | undefined
}>

/** Compares tables with a peer; with `repair`, joins the peer's rows where they differ. */
export async function verifyTables(
  ledger: Ledger,
  tables: readonly string[],
  ask: Ask,
  repair: boolean,
): Promise<VerifyReport> {
  const differing: RowDifference[] = []
  let questions = 0
  let rows = 0
  for (const table of tables) {
    const stretches: IdStretch[] = [{ table, after: undefined, through: undefined }]
    for (let stretch = stretches.pop(); stretch !== undefined; stretch = stretches.pop()) {
      const ours = await fingerprintOf(ledger, stretch)
      if (stretch.after === undefined && stretch.through === undefined) rows += ours.rows
      questions++
      const answer = await ask({ ...stretch, hash: ours.hash })
      if (answer.isSame) continue
      if (answer.chunk !== undefined) differing.push(...(await compareRows(ledger, stretch, answer.chunk, repair)))
      else stretches.push(...(await differingParts(ledger, stretch, answer.parts)))
    }
  }
  return { rows, questions, differing }
}

async function differingParts(ledger: Ledger, stretch: IdStretch, parts: readonly RangePart[]): Promise<IdStretch[]> {
  const differing: IdStretch[] = []
  let { after } = stretch
  for (const { through, hash } of parts) {
    const part: IdStretch = { table: stretch.table, after, through }
    if ((await fingerprintOf(ledger, part)).hash !== hash) differing.push(part)
    after = through
  }
  return differing
}

async function compareRows(
  ledger: Ledger,
  stretch: IdStretch,
  chunk: SnapshotRows,
  repair: boolean,
): Promise<RowDifference[]> {
  return ledger.submit(new CompareRows(stretch, chunk, repair))
}

/** Looks at the rows of a small stretch on both sides, and joins the peer's where asked to. */
class CompareRows implements Job<RowDifference[]> {
  readonly weight = ROWS_SENT_MAX
  readonly startsGroup = true
  readonly #stretch: IdStretch
  readonly #chunk: SnapshotRows
  readonly #repair: boolean
  #theirs: { readonly entry: RowEntry; readonly state: RowState }[] = []
  #onlyOurs: string[] = []

  constructor(stretch: IdStretch, chunk: SnapshotRows, repair: boolean) {
    this.#stretch = stretch
    this.#chunk = chunk
    this.#repair = repair
  }

  async prepare(ledger: Ledger): Promise<void> {
    const table = ledger.state.internName(this.#stretch.table)
    const map = indexMapOf(ledger, this.#chunk)
    this.#theirs = this.#chunk.rows.map(({ id, row }) => ({
      entry: ledger.need(table, id),
      state: decodeRow(row, map),
    }))
    const sent = new Set(this.#chunk.rows.map(({ id }) => id))
    this.#onlyOurs = []
    const keys = keysOf(ledger, this.#stretch)
    if (keys === undefined) return
    for await (const { key } of scanRange(ledger.store, keys)) {
      if (!sent.has(rowKeyId(key))) this.#onlyOurs.push(rowKeyId(key))
    }
  }

  apply(draft: Draft, ledger: Ledger): RowDifference[] {
    const { table } = this.#stretch
    const writer = new ByteWriter(1024)
    const hashOf = (id: string, row: RowState): string => hashToText(hashRow(writer, table, id, row, ledger.state))
    const differing: RowDifference[] = this.#onlyOurs.map((id) => ({
      table,
      id,
      what: 'missing-there',
      isRepaired: false,
    }))
    for (const { entry, state } of this.#theirs) {
      if (hashOf(entry.id, entry.state) === hashOf(entry.id, state)) continue
      const what = entry.state.heads.length === 0 ? 'missing-here' : 'differs'
      differing.push({ table, id: entry.id, what, isRepaired: this.#repair })
      if (this.#repair) draft.setRow(entry, joinRows(entry.state, state, ledger.state.replicas), 'remote')
    }
    return differing
  }
}
