/**
 * A replica in a process of its own, on LMDB: `replica-child DIRECTORY URL`. It does what it is asked, one question after the
 * other.
 */
import { openReplica } from '../../core/index.ts'
import { openLmdbStore } from '../../core/stores/lmdb.ts'
import { connect, type SyncLink } from '../../sync-client/index.ts'
import { lookAt, MEMOS, type Question, TENANT } from './lost-edit.ts'

const [directory = '', url = ''] = process.argv.slice(2)
process.on('disconnect', () => process.exit(0))
const replica = await openReplica({ tenant: TENANT, store: await openLmdbStore(directory), tables: MEMOS })
let link: SyncLink = open()
let answers = Promise.resolve()
process.on('message', (question: Question) => {
  answers = answers.then(async () => {
    process.send?.(await answer(question))
  })
})
process.send?.(replica.id)

function open(): SyncLink {
  return connect(replica, { url, backoff: { baseMs: 20, capMs: 200 } })
}

async function answer(question: Question): Promise<string> {
  switch (question.type) {
    case 'go offline':
      await link.close()
      return 'offline'
    case 'go online':
      link = open()
      return 'online'
    case 'settle':
      await link.settled({ timeoutMs: 15_000 })
      return 'settled'
    case 'write': {
      const { what, memo } = question
      const memos = replica.table('memos')
      if (what === 'insert') await memos.insert(memo)
      else if (what === 'update') await memos.update(memo.id, { title: memo.title })
      else await memos.delete(memo.id)
      return 'written'
    }
    case 'look':
      return lookAt(replica, question.id, question.conflicts)
    case 'restore':
      await replica.conflicts.restore(question.conflict)
      return 'restored'
  }
}
