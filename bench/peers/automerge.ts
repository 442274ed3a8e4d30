/**
 * Automerge in memory: rows are maps in a map. Strings are immutable ones: plain strings become collaborative texts
 * in Automerge 3, which is slower and not what the other subjects do.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import * as Automerge from '@automerge/automerge'
import type { Row, Update } from '../data.ts'
import { diskBytesOf } from '../disk.ts'
import { expectEqual, insertLoad, type Load, replicaLoad, type Subject, secondsOf } from '../workloads.ts'

type Mutable<Fields> = { -readonly [Name in keyof Fields]: Fields[Name] }
type StoredRow = Mutable<Pick<Row, 'done' | 'priority' | 'updatedAt'>> &
  Record<'id' | 'title' | 'notes', Automerge.ImmutableString>
type Rows = { rows: Record<string, StoredRow> }
type Doc = Automerge.Doc<Rows>

const runsMax = 3

export const subjects: readonly Subject[] = [
  {
    name: 'Automerge',
    workload: 'W1',
    runsMax,
    async run() {
      const load = insertLoad()
      let doc = createDoc()
      const seconds = await secondsOf(() => {
        doc = insertAll(doc, load.rowBatches)
      })
      expectEqual('rows', Object.keys(doc.rows).length, load.rows.length)
      return { rowsPerSecond: load.rows.length / seconds }
    },
  },
  {
    name: 'Automerge',
    workload: 'W3',
    runsMax,
    async run() {
      const load = replicaLoad()
      const source = updateAll(insertAll(createDoc(), load.rowBatches), load.updateBatches)
      let target = createDoc()
      let wireBytes = 0
      const seconds = await secondsOf(() => {
        const bytes = Automerge.save(source)
        wireBytes = bytes.byteLength
        target = Automerge.load<Rows>(bytes)
      })
      const held = Object.values(target.rows)
      expectEqual('rows', held.length, load.rows.length)
      expectEqual(
        'sum of priorities',
        held.reduce((sum, { priority }) => sum + priority, 0),
        load.sum,
      )
      return { seconds, wireBytes }
    },
  },
  {
    name: 'Automerge, one file',
    workload: 'W6',
    runsMax,
    async prepare({ directory }) {
      writeFileSync(join(directory, 'doc'), Automerge.save(insertAll(createDoc(), insertLoad().rowBatches)))
    },
    async run({ directory }) {
      const { rows } = insertLoad()
      let priority: number | undefined
      const seconds = await secondsOf(() => {
        const doc = Automerge.load<Rows>(readFileSync(join(directory, 'doc')))
        priority = doc.rows[rows[50_000].id]?.priority
      })
      expectEqual('priority', Number(priority), rows[50_000].priority)
      return { firstReadMs: seconds * 1000, diskBytesPerRow: diskBytesOf(directory) / rows.length }
    },
  },
]

function createDoc(): Doc {
  return Automerge.from<Rows>({ rows: {} })
}

function insertAll(start: Doc, rowBatches: Load['rowBatches']): Doc {
  let doc = start
  for (const batch of rowBatches) {
    doc = Automerge.change(doc, ({ rows }) => {
      for (const row of batch) rows[row.id] = rowToStored(row)
    })
  }
  return doc
}

function rowToStored({ id, title, notes, ...rest }: Row): StoredRow {
  const [storedId, storedTitle, storedNotes] = [id, title, notes].map((text) => new Automerge.ImmutableString(text))
  return { id: storedId, title: storedTitle, notes: storedNotes, ...rest }
}

function updateAll(start: Doc, updateBatches: readonly (readonly Update[])[]): Doc {
  let doc = start
  for (const batch of updateBatches) {
    doc = Automerge.change(doc, ({ rows }) => {
      for (const { id, priority } of batch) rows[id].priority = priority
    })
  }
  return doc
}
