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
 */
import { type AgreedRow, applyToAgreed, hasUnanswered, readAgreed, readRefused } from './agreed.ts'
import type { BlockResolver, Entry } from './block.ts'
import { clockGet, type SparseClock } from './clock.ts'
import type { Draft, LogCursor } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { type DecodedBlock, decode, gap } from './incoming.ts'
import type { Job, Ledger } from './ledger.ts'
import type { LedgerState } from './ledger-state.ts'
import type { RowEntry } from './row-cache.ts'

export class ReceiveChanges implements Job<void> {
  readonly weight: number
  readonly #blocks: readonly Uint8Array[]
  readonly #cursor: LogCursor | undefined
  #decoded: DecodedBlock[] = []
  readonly #agreed = new Map<RowEntry, AgreedRow>()
  /** What `inspect` finds must still hold in `apply`: no local write may come between. */
  readonly startsGroup = true

  /** `cursor` is the place in the server's log after these blocks; peers without a server go by clocks instead. */
  constructor(blocks: readonly Uint8Array[], cursor: LogCursor | undefined) {
    this.#blocks = blocks
    this.#cursor = cursor
    let bytes = 0
    for (const block of blocks) bytes += block.length
    this.weight = Math.ceil(bytes / 64)
  }

  prepare(ledger: Ledger): void {
    const resolver: BlockResolver = {
      replica: (id) => ledger.state.internReplica(id),
      name: (name) => ledger.state.internName(name),
    }
    this.#decoded = this.#blocks.map((block) => decode(ledger, block, resolver))
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

  apply(draft: Draft): void {
    const appends: (() => void)[] = []
    let position = draft.state.meta.nextPosition
    for (const { block, entries, rows } of this.#decoded) {
      const fresh: Entry[] = []
      const previous: number[] = []
      for (let at = 0; at < entries.length; at++) {
        const entry = entries[at] as Entry
        if (!isNext(draft.state, entry)) continue
        fresh.push(entry)
        previous.push(this.#applyEntry(draft, entry, rows[at], position++))
      }
      if (fresh.length === entries.length) appends.push(() => draft.appendBlock(block, entries, previous))
      else if (fresh.length > 0)
        appends.push(() => draft.appendEntries(authorsOf(fresh), untorn(fresh), previous, block.length))
    }
    for (const append of appends) append()
    if (this.#cursor !== undefined) draft.saveCursor(this.#cursor)
  }

  /** Answers with the position of the change before it on its row. */
  #applyEntry(draft: Draft, entry: Entry, row: RowEntry | undefined, position: number): number {
    const { state } = draft
    if (entry.op === 'void' || row === undefined) {
      draft.raiseSeq(entry.replica, entry.seq)
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

function authorsOf(entries: readonly Entry[]): number[] {
  return [...new Set(entries.map((entry) => entry.replica))]
}

/** What is left of a block when some of its dots are held: its last entry ends its transaction. */
function untorn(entries: readonly Entry[]): readonly Entry[] {
  const last = entries[entries.length - 1] as Entry
  return last.op === 'void' || !last.more ? entries : [...entries.slice(0, -1), { ...last, more: false }]
}
