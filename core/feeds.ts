/**
 * Feeds: the outgoing streams of all sessions of one ledger, read from its log.
 *
 * Readers at the same place get the same frame: it is read and encoded once, however many there are.
 * Invariants:
 * J1  A frame holds whole blocks, so no transaction is ever split.
 * J2  What a server has refused, or its writer has withdrawn, is never pushed but as a void.
 * J3  A push holds nothing of another id, be it one that this replica had before.
 */
import { type Rejection, readRejections } from './agreed.ts'
import { isAuthoredBy } from './block.ts'
import { joinBlocks } from './block-join.ts'
import { BlockWriter } from './block-writer.ts'
import { encodeFrame, packUuid } from './frame.ts'
import type { Ledger } from './ledger.ts'
import type { AuthoredBlock, LogBlock, LogSlice } from './log-reader.ts'
import type { Feed, FeedPlace } from './outflow.ts'
import type { Stretch } from './stretches.ts'

interface SharedSlice {
  readonly slice: LogSlice
  readonly frame: Uint8Array
}

/** One that is being read has at most so many bytes, or one block. */
interface Reading {
  readonly bytesMax: number
  readonly read: Promise<SharedSlice>
}

/** Slices kept for readers that come to the same place: the tail, mostly. Bounds memory with the batch size. */
const SHARED_MAX = 16
/** Below this a block is mostly its own header. */
const SMALL_BYTES = 1_024

/** Whether the reader has this stretch of the log already. */
type IsHeld = (stretch: Stretch) => boolean

export class Feeds {
  readonly #ledger: Ledger
  readonly #shared = new Map<number, SharedSlice | Reading>()

  constructor(ledger: Ledger) {
    this.#ledger = ledger
  }

  /**
   * The next piece for `peer` (its id in 16 bytes), about `bytesMax` of it; at once when another reader has just read it. Blocks
   * that the peer is known to hold are left out.
   */
  read(
    { position }: Extract<FeedPlace, { readonly type: 'log' }>,
    bytesMax: number,
    peer: Uint8Array,
    isHeld: IsHeld,
  ): Feed | Promise<Feed> {
    const shared = this.#sharedAt(position, bytesMax)
    return shared instanceof Promise
      ? shared.then((slice) => this.#toFeed(slice, peer, isHeld))
      : this.#toFeed(shared, peer, isHeld)
  }

  // ── The log ───────────────────────────────────────────────────────────────────────────────────────────────────────

  #sharedAt(position: number, bytesMax: number): SharedSlice | Promise<SharedSlice> {
    const known = this.#shared.get(position)
    if (known !== undefined && 'frame' in known && known.frame.length <= bytesMax) return known
    if (known !== undefined && 'read' in known && known.bytesMax <= bytesMax) return known.read
    const read = this.#readSlice(position, bytesMax)
    this.#shared.set(position, { bytesMax, read })
    for (const oldest of this.#shared.keys()) {
      if (this.#shared.size <= SHARED_MAX) break
      this.#shared.delete(oldest)
    }
    return read
  }

  async #readSlice(position: number, bytesMax: number): Promise<SharedSlice> {
    try {
      const slice = await this.#ledger.log.slice(position, this.#ledger.durablePosition, bytesMax)
      const turn = this.#ledger.turn()
      if (turn !== undefined) await turn
      const frame = this.#toFrame(slice, slice.blocks)
      const shared = { slice, frame }
      if (slice.blocks.length > 0) this.#shared.set(position, shared)
      else this.#shared.delete(position)
      return shared
    } catch (error) {
      this.#shared.delete(position)
      throw error
    }
  }

