/** Withdrawing what a tenant has no room for: through real sessions, against a world where it was never written. */
import fc from 'fast-check'
import { describe, expect, test, vi } from 'vitest'
import { type Change, digestRows, type Gate, parseTenantName, type Store } from '../../core/index.ts'
import { createMemoryDisk, openMemoryStore } from '../../core/stores/memory.ts'
import { Withdraw } from '../../core/withdraw.ts'
import { type OpenTenant, Plans, TenantManager } from '../../tenant/index.ts'
import { type Client, codeOf, connect, NOW_MS, openClient, readNotes, type Session } from './session.ts'

const ACME = parseTenantName('acme')

async function openTenant(rows: number): Promise<OpenTenant> {
  const disk = createMemoryDisk()
  const open = Object.fromEntries(Object.keys(new Plans().get('unlimited').quotas).map((name) => [name, 'unlimited']))
  const manager = await TenantManager.open({
    registry: openMemoryStore(),
    stores: { dedicated: { open: async () => disk.open(), remove: async () => {} } },
    plans: new Plans({ plans: { small: { features: ['sync'], quotas: { ...open, rows } } } }),
    now: () => NOW_MS,
    monotonicMs: () => 0,
  })
  await manager.register({ name: ACME, plan: 'small', mode: 'dedicated' })
  return (await manager.lease(ACME)).tenant
}

function join(client: Client, tenant: OpenTenant, rules: Partial<Gate> = {}): Session {
  const gate = { mayRead: () => true, mayWrite: () => true, weigh: tenant.weigh.bind(tenant), ...rules }
  return connect(client, tenant.hub, gate)
}

async function insert(client: Client, ...ids: readonly string[]): Promise<void> {
  for (const id of ids) await client.table('notes').insert({ id, text: `text of ${id}` })
}

async function idsOf(client: Client): Promise<string[]> {
  const ids: string[] = []
  for await (const { id } of client.table('notes').scan()) ids.push(id)
  return ids.toSorted()
}

async function idsAt(tenant: OpenTenant): Promise<string[]> {
  return (await readNotes('acme', tenant.hub)).map(({ id }) => id).toSorted()
}

/** A writer that is paused with `c` and `d`, and has deleted `a` behind them. */
async function openPaused(): Promise<{ tenant: OpenTenant; client: Client; session: Session }> {
  const tenant = await openTenant(2)
  const client = await openClient('acme')
  await insert(client, 'a', 'b', 'c', 'd')
  await client.table('notes').delete('a')
  const session = join(client, tenant)
  expect(await codeOf(session.settled())).toBe('quota-exceeded')
  return { tenant, client, session }
}

const isInsert = ({ op }: Change): boolean => op === 'insert'

