/**
 * Receiving: changes that somebody has admitted already, who is trusted with that.
 *
 * Knows: what of a block is new here, and what it has to build on. Must never know: who may write, whether there is room.
 *
 * Invariants:
 * E1  Per replica, seqs arrive as 1, 2, 3 …: one that is held is skipped, one that is not the next is a `gap`.
 * E2  A change is applied only when what we hold covers its context; a void is a dot like any other.
 * E3  The cursor moves in the same commit as the changes it stands behind.
 * E5  Receiving merges clocks. It never advances our own counter.
 * E7  From another server voids are remembered, for whoever has to be told of them here; and no limit of ours keeps out what was
 *     admitted.
 * E8  What there is no room for stops at a transaction's edge, as in admission (E6): what came before it is taken, and nothing
 *     behind it is; unless there is room for all of it up to a delete that came along (exchange.ts, EX3).
 */
import { type AgreedRow, applyToAgreed, hasUnanswered, readAgreed, readRefused } from './agreed.ts'
import type { BlockResolver, Entry } from './block.ts'
import { clockGet, type SparseClock } from './clock.ts'
import type { Draft } from './draft.ts'
import { TidemarkError } from './errors.ts'
import type { Shortage } from './gate.ts'
import { type DecodedBlock, decodeAll, gap } from './incoming.ts'
import type { Ledger, SlicedJob } from './ledger.ts'
import type { LedgerState } from './ledger-state.ts'
import type { RowEntry } from './row-cache.ts'
import type { Slices } from './slices.ts'
import type { Stretch } from './stretches.ts'

export interface ReceiveOptions {
  /** Puts the place in the sender's log after these blocks into the commit; peers without a server go by clocks. */
  readonly save?: ((draft: Draft) => void) | undefined
  /** Both admit for others: what a server asks of that. */
  readonly peerServer?: PeerServer
}

/** What a server asks of changes that another one has admitted (exchange.ts). */
export interface PeerServer {
  /** Throws what the session has to end with. */
  readonly expect: (ledger: Ledger, changes: readonly DecodedBlock[]) => Promise<void>
  /** Begins to look whether there is room; answers, for one transaction after the other, with what there is none for. */
  readonly weighing?: (
    changes: readonly DecodedBlock[],
  ) => (draft: Draft, entries: readonly Entry[], rows: readonly (RowEntry | undefined)[]) => Shortage | undefined
}

/** The stretch of our log that is new, and why it ends before what came. */
export interface Received extends Stretch {
  readonly shortage: Shortage | undefined
}

const NO_FINGERPRINT = new Uint8Array(0)
/** A slice ends after so many changes. */
const SLICE_CHANGES = 4

export class ReceiveChanges implements SlicedJob<Received> {
  readonly weight: number
  readonly #blocks: readonly Uint8Array[]
  readonly #options: ReceiveOptions
  #decoded: DecodedBlock[] = []
  readonly #agreed = new Map<RowEntry, AgreedRow>()
  /** What `inspect` finds must still hold in `apply`: no local write may come between. */
  readonly startsGroup = true

  constructor(blocks: readonly Uint8Array[], options: ReceiveOptions = {}) {
    this.#blocks = blocks
    this.#options = options
    let bytes = 0
    for (const block of blocks) bytes += block.length
    this.weight = Math.ceil(bytes / 64)
  }

