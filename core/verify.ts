/**
 * Verifying: do two replicas really hold the same rows? A ledger as one side of a comparison, and the repair of what differs.
 *
 * Invariants:
 * F5  Equal hashes mean equal heads and versions, by the same canonical form as a digest. Clocks of replicas do not count.
 * F6  Repair joins states, so it can only add what was missing: it never overrules a merge. Two states that contradict each
 *     other, which no merge leaves behind, stay as they are and are reported.
 */
import { hasUnanswered } from './agreed.ts'
import { ByteWriter, badFrame } from './bytes.ts'
import { clockGet } from './clock.ts'
import {
  type Answer,
  type Ask,
  type DifferingStretch,
  findDiffering,
  type IdStretch,
  type Question,
} from './comparison.ts'
import { hashRow, rowHasher } from './digest.ts'
import type { Draft } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { encodeFrame } from './frame.ts'
import { addHashes, type Hash64, hashToText, ZERO_HASH } from './hash.ts'
import { allRows, type KeyRange, keyAfter, keyIndex, rowKey, rowKeyAs, rowKeyId, rowRange } from './keys.ts'
import type { Job, Ledger } from './ledger.ts'
import { scanRange } from './ledger-state.ts'
import type { Compare, Compared, RangePart, SnapshotRows } from './message.ts'
import { isName } from './names.ts'
import { EMPTY_ROW, joinRows, type RowState } from './row.ts'
import type { RowEntry } from './row-cache.ts'
import { decodeRow } from './row-codec.ts'
import { chunkOf, indexMapOf } from './snapshot.ts'
import type { StoreEntry } from './store.ts'

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

