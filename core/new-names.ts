/**
 * Names of tables and fields that a push brings and that its tenant does not have yet.
 *
 * Until a change that uses them is admitted they are numbered beyond the dictionary, beside it: whoever judges can spell
 * them, and nothing else has heard of them. The rows of a table that is new are not there, so nobody has to read them.
 *
 * Knows: the dictionary, and what was numbered beside it. Must never know: why a change is refused.
 * Invariant NN1: what is refused teaches a tenant nothing.
 */
import type { ChangeEntry, Dictionaries, Entry, Names } from './block.ts'
import type { LedgerState } from './ledger-state.ts'
import type { Version } from './row.ts'
import { RowEntry } from './row-cache.ts'

const FIRST = 2 ** 32

export function isNewName(index: number): boolean {
  return index >= FIRST
}

export class NewNames implements Names {
  readonly #state: LedgerState
  readonly #texts: string[] = []
  readonly #indexes = new Map<string, number>()

  constructor(state: LedgerState) {
    this.#state = state
  }

  /** The index of a name, which may be one beside the dictionary. */
  find(name: string): number {
    const known = this.#state.names.find(name)
    return known >= 0 ? known : (this.#indexes.get(name) ?? -1)
  }

  numberOf(name: string): number {
    const known = this.find(name)
    if (known >= 0) return known
    const index = FIRST + this.#texts.length
    this.#texts.push(name)
    this.#indexes.set(name, index)
    return index
  }

  textOf(index: number): string {
    return isNewName(index) ? (this.#texts[index - FIRST] as string) : this.#state.names.textOf(index)
  }

  /** For who has to spell a change that is not admitted. */
  get dictionaries(): Dictionaries {
    return { replicas: this.#state.replicas, names: this }
  }

  isUsedBy(entry: Entry): boolean {
    if (this.#texts.length === 0 || entry.op === 'void') return false
    return isNewName(entry.table) || entry.versions.some(({ name }) => isNewName(name))
  }

  /** The change in the terms of the dictionary, as far as that knows its names by now. */
  spellKnown(entry: ChangeEntry): ChangeEntry {
    return respell(entry, (index) => (isNewName(index) ? this.find(this.textOf(index)) : index))
  }

  /** The change in the terms of the dictionary, which learns what it lacks: only for one that is admitted. */
  learn(entry: ChangeEntry): ChangeEntry {
    return respell(entry, (index) => (isNewName(index) ? this.#state.internName(this.textOf(index)) : index))
  }

  /** A row of a table that no store knows: nothing to read. */
  rowOf({ table, id }: ChangeEntry): RowEntry {
    const { cache } = this.#state
    const known = cache.get(table, id)
    if (known !== undefined) return known
    const row = new RowEntry(table, id)
    cache.add(row)
    return row
  }
}

function respell(entry: ChangeEntry, indexOf: (index: number) => number): ChangeEntry {
  const versions: Version[] = entry.versions.map((version) => ({ ...version, name: indexOf(version.name) }))
  return { ...entry, table: indexOf(entry.table), versions: versions.sort((a, b) => a.name - b.name) }
}
