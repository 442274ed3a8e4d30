/**
 * The asynchronous shells of core under fast-check's scheduler: stores and lines that answer in any order.
 *
 * What a store does takes effect at once; when its caller hears of it is the scheduler's choice. So is when a frame arrives.
 */

import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  clientRole,
  digestRows,
  Hub,
  Ledger,
  Link,
  openReplica,
  parseLimits,
  parseTenantName,
  table,
} from '../../core/index.ts'
import { serverRole } from '../../core/server-door.ts'
import type { Store } from '../../core/store.ts'
import { createMemoryDisk, openMemoryStore } from '../../core/stores/memory.ts'

const TENANT = 'acme'
const TABLES = { notes: table<{ id: string; text: string }>() }
const START_MS = 1_800_000_000_000

/** A store whose answers wait for the scheduler. */
function schedule(store: Store, scheduler: fc.Scheduler): Store {
  return {
    head: scheduler.scheduleFunction(function head() {
      return store.head()
    }),
    getMany: scheduler.scheduleFunction(function getMany(keys: readonly Uint8Array[]) {
      return store.getMany(keys)
    }),
    range: scheduler.scheduleFunction(function range(asked: Parameters<Store['range']>[0]) {
      return store.range(asked)
    }),
    commit: scheduler.scheduleFunction(function commit(asked: Parameters<Store['commit']>[0]) {
      return store.commit(asked)
    }),
    close: () => store.close(),
  }
}

const writes = fc.array(fc.tuple(fc.nat(1), fc.constantFrom('a', 'b', 'c')), { minLength: 1, maxLength: 12 })

test('two processes that write to one store lose nothing and use no seq twice, whoever hears first', {
  timeout: 120_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), writes, async (scheduler, planned) => {
      const disk = createMemoryDisk()
      const open = (store: Store) => openReplica({ tenant: TENANT, store, tables: TABLES, now: () => START_MS })
      await (await open(disk.open())).close()
      const opening = [0, 1].map(() => open(schedule(disk.open(), scheduler)))
      const processes = await scheduler.waitFor(Promise.all(opening))
      const writing = planned.map(async ([number, id], index) => {
        const process = processes[number]
        if (process === undefined) throw new RangeError(`there is no process ${number}`)
        const { change } = await process.table('notes').upsert({ id, text: `${index}` })
        return { seq: change.dot.seq, id, text: `${index}` }
      })
      const written = await scheduler.waitFor(Promise.all(writing))
      expect(written.map(({ seq }) => seq).sort((a, b) => a - b)).toEqual(planned.map((_, index) => index + 1))
      const reader = await open(disk.open())
      for (const id of new Set(written.map((each) => each.id))) {
        const last = written.filter((each) => each.id === id).reduce((a, b) => (a.seq > b.seq ? a : b))
        expect(await reader.table('notes').get(id)).toEqual({ id, text: last.text })
      }
      expect(await reader.log.query({ limit: 100 })).toHaveLength(planned.length)
    }),
    { numRuns: 300 },
  )
})

test('a client and its server settle equal, in whatever order their stores and their line answer', {
  timeout: 120_000,
}, async () => {
  await fc.assert(
    fc.asyncProperty(fc.scheduler(), writes, async (scheduler, planned) => {
      const tenant = parseTenantName(TENANT)
      const [store, serverStore] = [openMemoryStore(), openMemoryStore()].map((each) => schedule(each, scheduler))
      if (store === undefined || serverStore === undefined) throw new Error('there are two')
      const now = (): number => START_MS
      const opening = Promise.all([
        openReplica({ tenant: TENANT, store, tables: TABLES, now }),
        Ledger.open({ tenant, store: serverStore, limits: parseLimits(), authority: 2 }),
      ])
      const [client, ledger] = await scheduler.waitFor(opening)
      const lineTo = (receive: (frame: Uint8Array) => void) => {
        const frames: Uint8Array[] = []
        // In order, each when the scheduler says so.
        const send = (frame: Uint8Array): void => {
          frames.push(frame)
          void scheduler.schedule(Promise.resolve(), 'frame').then(() => receive(frames.shift() ?? frame))
        }
        return { send, close: () => {} }
      }
      const common = { tables: client.tables, now }
      const transport = lineTo((frame) => server.receive(frame))
      const link = new Link({ ...common, hub: client.hub, role: clientRole, transport })
      const down = lineTo((frame) => link.receive(frame))
      const hub = new Hub(ledger)
      const server: Link = new Link({ ...common, hub, role: serverRole(), transport: down })
      link.start()
      const notes = client.table('notes')
      const writing = planned.map(([, id], index) => notes.upsert({ id, text: `${index}` }))
      await scheduler.waitFor(Promise.all(writing))
      await scheduler.waitFor(link.settled())
      await scheduler.waitIdle()
      expect(client.pending).toBe(0)
      expect(ledger.durableClock().get(client.id)).toBe(planned.length)
      const digests = await scheduler.waitFor(Promise.all([client.digest(), digestRows(ledger)]))
      expect(digests[0].hash).toBe(digests[1].hash)
    }),
    { numRuns: 200 },
  )
})
