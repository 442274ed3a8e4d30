/**
 * The gate of a tenant in front of real sessions: quotas that pause without a dot, scopes, the app's own rule.
 *
 * Knows: clients, plans, what is stored in the end. Must never know: how a pause travels.
 */
import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { digestRows, type Gate, type Proposal, parseTenantName } from '../../core/index.ts'
import { createMemoryDisk, openMemoryStore } from '../../core/stores/memory.ts'
import { createJudge, type OpenTenant, Plans, type Principal, type Scope, TenantManager } from '../../tenant/index.ts'
import { type Client, codeOf, connect, NOW_MS, openClient, type Session } from './session.ts'

const ACME = parseTenantName('acme')

let manager: TenantManager

function planWith(quotas: Record<string, number>): unknown {
  const names = Object.keys(new Plans().get('unlimited').quotas)
  return { features: ['sync'], quotas: { ...Object.fromEntries(names.map((name) => [name, 'unlimited'])), ...quotas } }
}

async function openTenant(quotas: Record<string, number>, disk = createMemoryDisk()): Promise<OpenTenant> {
  manager = await TenantManager.open({
    registry: openMemoryStore(),
    stores: { dedicated: { open: async () => disk.open(), remove: async () => {} } },
    plans: new Plans({ plans: { small: planWith(quotas), large: planWith({}) } }),
    now: () => NOW_MS,
    monotonicMs: () => 0,
  })
  await manager.register({ name: ACME, plan: 'small', mode: 'dedicated' })
  return (await manager.lease(ACME)).tenant
}

function gateOf(tenant: OpenTenant, rules: Partial<Gate> = {}): Gate {
  return { mayRead: () => true, mayWrite: () => true, weigh: (usage, growth) => tenant.weigh(usage, growth), ...rules }
}

/** Until nothing is under way any more. */
async function quiet(): Promise<void> {
  for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve))
}

describe('a writer beyond the quota of its tenant', () => {
  let tenant: OpenTenant
  let client: Client
  let session: Session

  beforeEach(async () => {
    tenant = await openTenant({ rows: 5 })
    client = await openClient('acme')
    for (let id = 1; id <= 8; id++) await client.table('notes').insert({ id: `${id}`, text: 'x' })
    session = connect(client, tenant.hub, gateOf(tenant))
    expect(await codeOf(session.settled())).toBe('quota-exceeded')
  })

  test('is paused, told why, and uses up no dot', () => {
    expect(session.client.pause).toMatchObject({ resource: 'rows', limit: 5, used: 5, retryAfterMs: 60_000 })
    expect([session.client.state, client.pending]).toEqual(['streaming', 3])
    expect(tenant.hub.ledger.state.meta).toMatchObject({ rows: 5, voids: 0, changes: 5 })
  })

  test('regression 23: still receives what others write', async () => {
    const other = await openClient('acme')
    const others = connect(other, tenant.hub, gateOf(tenant))
    await others.settled()
    await other.table('notes').update('1', { text: 'from another' })
    await others.settled()
    await quiet()
    expect(await client.table('notes').get('1')).toMatchObject({ text: 'from another' })
  })

  test('goes on where it stopped once there is room, by deletes of others or a larger plan', async () => {
    const other = await openClient('acme')
    const others = connect(other, tenant.hub, gateOf(tenant))
    await others.settled()
    await other.table('notes').delete('1')
    await others.settled()
    session.client.resume()
    expect(await codeOf(session.settled())).toBe('quota-exceeded')
    expect(client.pending).toBe(2)
    await manager.setPlan('acme', 'large')
    session.client.resume()
    await session.settled()
    expect(client.pending).toBe(0)
    expect(await digestRows(client.ledger)).toEqual(await digestRows(tenant.hub.ledger))
  })

  test('that connects anew is paused anew, and loses nothing', async () => {
    session.close()
    const again = connect(client, tenant.hub, gateOf(tenant))
    expect(await codeOf(again.settled())).toBe('quota-exceeded')
    expect(client.pending).toBe(3)
  })
})

