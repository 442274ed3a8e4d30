/**
 * A store adapter such as a user would write: a journal of commits in a file that loses what was not synced. And the same
 * with mistakes that people make.
 *
 * Knows: lines, and where the last sync was. Must never know: the simulator.
 */
import type { Store, StoreCommit, StoreCommitResult, StoreEntry } from '../../core/index.ts'
import type { SimulatedPlace } from '../testing.ts'

export type Mistake =
  | 'acknowledges before it syncs'
  | 'loses a key when it starts again'
  | 'takes what is left of a torn line'
  | 'forgets to delete'
  | 'ignores the head'
  | 'never answers'

/** A file whose system writes back when it likes: a crash keeps what was synced, and half of the rest. */
class File {
  text: string
  #synced: number

  constructor(text: string) {
    this.text = text
    this.#synced = text.length
  }

  async sync(): Promise<void> {
    const { length } = this.text
    await Promise.resolve()
    this.#synced = Math.max(this.#synced, length)
  }

  afterCrash(): string {
    return this.text.slice(0, this.#synced + Math.floor((this.text.length - this.#synced) / 2))
  }
}

interface Line {
  readonly puts: readonly (readonly [key: string, value: string])[]
  readonly deletes: readonly string[]
}

const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex')
const toBytes = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, 'hex'))

export function createJournal(mistake?: Mistake): SimulatedPlace {
  let file = new File('')
  let journal: Journal | undefined
  return {
    open: async () => {
      journal ??= new Journal(file, mistake)
      return journal
    },
    crash: () => {
      // What is still under way in handles from before writes to a file that nobody reads.
      file = new File(file.afterCrash())
      journal = undefined
    },
    cleanup: () => {},
  }
}

class Journal implements Store {
  readonly #file: File
  readonly #mistake: Mistake | undefined
  readonly #values = new Map<string, Uint8Array>()
  #head = 0

  constructor(file: File, mistake: Mistake | undefined) {
    this.#file = file
    this.#mistake = mistake
    const lines = file.text.split('\n')
    const rest = lines.pop() ?? ''
    for (const line of lines) this.#apply(JSON.parse(line) as Line)
    if (rest !== '' && mistake === 'takes what is left of a torn line') this.#head++
    // A line that was torn is no line.
    file.text = file.text.slice(0, file.text.length - rest.length)
    if (mistake === 'loses a key when it starts again') this.#values.delete([...this.#values.keys()].at(-1) ?? '')
  }

  #apply({ puts, deletes }: Line): void {
    if (this.#mistake !== 'forgets to delete') for (const key of deletes) this.#values.delete(key)
    for (const [key, value] of puts) this.#values.set(key, toBytes(value))
    this.#head++
  }

  async head(): Promise<number> {
    return this.#head
  }

  async getMany(keys: readonly Uint8Array[]): Promise<readonly (Uint8Array | undefined)[]> {
    return keys.map((key) => this.#values.get(toHex(key)))
  }

  async range({
    from,
    to,
    reverse,
    limit,
    bytesMax = Number.POSITIVE_INFINITY,
  }: Parameters<Store['range']>[0]): Promise<StoreEntry[]> {
    const keys = [...this.#values.keys()].filter((key) => key >= toHex(from) && key < toHex(to)).sort()
    const entries: StoreEntry[] = []
    let bytes = 0
    for (const key of reverse === true ? keys.reverse() : keys) {
      if (entries.length >= limit || bytes > bytesMax) break
      const entry = { key: toBytes(key), value: this.#values.get(key) ?? new Uint8Array(0) }
      bytes += entry.key.length + entry.value.length
      entries.push(entry)
    }
    return entries
  }

  async commit({ expectedHead, puts, deletes }: StoreCommit): Promise<StoreCommitResult> {
    if (expectedHead !== this.#head && this.#mistake !== 'ignores the head')
      return { type: 'head-moved', head: this.#head }
    const line: Line = {
      puts: puts.map(({ key, value }) => [toHex(key), toHex(value)]),
      deletes: deletes.map(toHex),
    }
    this.#file.text += `${JSON.stringify(line)}\n`
    if (this.#mistake === 'never answers' && this.#head > 5) await new Promise(() => {})
    if (this.#mistake !== 'acknowledges before it syncs') await this.#file.sync()
    // Synced when the next one comes.
    else if (this.#head % 2 === 0) void this.#file.sync()
    this.#apply(line)
    return { type: 'committed', head: this.#head }
  }

  async close(): Promise<void> {}
}
