/** Several servers on one data directory: what an operator changes at one of them counts at the others. */
import { expect, test } from 'vitest'
import { causal, table } from '../../core/index.ts'
import { createFolder, type Note, settleAll, stateOf } from './stage.ts'
import { openTokenServer, openWithToken } from './tokens.ts'

const [BEFORE, AFTER] = ['fields lastWriteWins@1', 'fields causal@1']

test('a definition that is replaced at one ends the sessions of all within 5 s, and who has the new one is let in', async () => {
  const dataDir = createFolder()
  const here = await openTokenServer({ dataDir })
  const elsewhere = await openTokenServer({ dataDir, defaultPlan: 'unlimited' })
  const old = await openWithToken(elsewhere.url, { sub: 'ann' })
  await old.replica.table('notes').upsert({ id: 'n1', title: 'one', done: false })
  await settleAll(old.link)
  const startedAt = performance.now()
  await here.manager.redefine('acme', { table: 'notes', from: BEFORE, to: AFTER })
  expect((await stateOf(old.link, 'stopped')).lastError?.code).toBe('schema-mismatch')
  expect(performance.now() - startedAt).toBeLessThan(5_500)
  const renewed = await openWithToken(elsewhere.url, { sub: 'bob' }, { notes: table<Note>({ policy: causal() }) })
  await settleAll(renewed.link)
  expect((await renewed.replica.digest()).rows).toBe(1)
})