/** The tables of which any row is known, in the order in which their names were. */
export async function tablesWithRows({ store, state }: Ledger): Promise<string[]> {
  const tables: string[] = []
  for (let { from, to } = allRows(); ; ) {
    const [first] = await store.range({ from, to, limit: 1 })
    if (first === undefined) return tables
    tables.push(state.names.textOf(keyIndex(first.key)))
    from = rowRange('r', keyIndex(first.key)).to
  }
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

  get hash(): string {
    return hashToText(this.#sum)
  }
}

// ── The side that is asked ──────────────────────────────────────────────────────────────────────────────────────────

/** A ledger as one side of a comparison. */
export function askLedger(ledger: Ledger): Ask {
  return (question) => answerFrom(ledger, question)
}

/** Answers a peer. */
export async function answerCompare(ledger: Ledger, { type: _, token, ...question }: Compare): Promise<Compared> {
  if (!isName(question.table)) throw badFrame('a table name is not allowed')
  const { isSame, parts, chunk } = await answerFrom(ledger, question)
  return { type: 'compared', token, isSame, parts, chunk: chunk && encodeFrame(chunk) }
}

async function answerFrom(ledger: Ledger, question: Question): Promise<Answer> {
  const keys = keysOf(ledger, question)
  const hasher = new RowHasher(ledger, question.table)
  const entries: StoreEntry[] = []
  if (keys !== undefined) {
    for await (const entry of scanRange(ledger.store, keys, () => ledger.turn())) {
      hasher.add(entry)
      if (entries.length <= ROWS_SENT_MAX && hasher.bytes <= BYTES_SENT_MAX) entries.push(entry)
    }
  }
  if (hasher.hash === question.hash) return { isSame: true, parts: [], chunk: undefined }
  if (hasher.rows === entries.length && (hasher.bytes <= BYTES_SENT_MAX || hasher.rows === 1)) {
    const rows = entries.map(({ key, value }) => ({ id: rowKeyId(key), row: value }))
    const chunk = await chunkOf(ledger, question.table, question.after, question.through, rows)
    return { isSame: false, parts: [], chunk }
  }
  const parts = await splitStretch(ledger, question, keys as KeyRange, hasher.rows)
  return { isSame: false, parts, chunk: undefined }
}

async function splitStretch(ledger: Ledger, stretch: IdStretch, keys: KeyRange, rows: number): Promise<RangePart[]> {
  const size = Math.ceil(rows / PARTS)
  const parts: RangePart[] = []
  let hasher = new RowHasher(ledger, stretch.table)
  for await (const entry of scanRange(ledger.store, keys, () => ledger.turn())) {
    hasher.add(entry)
    if (hasher.rows < size || parts.length === PARTS - 1) continue
    parts.push({ through: rowKeyId(entry.key), hash: hasher.hash, rows: hasher.rows })
    hasher = new RowHasher(ledger, stretch.table)
  }
  return [...parts, { through: stretch.through, hash: hasher.hash, rows: hasher.rows }]
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
  /** True when the peer's state was joined into ours, and the row is the same on both sides now. */
  readonly isRepaired: boolean
}

/** Compares tables with a peer; with `repair`, joins the peer's rows where they differ. */
export async function verifyTables(
  ledger: Ledger,
  tables: readonly string[],
  ask: Ask,
  repair: boolean,
): Promise<VerifyReport> {
  const differing: RowDifference[] = []
  let [rows, questions] = [0, 0]
  const theirs: Ask = (question) => {
    questions++
    return ask(question)
  }
  const stretches = findDiffering(tables, { ours: askLedger(ledger), theirs }, (_, total) => {
    rows = total
  })
  for await (const each of stretches) differing.push(...(await joinStretch(ledger, each, repair)))
  return { rows, questions, differing }
}

/** Compares the rows of a stretch once more, as they are now, and with `repair` joins the other side's. */
export function joinStretch(
  ledger: Ledger,
  { stretch, theirs }: DifferingStretch,
  repair: boolean,
): Promise<RowDifference[]> {
  return ledger.submit(new CompareRows(stretch, theirs, repair))
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
  readonly #agreed = new Map<RowEntry, RowState>()

  constructor(stretch: IdStretch, chunk: SnapshotRows, repair: boolean) {
    this.#stretch = stretch
    this.#chunk = chunk
    this.#repair = repair
  }

  async prepare(ledger: Ledger): Promise<void> {
    const table = ledger.state.internName(this.#stretch.table)
    const map = indexMapOf(ledger.state, this.#chunk)
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

  /** Rows with unanswered changes of our own keep an agreed state: that one is repaired too. */
  async inspect(ledger: Ledger): Promise<void> {
    const { own, meta } = ledger.state
    this.#agreed.clear()
    if (!this.#repair || meta.ownSeq === meta.ackedSeq) return
    for (const { entry } of this.#theirs) {
      if (!hasUnanswered(entry, own, meta.ackedSeq)) continue
      const [bytes] = await ledger.store.getMany([rowKeyAs('a', entry.key)])
      this.#agreed.set(entry, bytes === undefined ? EMPTY_ROW : decodeRow(bytes))
    }
  }

  apply(draft: Draft): RowDifference[] {
    const { table } = this.#stretch
    const hash = rowHasher(table, draft.state)
    const differing: RowDifference[] = this.#onlyOurs.map((id) => ({
      table,
      id,
      what: 'missing-there',
      isRepaired: false,
    }))
    for (const { entry, state: theirs } of this.#theirs) {
      const ours = entry.state
      if (hash(entry.id, ours) === hash(entry.id, theirs)) continue
      const what = ours.heads.length === 0 ? 'missing-here' : 'differs'
      const isSame =
        this.#repair && this.#join(draft, entry, theirs) && hash(entry.id, entry.state) === hash(entry.id, theirs)
      differing.push({ table, id: entry.id, what, isRepaired: isSame })
    }
    return differing
  }

  /** Answers false where the two contradict each other. */
  #join(draft: Draft, entry: RowEntry, theirs: RowState): boolean {
    const { replicas, own, meta } = draft.state
    if (clockGet(theirs.clock, own) > meta.ownSeq) {
      throw new TidemarkError('replica-restored', 'a peer has changes of this replica that its own store lost')
    }
    const joined = joinRows(entry.state, theirs, replicas)
    // Each clock covers what only the other one holds: a join would drop both.
    if (joined.heads.length === 0) return false
    const agreed = this.#agreed.get(entry)
    if (agreed !== undefined) draft.setAgreed(entry, joinRows(agreed, theirs, replicas))
    draft.setRow(entry, joined, 'remote')
    return true
  }
}
