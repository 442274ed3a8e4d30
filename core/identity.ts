/**
 * Identity: a replica that was restored from a backup, copied, or lost commits goes on under a new id.
 *
 * Its own changes that no server has accepted are issued again under the new id, in their order, with what they built on;
 * everything accepted stays the old id's. The log keeps its positions: the blocks that held those changes are written anew
 * in place, so that the changes of a row are still found from each other.
 *
 * What builds on a change that was refused is not issued again: a server has refused nothing to the new id, and would take it.
 * It is listed as rejected, and its place holds a void.
 *
 * Invariants:
 * D2  After a renewal the store holds of the old id only what its server had answered; whatever else the old id's stream
 *     holds elsewhere arrives like any other replica's.
 * D3  A renewal loses nothing and counts nothing twice: each unanswered change is there again, once, under the new id.
 * D4  What a server had to refuse stays refused: no renewal brings it, or a part of its transaction, to anybody.
 * D5  Whoever holds less of its old id than it has read of its server's log reads that again: a server leaves out what the
 *     reader wrote itself, and may have taken it without its answer having come.
 * D6  What a session brings counts only under the id that it was begun with.
 */
import { readAgreed, readRefused, withAccepted } from './agreed.ts'
import type { ChangeEntry, Entry, VoidEntry } from './block.ts'
import { BlockWriter, canonicalEntry } from './block-writer.ts'
import { ByteWriter } from './bytes.ts'
import { clockCovers, clockGet, clockWith, EMPTY_CLOCK, type SparseClock } from './clock.ts'
import { type CounterPart, decodeCounter, decodePart, isCounter, type SeenPart, seenBy } from './counter.ts'
import { furthestSeen, goOn, inOrder, partsOf, setPart } from './counting.ts'
import type { Dictionary } from './dictionary.ts'
import type { Draft } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { forgetOffers } from './family.ts'
import { CURSOR_KEY, dotKey, logKey, rejectedKey } from './keys.ts'
import type { Job, Ledger } from './ledger.ts'
import type { LedgerState } from './ledger-state.ts'
import type { AuthoredBlock } from './log-reader.ts'
import { encodeLogRecord, previousOfRecord } from './log-record.ts'
import { createReplicaId, type ReplicaId } from './names.ts'
import { packRecord } from './packing.ts'
import { applyChange, type RowState, type Version, writesWholeRow } from './row.ts'
import type { RowEntry } from './row-cache.ts'

export type RenewalReason = 'replica-restored' | 'replica-cloned'

export interface Renewal {
  readonly reason: RenewalReason
  readonly before: ReplicaId
  readonly after: ReplicaId
  /** Changes that were issued again. */
  readonly reissued: number
}

const READ_BYTES = 1 << 20

interface HeldBlock {
  readonly block: AuthoredBlock
  readonly entries: readonly Entry[]
  readonly previous: readonly number[]
}

interface HeldRow {
  readonly entry: RowEntry
  readonly agreed: RowState
  readonly ours: readonly { readonly entry: ChangeEntry; readonly position: number }[]
}

export class RenewIdentity implements Job<Renewal> {
  readonly weight = 1
  readonly startsGroup = true
  readonly #reason: RenewalReason
  readonly #createId: () => ReplicaId
  #blocks: HeldBlock[] = []
  #rows: RowEntry[] = []
  #held: HeldRow[] = []
  /** Unanswered changes that build on refused ones, by seq. */
  #lost: ReadonlySet<number> = new Set()
  /** Those that their writer has withdrawn before any server answered them. */
  #refused: ReadonlySet<number> = new Set()

  constructor(reason: RenewalReason, createId: () => ReplicaId = createReplicaId) {
    this.#reason = reason
    this.#createId = createId
  }

  async prepare(ledger: Ledger): Promise<void> {
    const { own, meta } = ledger.state
    this.#blocks = []
    const rows = new Set<RowEntry>()
    for (let after = meta.ackedSeq; after < meta.ownSeq; ) {
      const page = await ledger.log.blocksOf(own, after, meta.ownSeq, READ_BYTES)
      for (const block of page) {
        const entries = ledger.log.decode(block).map(({ entry }) => entry)
        this.#blocks.push({ block, entries, previous: previousOfRecord(block.record, block.from, entries.length) })
        for (const entry of entries) if (entry.op !== 'void') rows.add(ledger.need(entry.table, entry.id))
        after = block.lastSeq
      }
      if (page.length === 0) break
    }
    this.#rows = [...rows]
  }