test('racing writers never take a tenant beyond its rows, by not one, and all gets there in the end', async () => {
  const writers = fc.array(fc.array(fc.nat({ max: 12 }), { maxLength: 12 }), { minLength: 1, maxLength: 4 })
  await fc.assert(
    fc.asyncProperty(writers, fc.nat({ max: 10 }), async (plans, rows) => {
      const tenant = await openTenant({ rows })
      const counts: number[] = []
      tenant.hub.ledger.onCommit(() => counts.push(tenant.usage.rows))
      const clients = await Promise.all(plans.map(() => openClient('acme')))
      const sessions = clients.map((client) => connect(client, tenant.hub, gateOf(tenant)))
      await Promise.all(
        plans.map(async (ids, index) => {
          for (const id of ids) await (clients[index] as Client).table('notes').upsert({ id: `${id}`, text: 'x' })
        }),
      )
      await Promise.all(sessions.map((session) => codeOf(session.settled())))
      expect(Math.max(0, ...counts)).toBeLessThanOrEqual(rows)
      await manager.setPlan('acme', 'large')
      for (const session of sessions) session.client.resume()
      for (const session of sessions) await session.settled()
      const digests = await Promise.all(clients.map((client) => digestRows(client.ledger)))
      for (const digest of digests) expect(digest).toEqual(await digestRows(tenant.hub.ledger))
      expect(tenant.usage.rows).toBe(new Set(plans.flat()).size)
    }),
    { numRuns: 60 },
  )
})

test('bytes stop short of their quota for writes, and short of the reserve for deletes', async () => {
  const limit = 20_000
  const tenant = await openTenant({ storedBytes: limit })
  const client = await openClient('acme')
  const session = connect(client, tenant.hub, gateOf(tenant))
  const used: number[] = []
  tenant.hub.ledger.onCommit(() => used.push(tenant.usage.storedBytes))
  for (let id = 0; id < 200; id++) await client.table('notes').insert({ id: `${id}`, text: 'x'.repeat(100) })
  expect(await codeOf(session.settled())).toBe('quota-exceeded')
  expect(Math.max(...used)).toBeLessThanOrEqual(limit)
  expect(Math.max(...used)).toBeGreaterThan(limit * 0.95)
  const other = await openClient('acme')
  const others = connect(other, tenant.hub, gateOf(tenant))
  await others.settled()
  const held = tenant.usage.rows
  for await (const { id } of other.table('notes').scan()) await other.table('notes').delete(id)
  await codeOf(others.settled())
  expect(tenant.usage.rows).toBeLessThan(held)
  expect(Math.max(...used)).toBeLessThanOrEqual(limit * 1.1)
})

test('what is refused counts as well: with voids alone nobody takes more of the disk than the plan has', async () => {
  const limit = 20_000
  const disk = createMemoryDisk()
  const tenant = await openTenant({ storedBytes: limit }, disk)
  const client = await openClient('acme')
  const session = connect(client, tenant.hub, gateOf(tenant, { judge: () => 'forbidden' }))
  for (let batch = 0; batch < 30; batch++) {
    await Promise.all(
      Array.from({ length: 100 }, (_, n) => client.table('notes').insert({ id: `${batch}-${n}`, text: 'x' })),
    )
  }
  expect(await codeOf(session.settled())).toBe('quota-exceeded')
  const { voids } = tenant.hub.ledger.state.meta
  expect(voids).toBeGreaterThan(100)
  expect(tenant.usage.storedBytes).toBeLessThanOrEqual(limit)
  const store = disk.open()
  const kept = await store.range({ from: new Uint8Array(0), to: new Uint8Array([255]), limit: 1_000_000 })
  const onDisk = kept.reduce((sum, { key, value }) => sum + key.length + value.length, 0)
  // What is not counted is the same however much there is: positions, names, who there is.
  expect(onDisk).toBeLessThan(limit * 1.1)
})

