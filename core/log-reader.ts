/**
 * Reading the change log: by position, by dot, by row. Never beyond what is durable, never below the floor.
 *
 * Invariant R1: a place below the floor is the typed error `truncated`; a place at the end is an empty answer. A gap is
 * never shown as if nothing had been there.
 */
import { type BlockResolver, blockCount, decodeBlock, type Entry } from './block.ts'
import { ByteReader } from './bytes.ts'
import { TidemarkError } from './errors.ts'
import { PARTS_MAX } from './frame.ts'
import { dotKeySeq, dotRange, logKey, logKeyPosition, logRange } from './keys.ts'
import type { LedgerState } from './ledger-state.ts'
import type { Limits } from './limits.ts'
import { blockOfRecord, previousOfRecord } from './log-record.ts'
import { quote } from './names.ts'
import type { Store, StoreEntry } from './store.ts'

/** One block and its place: entries at positions [from, to). */
export interface LogBlock {
  readonly from: number
  readonly to: number
  readonly block: Uint8Array
  readonly record: Uint8Array
}

/** A run of blocks that follow each other: positions [from, to). */
export interface LogSlice {
  readonly from: number
  readonly to: number
  readonly blocks: readonly LogBlock[]
}

/** An entry with its place, and the place of the one before it on its row (0: none in this log). */
export interface PlacedEntry {
  readonly entry: Entry
  readonly position: number
  readonly previous: number
}

interface DecodedBlock {
  readonly from: number
  readonly to: number
  readonly entries: readonly PlacedEntry[]
}

/** A block with the last seq of the replica it was looked up for. */
export interface AuthoredBlock extends LogBlock {
  readonly lastSeq: number
}

const PAGE_BLOCKS: number = PARTS_MAX
const READ_BLOCKS = 8
/** Decoded blocks that are kept: those used last, up to so many and to so many entries. */
const RECENT_BLOCKS_MAX = 64
const RECENT_ENTRIES_MAX = 8_192

export class LogReader {
  readonly #store: Store
  readonly #state: LedgerState
  readonly #limits: Limits
  /** The one used last is the first. */
  readonly #recent: DecodedBlock[] = []

  constructor(store: Store, state: LedgerState, limits: Limits) {
    this.#store = store
    this.#state = state
    this.#limits = limits
  }

  /** Whole blocks from a block's start, up to `end`; about `bytesMax` of them, at least one if there is any. */
  async slice(from: number, end: number, bytesMax: number): Promise<LogSlice> {
    this.#expectHeld(from)
    if (from >= end) return { from, to: from, blocks: [] }
    const page = await this.#store.range({ ...logRange(from, end), limit: PAGE_BLOCKS, bytesMax })
    const blocks: LogBlock[] = []
    let to = from
    let bytes = 0
    for (const record of page) {
      const block = placeBlock(record)
      if (block.from !== to) throw this.#hole(to, block.from)
      if (bytes > 0 && bytes + block.block.length > bytesMax) break
      bytes += block.block.length
      blocks.push(block)
      to = block.to
    }
    if (blocks.length === 0) throw this.#hole(from, end)
    return { from, to, blocks }
  }

  /** The blocks that hold seqs of one replica above `afterSeq` up to `throughSeq`, in their order; at least one if any. */
  async blocksOf(replica: number, afterSeq: number, throughSeq: number, bytesMax: number): Promise<AuthoredBlock[]> {
    const page = await this.#store.range({ ...dotRange(replica, afterSeq + 1), limit: PAGE_BLOCKS })
    const blocks: AuthoredBlock[] = []
    let bytes = 0
    for (let at = 0; at < page.length; at += READ_BLOCKS) {
      const entries = page.slice(at, at + READ_BLOCKS)
      const keys = entries.map(({ value }) => logKey(new ByteReader(value).varint()))
      const records = await this.#store.getMany(keys)
      for (const [index, value] of records.entries()) {
        const key = keys[index] as Uint8Array
        const lastSeq = dotKeySeq((entries[index] as StoreEntry).key)
        if (value === undefined) throw this.#truncated(logKeyPosition(key))
        const block = placeBlock({ key, value })
        if (lastSeq > throughSeq || (bytes > 0 && bytes + block.block.length > bytesMax)) return blocks
        bytes += block.block.length
        blocks.push({ ...block, lastSeq })
      }
    }
    return blocks
  }

  /** The position of the first block that has a seq of `replica` above `afterSeq`; undefined when there is none. */
  async positionAfter(replica: number, afterSeq: number): Promise<number | undefined> {
    const [entry] = await this.#store.range({ ...dotRange(replica, afterSeq + 1), limit: 1 })
    return entry === undefined ? undefined : new ByteReader(entry.value).varint()
  }

