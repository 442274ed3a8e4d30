/**
 * What the stories of this folder are about: notes that several people edit.
 */
import { type Change, type TableDefinition, type TableOptions, table, type VectorClock } from '../../core/index.ts'
import { START_MS } from './group.ts'

export interface Note {
  readonly id: string
  readonly title: string
  readonly body?: string
  readonly votes?: number
}

/** The one table of most tests. */
export function notesBy(options: TableOptions<Note> = {}): { readonly notes: TableDefinition<Note> } {
  return { notes: table<Note>(options) }
}

/** Hybrid time of the first write in a millisecond after the start. */
export function timestampAfter(ms: number): number {
  return (START_MS + ms) * 2048
}

/** A clock as plain data. */
export function seenBy(clock: VectorClock | undefined): Readonly<Record<string, number>> | undefined {
  return clock?.toJSON()
}

/** What a writer had seen of the row, as plain data. */
export function contextOf({ context }: Change): Readonly<Record<string, number>> {
  return context.toJSON()
}