test('a new replica beyond the quota is not met, and those that are known come and go', async () => {
  const tenant = await openTenant({ replicas: 2 })
  const [one, two, three] = [await openClient('acme'), await openClient('acme'), await openClient('acme')]
  for (const client of [one, two, one]) {
    const session = connect(client, tenant.hub, gateOf(tenant))
    await session.settled()
    session.close()
  }
  expect(await codeOf(connect(three, tenant.hub, gateOf(tenant)).settled())).toBe('quota-exceeded')
  expect(tenant.usage.replicas).toBe(2)
})

describe('a session', () => {
  const principal = (scopes: readonly Scope[], tables?: readonly string[]): Principal => ({
    tenant: ACME,
    subject: 'ada',
    scopes: new Set(scopes),
    tables: tables && new Set(tables),
    writeTables: undefined,
    issuedAtMs: 0,
    expiresAtMs: Number.MAX_SAFE_INTEGER,
    tokenId: undefined,
  })

  test('regression 28: that may only read has its whole push refused, and nothing stored', async () => {
    const tenant = await openTenant({})
    const client = await openClient('acme')
    const session = connect(client, tenant.hub, gateOf(tenant, { mayWrite: () => false }))
    await session.settled()
    await client.table('notes').insert({ id: '1', text: 'x' })
    expect(await codeOf(session.settled())).toBe('forbidden')
    expect(tenant.usage.rows).toBe(0)
    expect(tenant.hub.ledger.state.meta.voids).toBe(0)
  })

  test('that may only write gets no row, neither at once, nor later, nor by asking', async () => {
    const tenant = await openTenant({})
    const writer = await openClient('acme')
    await writer.table('notes').insert({ id: '1', text: 'secret' })
    await connect(writer, tenant.hub).settled()
    const client = await openClient('acme')
    await client.table('notes').insert({ id: '2', text: 'mine' })
    const session = connect(client, tenant.hub, gateOf(tenant, { mayRead: () => false }))
    await quiet()
    expect(client.pending).toBe(0)
    await writer.table('notes').update('1', { text: 'still secret' })
    await quiet()
    expect(await client.table('notes').get('1')).toBeUndefined()
    expect(await codeOf(session.client.verify(['notes']))).toBe('forbidden')
  })

  test('that loses its right to read gets nothing more', async () => {
    const tenant = await openTenant({})
    let mayRead = true
    const client = await openClient('acme')
    const session = connect(client, tenant.hub, gateOf(tenant, { mayRead: () => mayRead }))
    await session.settled()
    mayRead = false
    const writer = await openClient('acme')
    await writer.table('notes').insert({ id: '1', text: 'secret' })
    await connect(writer, tenant.hub).settled()
    await quiet()
    expect(session.client.error?.code).toBe('forbidden')
    expect(await client.table('notes').get('1')).toBeUndefined()
  })

  test('has each change judged by its table, its content and the row it is about', async () => {
    const tenant = await openTenant({})
    const seen: Pick<Proposal, 'op' | 'values' | 'row'>[] = []
    const judge = createJudge({
      principal: () => principal(['read', 'write'], ['notes']),
      authorize: ({ op, values, row }) => {
        seen.push({ op, values, row })
        return row?.text !== 'locked'
      },
    })
    const client = await openClient('acme')
    const session = connect(client, tenant.hub, gateOf(tenant, { judge }))
    await client.table('notes').insert({ id: '1', text: 'locked' })
    await session.settled()
    await client.table('notes').update('1', { text: 'opened' })
    await client.table('notes').insert({ id: '2', text: 'free' })
    await session.settled()
    expect((await client.rejected()).map(({ code }) => code)).toEqual(['forbidden'])
    expect(await client.table('notes').get('1')).toMatchObject({ text: 'locked' })
    expect(await client.table('notes').get('2')).toMatchObject({ text: 'free' })
    expect(seen.map(({ op, values, row }) => [op, { ...values }, row && { ...row }])).toEqual([
      ['insert', { text: 'locked' }, undefined],
      ['update', { text: 'opened' }, { text: 'locked' }],
      ['insert', { text: 'free' }, undefined],
    ])
  })
})
