/** Comparing and exporting rows: one small request has all of them looked at, so that it takes its turns, and few at a time. */
import { expect, test } from 'vitest'
import { createReplicaId, type Gate, Hub, Ledger, parseLimits, parseTenantName } from '../../core/index.ts'
import { placeOf } from '../../core/resuming.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import { exportLedger } from '../../tenant/export.ts'
import { DEFAULT_PLANS, parsePlan, Seats } from '../../tenant/index.ts'
import { connect, openClient, sync } from './session.ts'

const ROWS = 1_000

/** A server whose work is counted, with a thousand rows that a client holds as well. */
async function openStage() {
  const count = { turns: 0 }
  const turn = (): Promise<void> => {
    count.turns++
    return Promise.resolve()
  }
  const tenant = parseTenantName('acme')
  const hub = new Hub(
    await Ledger.open({ tenant, store: openMemoryStore(), limits: parseLimits(), authority: 2, turn }),
  )
  const client = await openClient('acme')
  await client.transact((transaction) => {
    for (let n = 0; n < ROWS; n++) transaction.table('notes').insert({ id: `n${n}`, text: 'equal' })
  })
  await sync(client, hub)
  return { hub, client, count }
}

test('a comparison lets others have their turn every few rows', async () => {
  const { hub, client, count } = await openStage()
  const session = connect(client, hub)
  await session.settled()
  const before = count.turns
  const { rows, differing } = await session.client.verify(['notes'], false)
  expect([rows, differing.length]).toEqual([ROWS, 0])
  expect(count.turns - before).toBeGreaterThanOrEqual(Math.floor(ROWS / 64))
  session.close()
})

test('who says what it has of many writers is found its place in turns', async () => {
  const { hub, count } = await openStage()
  for (let writer = 0; writer < 40; writer++) {
    const client = await openClient('acme')
    await client.table('notes').insert({ id: `w${writer}`, text: 'of one of many' })
    await sync(client, hub)
  }
  const before = count.turns
  await placeOf(hub.ledger, 'server', { type: 'clock', clock: [[createReplicaId(), 1]] })
  expect(count.turns - before).toBeGreaterThanOrEqual(40)
})

test('an export lets others have their turn with each record, and while the text over all rows is made', async () => {
  const { hub, count } = await openStage()
  const before = count.turns
  let records = 0
  for await (const _ of exportLedger(hub.ledger, { nowMs: 0 })) records++
  expect(records).toBe(2 * ROWS + 2)
  expect(count.turns - before).toBeGreaterThanOrEqual(2 * ROWS + Math.floor(ROWS / 64))
})

test('of all sessions of a tenant few compare at a time, as many as may read snapshots', async () => {
  const { hub } = await openStage()
  const plan = parsePlan('two', { ...(DEFAULT_PLANS.unlimited as object) })
  const seats = new Seats()
  let [most, asked] = [0, 0]
  const gate: Gate = {
    mayRead: () => true,
    mayWrite: () => true,
    readSnapshot: (read) =>
      seats.inBuild(
        () => plan,
        async () => {
          asked++
          most = Math.max(most, seats.builds)
          return read()
        },
      ),
  }
  const clients = await Promise.all(Array.from({ length: 6 }, () => openClient('acme')))
  const sessions = clients.map((client) => connect(client, hub, gate))
  await Promise.all(sessions.map((session) => session.settled()))
  const before = asked
  await Promise.all(sessions.map((session) => session.client.verify(['notes'], false)))
  expect(asked - before).toBeGreaterThanOrEqual(clients.length)
  expect(most).toBe(2)
  for (const session of sessions) session.close()
})
