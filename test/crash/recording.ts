/**
 * A recording: every durable commit of every party of a run, and every acknowledgement, on one time line.
 *
 * From it follows what each disk held at any moment, so that a crash at that moment can be replayed.
 *
 * Knows: stores and when their commits became durable. Must never know: what is in a commit.
 * Invariant: an acknowledgement that was given before the commit behind it was durable stands before it on the line.
 */
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Dot } from '../../core/index.ts'
import type { Store, StoreCommit, StoreCommitResult, StoreEntry, StoreRange } from '../../core/store.ts'

/** The server, two writers, and one who comes later. */
export const PARTIES = ['server', 'a', 'b', 'c'] as const
export type Party = (typeof PARTIES)[number]

export interface RecordedCommit {
  readonly at: number
  readonly party: Party
  readonly puts: readonly StoreEntry[]
  readonly deletes: readonly Uint8Array[]
  /** True: the disk was put back to what a backup held, which is `puts`. */
  readonly isRestore: boolean
}

/** A write whose promise was kept. */
export interface Acknowledgement {
  readonly at: number
  readonly party: Party
  readonly dot: Dot
  /** What the write put into the field `mark`; undefined for a delete, which puts nothing anywhere. */
  readonly mark: string | undefined
  /** The row it wrote. */
  readonly id: string
}

export class Recording {
  readonly commits: RecordedCommit[] = []
  readonly acknowledgements: Acknowledgement[] = []
  #now = 0

  /** A store whose commits are recorded at the moment when they are durable, which is later than when they began. */
  record(party: Party, store: Store): Store {
    return new RecordedStore(store, (commit) => this.#add(party, commit, false))
  }

  restore(party: Party, content: readonly StoreEntry[]): void {
    this.#add(party, { puts: content, deletes: [] }, true)
  }

  acknowledge(write: Omit<Acknowledgement, 'at'>): void {
    this.acknowledgements.push({ at: this.#now++, ...write })
  }

  commitsOf(party: Party): readonly RecordedCommit[] {
    return this.commits.filter((commit) => commit.party === party)
  }

  #add(party: Party, { puts, deletes }: Pick<StoreCommit, 'puts' | 'deletes'>, isRestore: boolean): void {
    this.commits.push({ at: this.#now++, party, puts, deletes, isRestore })
  }
}

class RecordedStore implements Store {
  readonly #store: Store
  readonly #onDurable: (commit: StoreCommit) => void

  constructor(store: Store, onDurable: (commit: StoreCommit) => void) {
    this.#store = store
    this.#onDurable = onDurable
  }

  head(): Promise<number> {
    return this.#store.head()
  }

  getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return this.#store.getMany(keys)
  }

  range(range: StoreRange): Promise<readonly StoreEntry[]> {
    return this.#store.range(range)
  }

  async commit(commit: StoreCommit): Promise<StoreCommitResult> {
    // A flush takes time, in which whoever does not wait for it gives himself away.
    for (let turn = 0; turn < 3; turn++) await nextTurn()
    const result = await this.#store.commit(commit)
    if (result.type === 'committed') this.#onDurable(commit)
    return result
  }

  close(): Promise<void> {
    return this.#store.close()
  }
}

/** What a disk holds while a recording is played onto it. */
export class DiskContent {
  readonly #entries = new Map<string, StoreEntry>()
  #isEmpty = true

  get entries(): readonly StoreEntry[] {
    return [...this.#entries.values()]
  }

  /** True as long as no commit was played. */
  get isEmpty(): boolean {
    return this.#isEmpty
  }

  play({ puts, deletes, isRestore }: RecordedCommit): void {
    this.#isEmpty = false
    if (isRestore) this.#entries.clear()
    for (const key of deletes) this.#entries.delete(nameOf(key))
    for (const entry of puts) this.#entries.set(nameOf(entry.key), entry)
  }
}

function nameOf(key: Uint8Array): string {
  return Buffer.from(key.buffer, key.byteOffset, key.byteLength).toString('latin1')
}