  async inspect(ledger: Ledger): Promise<void> {
    const { own, meta, replicas } = ledger.state
    const refused = await readRefused(ledger)
    this.#refused = new Set(refused)
    this.#lost = findLost(this.#blocks, own, meta.ackedSeq, refused)
    for (const seq of this.#lost) refused.add(seq)
    this.#held = []
    for (const entry of this.#rows) {
      const { state: agreed } = withAccepted(await readAgreed(ledger, entry, refused), meta.ackedSeq, replicas)
      const ours: { readonly entry: ChangeEntry; readonly position: number }[] = []
      for await (const placed of ledger.log.rowHistory(entry.state.position)) {
        const { entry: change, position } = placed
        if (change.op === 'void' || change.replica !== own) continue
        if (change.seq <= meta.ackedSeq) break
        if (!refused.has(change.seq)) ours.unshift({ entry: change, position })
      }
      this.#held.push({ entry, agreed, ours })
    }
  }

  apply(draft: Draft, ledger: Ledger): Renewal {
    ledger.log.forget()
    const { state } = draft
    const { meta } = state
    const before = meta.replicaId
    const naming = new Naming(state.own, meta.ackedSeq, state.internReplica(this.#createId()))
    meta.replicaId = state.replicas.textOf(naming.fresh) as ReplicaId
    const renamed = new Map<number, ChangeEntry>()
    for (const { entry, agreed, ours } of this.#held) {
      const parts = new PartsAnew(naming, state.replicas)
      const answered = clockGet(agreed.clock, naming.old)
      let row = agreed
      for (const { entry: change, position } of ours) {
        const fresh = parts.change(change, naming.change(change, answered), row)
        renamed.set(change.seq, fresh)
        row = applyChange(row, fresh, position, state.replicas)
      }
      draft.setAgreed(entry, agreed)
      draft.setRow(entry, { ...row, position: entry.state.position }, 'remote')
    }
    for (const held of this.#blocks) this.#rewrite(draft, held, naming, renamed)
    const dots = meta.ownSeq - meta.ackedSeq
    draft.touchMeta()
    draft.lowerSeq(naming.old, meta.ackedSeq)
    if (dots > 0) draft.delete(CURSOR_KEY)
    draft.raiseSeq(naming.fresh, dots)
    meta.ownSeq = dots
    meta.ackedSeq = 0
    forgetOffers(draft)
    return { reason: this.#reason, before, after: meta.replicaId, reissued: renamed.size }
  }

  /** The same positions, the same distances, the same changes under their new name. */
  #rewrite(
    draft: Draft,
    { block, entries, previous }: HeldBlock,
    naming: Naming,
    changes: ReadonlyMap<number, ChangeEntry>,
  ): void {
    const renamed = entries.map((entry): Entry => {
      if (entry.replica !== naming.old) return entry
      const fresh = changes.get(entry.seq) ?? naming.entry(entry)
      if (this.#refused.has(entry.seq) && fresh.op !== 'void' && entry.seq > draft.state.meta.ackedSeq) {
        return withdrawn(draft, fresh)
      }
      return this.#lost.has(entry.seq) && fresh.op !== 'void' ? reject(draft, fresh) : fresh
    })
    const authors = [...new Set(renamed.map((entry) => entry.replica))]
    const writer = new BlockWriter(draft.state, authors)
    for (const entry of renamed) writer.add(entry)
    const record = encodeLogRecord(writer.finish(), previous, block.from)
    draft.put(logKey(block.from), record)
    draft.delete(dotKey(naming.old, block.lastSeq))
    for (const author of authors) {
      const lastSeq = Math.max(...renamed.filter((entry) => entry.replica === author).map((entry) => entry.seq))
      const position = new ByteWriter(8)
      position.varint(block.from)
      draft.put(dotKey(author, lastSeq), position.toBytes())
    }
    draft.state.meta.logBytes += record.length - block.record.length
  }
}

/** D6. */
export function expectIdentity({ meta }: LedgerState, replica: ReplicaId | undefined): void {
  if (replica === undefined || replica === meta.replicaId) return
  throw new TidemarkError('unavailable', 'the replica goes on under a new id', { retryable: true })
}

/** Lists a change as rejected, as its server would have had to; answers with what its dot is now. */
function reject(draft: Draft, change: ChangeEntry): VoidEntry {
  const { replica, seq } = change
  const { meta } = draft.state
  draft.put(rejectedKey(replica, seq), packRecord(['void-context', canonicalEntry(change, draft.state)]))
  meta.rejected++
  meta.voids++
  meta.changes--
  return { op: 'void', replica, seq, code: 'void-context' }
}

/** It is listed as rejected already. */
function withdrawn({ state: { meta } }: Draft, { replica, seq }: ChangeEntry): VoidEntry {
  meta.voids++
  meta.changes--
  return { op: 'void', replica, seq, code: 'quota-exceeded' }
}

/** In the order of their seqs: what builds on something refused, with its whole transaction, and what builds on that. */
function findLost(
  blocks: readonly HeldBlock[],
  own: number,
  ackedSeq: number,
  refused: ReadonlySet<number>,
): ReadonlySet<number> {
  const lost = new Set<number>()
  let transaction: number[] = []
  let isLost = false
  for (const entry of blocks.flatMap(({ entries }) => entries)) {
    if (entry.op === 'void' || entry.replica !== own || entry.seq <= ackedSeq) continue
    const built = clockGet(entry.context, own)
    isLost ||= refused.has(built) || lost.has(built)
    transaction.push(entry.seq)
    if (entry.more) continue
    if (isLost) for (const seq of transaction) lost.add(seq)
    transaction = []
    isLost = false
  }
  return lost
}

/** Which dots get a new name: those of the old id above what was answered. */
class Naming {
  readonly old: number
  readonly fresh: number
  readonly #ackedSeq: number

  constructor(old: number, ackedSeq: number, fresh: number) {
    this.old = old
    this.fresh = fresh
    this.#ackedSeq = ackedSeq
  }

  entry(entry: Entry): Entry {
    if (entry.replica !== this.old || entry.seq <= this.#ackedSeq) return entry
    if (entry.op === 'void') return { ...entry, replica: this.fresh, seq: entry.seq - this.#ackedSeq }
    return this.change(entry, 0)
  }

  /** `answered`: the last of our changes of that row that its agreed state holds. A context names no change of another row. */
  change(entry: ChangeEntry, answered: number): ChangeEntry {
    const seq = entry.seq - this.#ackedSeq
    const stamp = { replica: this.fresh, seq, timestamp: entry.timestamp }
    const versions: Version[] = entry.versions.map((version) => ({ ...version, stamp }))
    return { ...entry, replica: this.fresh, seq, context: this.#context(entry, answered), versions }
  }

  /** What it built on: our unanswered changes under their new name, and below them what was answered. */
  #context({ context }: ChangeEntry, answered: number): SparseClock {
    const own = clockGet(context, this.old)
    if (own <= this.#ackedSeq) return context
    let renamed = EMPTY_CLOCK
    for (let at = 0; at < context.length; at += 2) {
      if (context[at] !== this.old) renamed = clockWith(renamed, context[at] as number, context[at + 1] as number)
    }
    renamed = clockWith(renamed, this.fresh, own - this.#ackedSeq)
    return answered > 0 ? clockWith(renamed, this.old, answered) : renamed
  }
}

/** The parts of a row's counters under the new id: without what the old id's part says, which stays beside them. */
class PartsAnew {
  readonly #naming: Naming
  readonly #replicas: Dictionary
  /** By name: the last of the old id's parts that was issued again, as it was. */
  readonly #issued = new Map<number, Pick<SeenPart, 'seq' | 'total'>>()

  constructor(naming: Naming, replicas: Dictionary) {
    this.#naming = naming
    this.#replicas = replicas
  }

  /** The next unanswered change, as it was and under its new name, over what the row is before it. */
  change(before: ChangeEntry, fresh: ChangeEntry, row: RowState): ChangeEntry {
    const isWhole = writesWholeRow(fresh.op)
    for (const version of fresh.versions) {
      if (!isCounter(version)) continue
      const part = decodePart(version.bytes, version.start)
      if (isWhole) setPart(version, { ...part, seen: this.#seenAnew(part, version.name, fresh, row) })
      else
        setPart(version, {
          total: part.total - this.#totalBefore(part, version.name, before.seq, row),
          age: 0,
          seen: [],
        })
      this.#issued.set(version.name, { seq: before.seq, total: part.total })
    }
    if (!isWhole) goOn(fresh.versions, row, this.#replicas)
    return fresh
  }

  /** What the old id had counted in its run before a part of it. */
  #totalBefore({ age }: CounterPart, name: number, seq: number, row: RowState): number {
    const { old, fresh } = this.#naming
    const parts = partsOf(row, name)
    const answered = parts.find(({ stamp }) => stamp.replica === old)
    const agreed = answered && { seq: answered.stamp.seq, total: decodeCounter(answered.bytes, answered.start) }
    const issued = this.#issued.get(name)
    // Parts of an older engine do not say when their run began: whoever had one in the row went on with it.
    if (age === 0) return (parts.some(({ stamp }) => stamp.replica === fresh) ? issued : agreed)?.total ?? 0
    const seen = seenBy(parts, this.#replicas).get(this.#replicas.textOf(old))
    return [issued, agreed, seen].find((known) => known !== undefined && known.seq >= seq - age)?.total ?? 0
  }

  /** The old id is one of the others now: where the store was copied, it goes on counting. */
  #seenAnew({ seen }: CounterPart, name: number, { context }: ChangeEntry, row: RowState): readonly SeenPart[] {
    const covered = partsOf(row, name).filter(({ stamp }) => clockCovers(context, stamp.replica, stamp.seq))
    const old = furthestSeen(covered, this.#replicas).get(this.#replicas.textOf(this.#naming.old))
    return inOrder(old === undefined ? seen : [...seen, old])
  }
}
