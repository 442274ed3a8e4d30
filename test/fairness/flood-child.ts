/** A tenant that floods: replicas that write whole transactions without a pause, for as long as the process lives. */
import { openReplica, table } from '../../core/index.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { connect } from '../../sync-client/index.ts'

interface Note {
  readonly id: string
  readonly title: string
}

const [url = '', tenant = 'flood', replicas = '4'] = process.argv.slice(2)
const TRANSACTION_ROWS = 1_000
process.on('disconnect', () => process.exit(0))

let written = 0
async function flood(_: unknown, number: number): Promise<void> {
  const replica = await openReplica({ tenant, store: openMemoryStore(), tables: { notes: table<Note>() } })
  const link = connect(replica, { url })
  let turn = 0
  for (;;) {
    await replica.transact((transaction) => {
      const notes = transaction.table('notes')
      const first = turn++ * TRANSACTION_ROWS
      for (let row = 0; row < TRANSACTION_ROWS; row++) {
        notes.insert({ id: `${process.pid}-${number}-${first + row}`, title: 'as fast as it can '.repeat(8) })
      }
    })
    written += TRANSACTION_ROWS
    // What a hostile writer has to heed as well: the credit window.
    while (replica.pending > 5 * TRANSACTION_ROWS) await new Promise((resolve) => setTimeout(resolve, 1))
    if (link.status.state === 'stopped') throw link.status.lastError
  }
}

setInterval(() => process.send?.({ written }), 1_000)
await Promise.all(Array.from({ length: Number(replicas) }, flood))