describe('a writer that is paused', () => {
  test('withdraws what there is no room for, and its deletes get through', async () => {
    const { tenant, client, session } = await openPaused()
    const withdrawn = await session.client.withdraw(isInsert)
    expect(withdrawn.map(({ id }) => id)).toEqual(['c', 'd'])
    await session.settled()
    expect(client.pending).toBe(0)
    expect([await idsOf(client), await idsAt(tenant)]).toEqual([['b'], ['b']])
    // There is room again, and nothing keeps it from being used.
    await insert(client, 'c')
    await session.settled()
    expect(await idsAt(tenant)).toEqual(['b', 'c'])
  })

  test('finds what it has withdrawn among the rejected ones, with all that it was', async () => {
    const { client, session } = await openPaused()
    await session.client.withdraw(({ id }) => id === 'c')
    expect(await client.rejected()).toMatchObject([
      { code: 'quota-exceeded', change: { op: 'insert', table: 'notes', id: 'c', values: { text: 'text of c' } } },
    ])
  })

  test('is paused again when what it has kept still finds no room', async () => {
    const { client, session, tenant } = await openPaused()
    await session.client.withdraw(({ id }) => id === 'c')
    expect(await codeOf(session.settled())).toBe('quota-exceeded')
    expect([client.pending, await idsAt(tenant)]).toEqual([2, ['a', 'b']])
    await session.client.withdraw(({ id }) => id === 'd')
    await session.settled()
    expect([await idsOf(client), await idsAt(tenant)]).toEqual([['b'], ['b']])
  })

  test('WD2: withdraws a transaction whole, and what builds on it', async () => {
    const { client, session } = await openPaused()
    await client.transact((transaction) => {
      transaction.table('notes').insert({ id: 'e', text: 'in one transaction' })
      transaction.table('notes').insert({ id: 'f', text: 'in one transaction' })
    })
    await client.table('notes').update('f', { text: 'later' })
    const withdrawn = await session.client.withdraw(({ id }) => id === 'e' || id === 'c' || id === 'd')
    expect(withdrawn.map(({ id, op }) => `${op} ${id}`)).toEqual([
      'insert c',
      'insert d',
      'insert e',
      'insert f',
      'update f',
    ])
    await session.settled()
    expect(await idsOf(client)).toEqual(['b'])
  })

  test('leaves no gap: the dots are voids, on the server and for whoever reads', async () => {
    const { tenant, client, session } = await openPaused()
    await session.client.withdraw(isInsert)
    await session.settled()
    expect(tenant.hub.ledger.state.meta).toMatchObject({ voids: 2, changes: 3 })
    const reader = await openClient('acme')
    const reading = join(reader, tenant)
    await reading.settled()
    expect(await reader.digest()).toEqual(await client.digest())
  })

  test('that loses its connection right after it pushes the voids with the next one, and is no copy of itself', async () => {
    const { tenant, client, session } = await openPaused()
    await session.client.withdraw(({ id }) => id === 'c' || id === 'd')
    session.close()
    const again = join(client, tenant)
    await again.settled()
    again.close()
    const once = join(client, tenant)
    await once.settled()
    expect([await idsOf(client), await idsAt(tenant), client.pending]).toEqual([['b'], ['b'], 0])
  })

  test('whose last change is withdrawn is known by its server all the same', async () => {
    const tenant = await openTenant(1)
    const client = await openClient('acme')
    await insert(client, 'a', 'b')
    const session = join(client, tenant)
    expect(await codeOf(session.settled())).toBe('quota-exceeded')
    await session.client.withdraw(isInsert)
    await session.settled()
    session.close()
    const again = join(client, tenant)
    await again.settled()
    expect([client.id, client.pending]).toEqual([client.hub.ledger.state.meta.replicaId, 0])
  })

  test('that takes a new id before anything of it was sent does not issue it again', async () => {
    const { tenant, client, session } = await openPaused()
    session.close()
    // As when the process ends between the commit and the first push.
    await client.hub.ledger.submit(new Withdraw(isInsert, () => true))
    expect([(await client.rejected()).length, client.pending]).toEqual([2, 3])
    await client.renewIdentity('replica-cloned')
    const again = join(client, tenant)
    await again.settled()
    expect([await idsOf(client), await idsAt(tenant)]).toEqual([['b'], ['b']])
    expect((await client.rejected()).map(({ change }) => change.id)).toEqual(['c', 'd'])
    // Under the new id as well every dot is taken.
    await insert(client, 'e')
    await again.settled()
    expect(await idsAt(tenant)).toEqual(['b', 'e'])
  })

  test('WD3: pushes nothing while it is being taken back, although its time to try again has come', async () => {
    const disk = openMemoryStore()
    let flushed: Promise<void> = Promise.resolve()
    const slow: Store = {
      head: () => disk.head(),
      getMany: (keys) => disk.getMany(keys),
      range: (range) => disk.range(range),
      commit: (commit) => flushed.then(() => disk.commit(commit)),
      close: () => disk.close(),
    }
    const tenant = await openTenant(1)
    const client = await openClient('acme', slow)
    await insert(client, 'a', 'b')
    let hasRoom = false
    const session = join(client, tenant, { weigh: (...asked) => (hasRoom ? undefined : tenant.weigh(...asked)) })
    expect(await codeOf(session.settled())).toBe('quota-exceeded')
    hasRoom = true
    let flush = (): void => {}
    flushed = new Promise((resolve) => {
      flush = resolve
    })
    const withdrawing = session.client.withdraw(({ id }) => id === 'b')
    // The job has run, and its commit is under way.
    await vi.waitUntil(() => client.hub.ledger.state.meta.rejected === 1)
    session.client.resume()
    for (let turn = 0; turn < 10; turn++) await new Promise((resolve) => setImmediate(resolve))
    flush()
    expect((await withdrawing).map(({ id }) => id)).toEqual(['b'])
    await session.settled()
    expect([await idsOf(client), await idsAt(tenant)]).toEqual([['a'], ['a']])
  })

  test('WD1: who is not paused withdraws nothing', async () => {
    const tenant = await openTenant(9)
    const client = await openClient('acme')
    await insert(client, 'a')
    const session = join(client, tenant)
    expect(await codeOf(session.client.withdraw(() => true))).toBe('closed')
    await session.settled()
    expect(await codeOf(session.client.withdraw(() => true))).toBe('closed')
    expect([await idsOf(client), await client.rejected()]).toEqual([['a'], []])
  })
})