  async prepare(ledger: Ledger): Promise<void> {
    const { peerServer } = this.#options
    const { state } = ledger
    const resolver: BlockResolver = {
      replica: (id) => state.internReplica(id),
      name: (name) => (peerServer === undefined ? state.internName(name) : state.names.intern(name)),
    }
    this.#decoded = await ledger.inTurns(decodeAll(ledger, this.#blocks, resolver))
    await peerServer?.expect(ledger, this.#decoded)
  }

  /** Only rows with unanswered changes of our own have an agreed state to keep up. */
  async inspect(ledger: Ledger): Promise<void> {
    const { own, meta } = ledger.state
    this.#agreed.clear()
    if (meta.ownSeq === meta.ackedSeq) return
    let refused: ReadonlySet<number> | undefined
    for (const row of this.#decoded.flatMap(({ rows }) => rows)) {
      if (row === undefined || this.#agreed.has(row) || !hasUnanswered(row, own, meta.ackedSeq)) continue
      refused ??= await readRefused(ledger)
      this.#agreed.set(row, await readAgreed(ledger, row, refused))
    }
  }

  *applyInSlices(draft: Draft): Slices<Received> {
    const weigh = this.#options.peerServer?.weighing?.(this.#decoded)
    let shortage: Shortage | undefined
    const appends: (() => void)[] = []
    const from = draft.state.meta.nextPosition
    let position = from
    for (const { block, entries, rows } of this.#decoded) {
      const fresh: Entry[] = []
      const previous: number[] = []
      for (let at = 0; at < entries.length; at++) {
        const entry = entries[at] as Entry
        if (weigh !== undefined && isFirst(entries, at)) shortage = weigh(draft, ...freshOf(draft, entries, rows, at))
        if (shortage !== undefined) break
        if (!isNext(draft.state, entry)) continue
        fresh.push(entry)
        previous.push(this.#applyEntry(draft, entry, rows[at], position++))
        if (position % SLICE_CHANGES === 0) yield
      }
      if (fresh.length === entries.length) appends.push(() => draft.appendBlock(block, entries, previous))
      else if (fresh.length > 0)
        appends.push(() => draft.appendEntries(authorsOf(fresh), untorn(fresh), previous, block.length))
      if (shortage !== undefined) break
    }
    for (const append of appends) {
      append()
      yield
    }
    this.#options.save?.(draft)
    return { from, to: position, shortage }
  }

  /** Answers with the position of the change before it on its row. */
  #applyEntry(draft: Draft, entry: Entry, row: RowEntry | undefined, position: number): number {
    const { state } = draft
    if (entry.op === 'void' || row === undefined) {
      draft.raiseSeq(entry.replica, entry.seq)
      if (entry.op === 'void' && this.#options.peerServer !== undefined) draft.addVoid(entry, NO_FINGERPRINT)
      return 0
    }
    if (clockGet(entry.context, state.own) > state.meta.ownSeq) {
      throw new TidemarkError('replica-restored', 'a change builds on changes of this replica that its own store lost')
    }
    if (!covers(state, entry.context)) {
      throw new TidemarkError('unknown-context', 'a change builds on changes that did not arrive before it', {
        retryable: true,
        remedy: 'Start the session again',
      })
    }
    const before = row.position
    if (entry.replica === state.own && entry.seq > state.meta.ownSeq) {
      throw new TidemarkError('replica-restored', 'a peer has changes of this replica that its own store lost')
    }
    const agreed = this.#agreed.get(row)
    if (agreed !== undefined) this.#agreed.set(row, applyToAgreed(draft, row, agreed, entry))
    draft.apply(row, entry, position, 'remote')
    draft.raiseSeq(entry.replica, entry.seq)
    return before
  }
}

/** False for a dot that is held already; throws `gap` for one that is not the next (E1). */
function isNext(state: LedgerState, entry: Entry): boolean {
  const held = state.seqOf(entry.replica)
  if (entry.seq <= held) return false
  if (entry.seq === held + 1) return true
  throw gap(held, entry.seq)
}

function covers(state: LedgerState, context: SparseClock): boolean {
  for (let at = 0; at < context.length; at += 2) {
    if (state.seqOf(context[at] as number) < (context[at + 1] as number)) return false
  }
  return true
}

/** Whether a transaction begins here. */
function isFirst(entries: readonly Entry[], at: number): boolean {
  const before = entries[at - 1]
  return before === undefined || before.op === 'void' || !before.more
}

/** What is new of the transaction that begins there (E8), and the rows of that. */
function freshOf(
  { state }: Draft,
  entries: readonly Entry[],
  rows: readonly (RowEntry | undefined)[],
  start: number,
): [Entry[], (RowEntry | undefined)[]] {
  const fresh: Entry[] = []
  const touched: (RowEntry | undefined)[] = []
  for (let at = start; at === start || (at < entries.length && !isFirst(entries, at)); at++) {
    const entry = entries[at] as Entry
    if (entry.seq <= state.seqOf(entry.replica)) continue
    fresh.push(entry)
    touched.push(rows[at])
  }
  return [fresh, touched]
}

function authorsOf(entries: readonly Entry[]): number[] {
  return [...new Set(entries.map((entry) => entry.replica))]
}

/** What is left of a block when some of its dots are held: its last entry ends its transaction. */
function untorn(entries: readonly Entry[]): readonly Entry[] {
  const last = entries[entries.length - 1] as Entry
  return last.op === 'void' || !last.more ? entries : [...entries.slice(0, -1), { ...last, more: false }]
}