  /** One change by its dot; undefined when this log does not hold it. */
  async entryOf(replica: number, seq: number): Promise<PlacedEntry | undefined> {
    const position = await this.positionAfter(replica, seq - 1)
    if (position === undefined) return undefined
    const recent = this.#useRecent(position)
    if (recent !== undefined) return entryIn(recent.entries, replica, seq)
    const [value] = await this.#store.getMany([logKey(position)])
    if (value === undefined) return undefined
    return entryIn(this.#decodeAndKeep(placeBlock({ key: logKey(position), value })), replica, seq)
  }

  /** The block that holds a position. */
  async blockAt(position: number): Promise<LogBlock> {
    this.#expectHeld(position)
    const [record] = await this.#store.range({ ...logRange(0, position + 1), reverse: true, limit: 1 })
    if (record === undefined) throw this.#truncated(position)
    const block = placeBlock(record)
    if (position >= block.to) throw this.#hole(position, position + 1)
    return block
  }

  /** Rows that were written together are asked for together: the blocks decoded last are kept. */
  async entryAt(position: number): Promise<PlacedEntry> {
    const recent = this.#useRecent(position)
    if (recent !== undefined) return recent.entries[position - recent.from] as PlacedEntry
    const block = await this.blockAt(position)
    return this.#decodeAndKeep(block)[position - block.from] as PlacedEntry
  }

  #useRecent(position: number): DecodedBlock | undefined {
    const index = this.#recent.findIndex(({ from, to }) => position >= from && position < to)
    if (index <= 0) return this.#recent[index]
    const [used] = this.#recent.splice(index, 1) as [DecodedBlock]
    this.#recent.unshift(used)
    return used
  }

  #decodeAndKeep(block: LogBlock): readonly PlacedEntry[] {
    const entries = this.decode(block)
    this.#recent.unshift({ from: block.from, to: block.to, entries })
    let kept = 0
    let count = 0
    for (; kept < Math.min(this.#recent.length, RECENT_BLOCKS_MAX); kept++) {
      count += (this.#recent[kept] as DecodedBlock).entries.length
      if (kept > 0 && count > RECENT_ENTRIES_MAX) break
    }
    this.#recent.length = kept
    return entries
  }

  /** Blocks were written anew in place. */
  forget(): void {
    this.#recent.length = 0
  }

  /** The changes of a row, newest first, as far back as this log goes. `position` is the row's last change. */
  async *rowHistory(position: number): AsyncGenerator<PlacedEntry> {
    let next = position
    while (next >= this.#state.meta.floor && next > 0) {
      const placed = await this.entryAt(next)
      yield placed
      next = placed.previous
    }
  }

  /** The entries of a block in this store's terms. */
  decode(block: LogBlock): PlacedEntry[] {
    const entries = decodeBlock(block.block, this.#resolver, this.#limits)
    const previous = previousOfRecord(block.record, block.from, entries.length)
    return entries.map((entry, index) => ({ entry, position: block.from + index, previous: previous[index] as number }))
  }

  readonly #resolver: BlockResolver = {
    replica: (id) => this.#known(this.#state.replicas.find(id), id),
    name: (name) => this.#known(this.#state.names.find(name), name),
  }

  #known(index: number, text: string): number {
    if (index < 0) {
      throw new TidemarkError('store-busy', `the log names ${quote(text)}, which is not known here yet`, {
        retryable: true,
        remedy: 'Another process has just written to this store; try again',
      })
    }
    return index
  }

  #expectHeld(position: number): void {
    if (position < this.#state.meta.floor) throw this.#truncated(position)
  }

  #truncated(position: number): TidemarkError {
    return new TidemarkError('truncated', `the log begins at position ${this.#state.meta.floor}, after ${position}`, {
      remedy: 'Read a snapshot, then the log from where the snapshot began',
      details: { floor: this.#state.meta.floor, snapshot: true },
    })
  }

  #hole(from: number, to: number): TidemarkError {
    return new TidemarkError('store-failed', `the log lacks positions ${from} to ${to}`, {
      remedy: 'The store lost data: restore it from a backup',
    })
  }
}

function entryIn(entries: readonly PlacedEntry[], replica: number, seq: number): PlacedEntry | undefined {
  return entries.find(({ entry }) => entry.replica === replica && entry.seq === seq)
}

function placeBlock({ key, value }: StoreEntry): LogBlock {
  const from = logKeyPosition(key)
  const block = blockOfRecord(value)
  return { from, to: from + blockCount(block), block, record: value }
}