const stepArbitrary = fc.oneof(
  { weight: 5, arbitrary: fc.record({ type: fc.constantFrom('insert', 'delete', 'update'), row: fc.nat({ max: 7 }) }) },
  {
    weight: 1,
    arbitrary: fc.record({ type: fc.constantFrom('other', 'withdraw', 'reconnect'), row: fc.nat({ max: 7 }) }),
  },
)

test('whatever is written, withdrawn and lost on the way, all end equal, with nothing unaccounted for', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(stepArbitrary, { minLength: 5, maxLength: 40 }), async (steps) => {
      const tenant = await openTenant(3)
      const [client, other] = [await openClient('acme'), await openClient('acme')]
      let session = join(client, tenant)
      let elsewhere = join(other, tenant)
      const settle = async (each: Session): Promise<string> => codeOf(each.settled())
      let written = 0
      const write = async (at: Client, type: string, id: string): Promise<void> => {
        const notes = at.table('notes')
        const isThere = (await notes.get(id)) !== undefined
        let writing: Promise<unknown> = Promise.resolve()
        if (type === 'insert' && !isThere) writing = notes.insert({ id, text: `${written++}` })
        if (type === 'update' && isThere) writing = notes.update(id, { text: `${written++}` })
        if (type === 'delete' && isThere) writing = notes.delete(id)
        // What the other one did to the row may arrive between the look and the write.
        expect(['no error', 'row-exists', 'row-missing']).toContain(await codeOf(writing))
      }
      for (const { type, row } of steps) {
        const id = `n${row}`
        if (type === 'other') {
          await write(other, row % 2 === 0 ? 'update' : 'delete', id)
          await settle(elsewhere)
        } else if (type === 'withdraw') {
          await settle(session)
          await session.client.withdraw((change) => change.id === id || change.op === 'insert').catch(() => [])
        } else if (type === 'reconnect') {
          session.close()
          session = join(client, tenant)
        } else await write(client, type, id)
      }
      for (let turn = 0; turn < 5; turn++) {
        if ((await settle(session)) === 'quota-exceeded') await session.client.withdraw(() => true).catch(() => [])
        if ((await settle(elsewhere)) === 'quota-exceeded') await elsewhere.client.withdraw(() => true).catch(() => [])
      }
      elsewhere.close()
      elsewhere = join(other, tenant)
      expect([await settle(session), await settle(elsewhere)]).toEqual(['no error', 'no error'])
      expect([client.pending, other.pending]).toEqual([0, 0])
      const { hash } = await digestRows(tenant.hub.ledger)
      expect([(await client.digest()).hash, (await other.digest()).hash]).toEqual([hash, hash])
      const { seqs, voidCounts } = tenant.hub.ledger.state
      const index = tenant.hub.ledger.state.replicas.find(client.id)
      // Every dot of it is a change that counts, or a void that its writer knows of.
      expect(voidCounts[index] ?? 0).toBe((await client.rejected()).length)
      expect(seqs[index] ?? 0).toBe(client.hub.ledger.state.meta.ownSeq)
    }),
    { numRuns: 150 },
  )
})
