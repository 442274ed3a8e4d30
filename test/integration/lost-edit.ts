/**
 * What the story of the lost edit needs in two processes: the notes, and everything that a replica says of one of them.
 */
import { type Conflict, type Replica, type TableDefinition, table } from '../../core/index.ts'

export interface Memo {
  readonly id: string
  readonly title: string
  readonly body?: string
}
export type Memos = { readonly memos: TableDefinition<Memo> }

export const TENANT = 'acme'
export const MEMOS: Memos = { memos: table<Memo>() }

/** One text for all that replicas with equal clocks have to say alike. */
export async function lookAt(replica: Replica<Memos>, id: string, conflicts: readonly string[]): Promise<string> {
  const open: Conflict[] = []
  for await (const conflict of replica.conflicts.open()) open.push(conflict)
  const reports = await Promise.all(conflicts.map((each) => replica.conflicts.get(each)))
  const look = {
    row: (await replica.table('memos').get(id)) ?? null,
    open,
    reports,
    explanation: await replica.explain('memos', id),
    digest: await replica.digest(),
  }
  return JSON.stringify(look, undefined, 1)
}

/** What the other process is asked. It answers each question with one text. */
export type Question =
  | { readonly type: 'go offline' }
  | { readonly type: 'go online' }
  | { readonly type: 'settle' }
  | { readonly type: 'write'; readonly what: 'insert' | 'update' | 'delete'; readonly memo: Memo }
  | { readonly type: 'look'; readonly id: string; readonly conflicts: readonly string[] }
  | { readonly type: 'restore'; readonly conflict: string }
