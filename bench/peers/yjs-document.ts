/** Rows in a Yjs document: a map of row maps, so that fields of one row merge one by one. */
import type { Doc, Map as YMap } from 'yjs'
import type { Held } from '../bulk.ts'
import type { Row, Update } from '../data.ts'
import type { Load } from '../workloads.ts'
import { Y } from './yjs-modules.ts'

export type YRow = YMap<Row[keyof Row]>

export const rowsOf = (doc: Doc): YMap<YRow> => doc.getMap('rows')

export function insertAll(doc: Doc, rowBatches: Load['rowBatches']): void {
  const rows = rowsOf(doc)
  for (const batch of rowBatches) {
    doc.transact(() => {
      for (const row of batch) rows.set(row.id, new Y.Map<Row[keyof Row]>(Object.entries(row)))
    })
  }
}

export function updateAll(doc: Doc, updateBatches: Load['updateBatches']): void {
  for (const batch of updateBatches) doc.transact(() => updateEach(doc, batch))
}

export function updateEach(doc: Doc, updates: readonly Update[]): void {
  const rows = rowsOf(doc)
  for (const { id, priority } of updates) rows.get(id)?.set('priority', priority)
}

export function heldBy(doc: Doc): Held {
  let sum = 0
  for (const row of rowsOf(doc).values()) sum += row.get('priority') as number
  return { rows: rowsOf(doc).size, sum }
}
