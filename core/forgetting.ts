/**
 * Forgetting: what a replica no longer tells of conflicts that are over.
 *
 * The journal names changes and holds no values; those are in the log, which keeps its changes until it is truncated. So
 * beside removing records a floor is put down: of a settled conflict both of whose changes came below it nothing is told any
 * more, neither to somebody who still has its id. What is in the rows, and in the log itself, is not touched.
 *
 * Invariants:
 * J5  Records go and the floor rises in one commit. A floor never sinks.
 * J6  A record older than its table keeps them is never told of, also before it is removed.
 */
import { ByteReader, ByteWriter } from './bytes.ts'
import type { Dot } from './clock.ts'
import type { Draft } from './draft.ts'
import { type DotRef, decodeRecord, type JournalRecord } from './journal.ts'
import { floorKey, journalRange } from './keys.ts'
import type { Job, Ledger } from './ledger.ts'
import { scanRange } from './ledger-state.ts'
import type { TableDefinition } from './table.ts'

const DAY_MS = 86_400_000

interface KeyedRecord {
  readonly key: Uint8Array
  readonly record: JournalRecord
}

/** True when a settled conflict of this table is told of no more. */
export async function isForgotten(
  ledger: Ledger,
  name: string,
  { journal }: TableDefinition,
  dots: readonly Dot[],
): Promise<boolean> {
  if (!journal.isKept) return true
  const floor = await readFloor(ledger, name)
  if (floor === 0) return false
  for (const { replica, seq } of dots) {
    const placed = await ledger.log.entryOf(ledger.state.replicas.find(replica), seq)
    if (placed !== undefined && placed.position >= floor) return false
  }
  return true
}

async function readFloor({ store, state }: Ledger, name: string): Promise<number> {
  const table = state.names.find(name)
  const keys = table < 0 ? [floorKey()] : [floorKey(), floorKey(table)]
  const floors = (await store.getMany(keys)).map((bytes) => (bytes === undefined ? 0 : new ByteReader(bytes).varint()))
  return Math.max(...floors)
}

/** How long a table keeps records; for ever, unless it says otherwise. */
function keptMs({ journal: { keptDays = Number.POSITIVE_INFINITY } }: TableDefinition): number {
  return keptDays * DAY_MS
}

/** Removes all records of one table, or of all. Answers with how many. */
export class EraseRecords implements Job<number> {
  readonly weight = 1
  readonly startsGroup = true
  readonly #name: string | undefined
  #keys: Uint8Array[] = []

  constructor(name: string | undefined) {
    this.#name = name
  }

  prepare(): void {}

  async inspect(ledger: Ledger): Promise<void> {
    this.#keys = []
    for await (const { key, record } of readRecords(ledger)) {
      if (this.#name === undefined || ledger.state.names.textOf(record.table) === this.#name) this.#keys.push(key)
    }
  }

  apply(draft: Draft): number {
    const { meta, names } = draft.state
    for (const key of this.#keys) draft.delete(key)
    const table = this.#name === undefined ? undefined : names.find(this.#name)
    // A table that nobody has named yet has no conflicts.
    if (table !== -1) draft.put(floorKey(table), encodeFloor(meta.nextPosition))
    return this.#keys.length
  }
}

/** Removes what is older than its table keeps it. Answers with when to look again, by the clock of this replica. */
export class ExpireRecords implements Job<number> {
  readonly weight = 1
  readonly startsGroup = true
  readonly #tables: ReadonlyMap<string, TableDefinition>
  readonly #nowMs: number
  #keys: Uint8Array[] = []
  readonly #floors = new Map<number, number>()
  #nextMs = 0

  constructor(tables: ReadonlyMap<string, TableDefinition>, nowMs: number) {
    this.#tables = tables
    this.#nowMs = nowMs
  }

  prepare(): void {}

  async inspect(ledger: Ledger): Promise<void> {
    this.#keys = []
    this.#floors.clear()
    this.#nextMs = this.#nowMs + Math.min(...[...this.#tables.values()].map(keptMs))
    for await (const { key, record } of readRecords(ledger)) {
      const name = ledger.state.names.textOf(record.table)
      const definition = this.#tables.get(name)
      if (definition === undefined) continue
      const due = record.time + keptMs(definition)
      if (due > this.#nowMs) {
        this.#nextMs = Math.min(this.#nextMs, due)
        continue
      }
      this.#keys.push(key)
      const floor = this.#floors.get(record.table) ?? (await readFloor(ledger, name))
      this.#floors.set(record.table, Math.max(floor, await endOf(ledger, record)))
    }
  }

  apply(draft: Draft): number {
    for (const key of this.#keys) draft.delete(key)
    for (const [table, floor] of this.#floors) draft.put(floorKey(table), encodeFloor(floor))
    return this.#nextMs
  }
}

/** The position after the last of the changes that a record names; 0 when the log holds none of them. */
async function endOf({ log }: Ledger, { head, others }: JournalRecord): Promise<number> {
  const ends = [head, ...others].map(async ({ replica, seq }: DotRef) => {
    const placed = await log.entryOf(replica, seq)
    return placed === undefined ? 0 : placed.position + 1
  })
  return Math.max(...(await Promise.all(ends)))
}

async function* readRecords({ store, state }: Ledger): AsyncGenerator<KeyedRecord> {
  const { journalEnd } = state.meta
  for await (const { key, value } of scanRange(store, journalRange(0, journalEnd))) {
    yield { key, record: decodeRecord(value) }
  }
}

function encodeFloor(position: number): Uint8Array {
  const writer = new ByteWriter(8)
  writer.varint(position)
  return writer.toBytes()
}