  /** Leaves out what the reader wrote itself or has given us; it still learns how far the log has come. */
  #toFeed({ slice, frame }: SharedSlice, peer: Uint8Array, isHeld: IsHeld): Feed {
    const isEnd = slice.to >= this.#ledger.durablePosition
    const next: FeedPlace = { type: 'log', position: slice.to }
    if (slice.blocks.length === 0) return { frames: [], next, isEnd }
    const others = slice.blocks.filter((each) => !isAuthoredBy(each.block, peer) && !isHeld(each))
    if (others.length === slice.blocks.length) return { frames: [frame], next, isEnd }
    return { frames: [this.#toFrame(slice, others)], next, isEnd }
  }

  #toFrame({ from, to }: LogSlice, blocks: readonly LogBlock[]): Uint8Array {
    return encodeFrame({ type: 'changes', from, to, blocks: this.#compact(blocks) })
  }

  /**
   * Blocks as they travel. Writes that were made one by one have a block each, which spells out its replicas and names:
   * runs of them become one block, here and so in every log that they reach.
   */
  #compact(blocks: readonly LogBlock[]): Uint8Array[] {
    const compacted: Uint8Array[] = []
    let run: LogBlock[] = []
    let entries = 0
    const endRun = (): void => {
      const [only] = run
      if (only !== undefined) compacted.push(run.length === 1 ? only.block : this.#merge(run))
      run = []
      entries = 0
    }
    for (const block of blocks) {
      const count = block.to - block.from
      if (block.block.length > SMALL_BYTES || entries + count > this.#ledger.limits.transactionChangesMax) endRun()
      run.push(block)
      entries += count
      if (block.block.length > SMALL_BYTES) endRun()
    }
    endRun()
    return compacted
  }

  #merge(run: readonly LogBlock[]): Uint8Array {
    const joined = joinBlocks(run.map(({ block }) => block))
    if (joined !== undefined) return joined
    const entries = run.flatMap((block) => this.#ledger.log.decode(block).map(({ entry }) => entry))
    const writer = new BlockWriter(this.#ledger.state, [...new Set(entries.map(({ replica }) => replica))])
    for (const entry of entries) writer.add(entry)
    return writer.finish()
  }

  // ── Own changes ───────────────────────────────────────────────────────────────────────────────────────────────────

  /** The next piece of what this replica wrote after a seq. */
  async readOwn(afterSeq: number, bytesMax: number): Promise<Feed> {
    const { own } = this.#ledger.state
    const throughSeq = this.#ledger.durableSeqOf(own)
    const found = await this.#pushable(own, afterSeq, throughSeq, bytesMax)
    const last = found[found.length - 1]
    if (last === undefined) return { frames: [], next: { type: 'own', afterSeq }, isEnd: true }
    const refusals = await this.#refusedAfter(afterSeq)
    const ownBytes = packUuid(this.#ledger.state.meta.replicaId)
    const isWhole = refusals === undefined && found.every(({ block }) => isAuthoredBy(block, ownBytes))
    const blocks = isWhole ? this.#compact(found) : found.map((block) => this.#toPush(block, own, refusals))
    const frame = encodeFrame({ type: 'push', blocks })
    const next: FeedPlace = { type: 'own', afterSeq: last.lastSeq }
    return { frames: [frame], next, isEnd: last.lastSeq >= this.#ledger.durableSeqOf(own) }
  }

  /** What a server that was restored is told again, and what its writer has withdrawn. */
  async #refusedAfter(afterSeq: number): Promise<ReadonlyMap<number, Rejection> | undefined> {
    return this.#ledger.state.lastRejectedSeq > afterSeq ? readRejections(this.#ledger, afterSeq) : undefined
  }

  /**
   * A change that was refused stays so: others hold its dot as void (J2). A block that was written before a renewal may hold
   * answered changes of the earlier id as well: those are not ours to push (J3).
   */
  #toPush(block: LogBlock, own: number, refusals: ReadonlyMap<number, Rejection> | undefined): Uint8Array {
    const { log, state } = this.#ledger
    const writer = new BlockWriter(state, [own])
    for (const { entry } of log.decode(block)) {
      if (entry.replica !== own) continue
      const code = refusals?.get(entry.seq)?.code
      writer.add(code === undefined ? entry : { op: 'void', replica: own, seq: entry.seq, code })
    }
    return writer.finish()
  }

  /** As many of our own blocks as one push may hold, in bytes and in changes. */
  async #pushable(own: number, afterSeq: number, throughSeq: number, bytesMax: number): Promise<AuthoredBlock[]> {
    if (afterSeq >= throughSeq) return []
    const { log, limits } = this.#ledger
    const blocks = await log.blocksOf(own, afterSeq, throughSeq, bytesMax)
    let changes = 0
    const tooMany = blocks.findIndex(({ from, to }, index) => {
      changes += to - from
      return index > 0 && changes > limits.transactionChangesMax
    })
    return tooMany < 0 ? blocks : blocks.slice(0, tooMany)
  }
}
