/**
 * The life of tenants under one manager, and under several that share a registry.
 *
 * Knows: stores that fail on demand. Must never know: how the manager keeps its records.
 */
import fc from 'fast-check'
import { beforeEach, describe, expect, test, vi } from 'vitest'
import { parseTenantName, type Store, TidemarkError } from '../../core/index.ts'
import { createMemoryDisk, type MemoryDisk } from '../../core/stores/memory.ts'
import {
  type ExportRecord,
  Plans,
  type StoreFactory,
  TenantManager,
  type TenantManagerOptions,
  type UsageEvent,
} from '../../tenant/index.ts'
import { codeOf, connect, NOW_MS, openClient, readNotes, sync } from './session.ts'

const ACME = parseTenantName('acme')
const UNLIMITED = new Plans().get('unlimited')

let registry: MemoryDisk
let disks: Map<string, MemoryDisk>
let opens: number
/** Opens that still work; then `failure` is thrown, if there is one. */
let opensLeft: number
let failure: Error | undefined
let nowMs: number
let usageEvents: (UsageEvent & { readonly tenant: string })[]

beforeEach(() => {
  registry = createMemoryDisk()
  disks = new Map()
  opens = 0
  opensLeft = 0
  failure = undefined
  nowMs = 0
  usageEvents = []
})

const factory: StoreFactory = {
  open: async (name) => {
    opens++
    if (failure !== undefined && opensLeft-- <= 0) throw failure
    const disk = disks.get(name) ?? createMemoryDisk()
    disks.set(name, disk)
    return disk.open()
  },
  remove: async (name) => {
    if (failure !== undefined) throw failure
    disks.delete(name)
  },
}

function openManager(options: Partial<TenantManagerOptions> = {}): Promise<TenantManager> {
  return TenantManager.open({
    registry: registry.open(),
    stores: { dedicated: factory },
    now: () => NOW_MS + nowMs,
    monotonicMs: () => nowMs,
    onUsage: (tenant, event) => usageEvents.push({ ...event, tenant }),
    ...options,
  })
}

const register = (manager: TenantManager, name = 'acme', plan = 'pro'): Promise<unknown> =>
  manager.register({ name, plan, mode: 'dedicated' })

const storeOf = (name: string): Store => (disks.get(name) as MemoryDisk).open()

async function write(manager: TenantManager, id: string): Promise<void> {
  const { tenant, release } = await manager.lease(ACME)
  const client = await openClient('acme')
  await client.table('notes').insert({ id, text: id })
  await sync(client, tenant.hub)
  release()
}

async function read(manager: TenantManager): Promise<readonly string[]> {
  const { tenant, release } = await manager.lease(ACME)
  const notes = await readNotes('acme', tenant.hub)
  release()
  return notes.map(({ id }) => id)
}

describe('registering', () => {
  test('makes a tenant known, with a log of its own', async () => {
    const manager = await openManager()
    await register(manager)
    expect(await manager.get('acme')).toMatchObject({ plan: 'pro', mode: 'dedicated', state: 'active' })
    expect(await read(manager)).toEqual([])
    expect(await manager.get('other')).toBeUndefined()
  })

  test('takes the names that follow the rule, and no other', async () => {
    const manager = await openManager()
    const isName = (text: string): boolean => /^[a-z0-9][a-z0-9_-]{0,62}$/.test(text)
    const text = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 70 }),
      fc.string({ unit: fc.constantFrom('a', '0', '-', '_', 'A', '.', '/', '\0', '\n'), maxLength: 70 }),
    )
    await fc.assert(
      fc.asyncProperty(text, async (name) => {
        const isFree = !disks.has(name)
        const code = await codeOf(register(manager, name))
        expect(code).toBe(!isName(name) ? 'bad-tenant' : isFree ? 'no error' : 'bad-option')
        if (!isName(name)) {
          for (const verb of [
            manager.get(name),
            manager.erase(name),
            manager.suspend(name, ''),
            manager.resume(name),
          ]) {
            expect(await codeOf(verb)).toBe('bad-tenant')
          }
        }
      }),
    )
  })

  test.each([
    ['an unknown plan', { plan: 'gold' }],
    ['a plan of Object', { plan: 'constructor' }],
    ['a mode without stores', { mode: 'shared' as const }],
  ])('with %s is refused and leaves nothing', async (_what, wrong) => {
    const manager = await openManager()
    const registering = manager.register({ name: 'acme', plan: 'pro', mode: 'dedicated', ...wrong })
    expect(await codeOf(registering)).toBe('bad-option')
    expect(await manager.list()).toEqual([])
  })

  test('of a name that is taken is refused, also when two do it at once', async () => {
    const manager = await openManager()
    const codes = await Promise.all([register(manager), register(manager)].map(codeOf))
    expect(codes.sort()).toEqual(['bad-option', 'no error'])
  })

  test('does not take a store that is there already for its own, unless it is told to adopt it', async () => {
    const manager = await openManager()
    await register(manager)
    await write(manager, 'old')
    await manager.close()
    registry = createMemoryDisk()
    const other = await openManager()
    expect(await codeOf(register(other))).toBe('bad-option')
    expect(await codeOf(register(other))).toBe('bad-option')
    await other.register({ name: 'acme', plan: 'pro', mode: 'dedicated', adopt: true })
    expect(await read(other)).toEqual(['old'])
  })

  test('TM3: that was interrupted is finished by doing it again', async () => {
    const manager = await openManager()
    failure = new Error('power cut')
    opensLeft = 1
    expect(await codeOf(register(manager))).toBe('Error: power cut')
    expect(await manager.get('acme')).toMatchObject({ state: 'founding' })
    failure = undefined
    expect(await codeOf(manager.lease(ACME))).toBe('unavailable')
    await register(manager)
    expect(await read(manager)).toEqual([])
  })

  test('lists in the order of names, page by page', async () => {
    const manager = await openManager()
    const names = ['b', 'a', 'a0', 'c', 'a-']
    for (const name of names) await register(manager, name)
    const first = await manager.list({ limit: 3 })
    const rest = await manager.list({ after: first.at(-1)?.name ?? '', limit: 3 })
    expect([...first, ...rest].map(({ name }) => name)).toEqual(names.toSorted())
  })
})

describe('opening', () => {
  test('TL1: is done once for all who ask at the same time', async () => {
    const manager = await openManager()
    await register(manager)
    opens = 0
    const leases = await Promise.all(Array.from({ length: 50 }, () => manager.lease(ACME)))
    expect(opens).toBe(1)
    expect(new Set(leases.map(({ tenant }) => tenant)).size).toBe(1)
    expect(leases[0]?.tenant.leases).toBe(50)
    for (const { release } of [...leases, ...leases]) release()
    expect(leases[0]?.tenant.leases).toBe(0)
  })

  test('regression 26: a store that fails to open is unavailable to all who asked, and written by nobody', async () => {
    const manager = await openManager()
    await register(manager)
    await write(manager, 'kept')
    await manager.close()
    const head = await storeOf('acme').head()
    const again = await openManager()
    failure = new TidemarkError('store-failed', 'the disk is on fire')
    const leases = Array.from({ length: 10 }, () => again.lease(ACME))
    expect(new Set(await Promise.all(leases.map(codeOf)))).toEqual(new Set(['unavailable']))
    failure = undefined
    expect(await storeOf('acme').head()).toBe(head)
    expect(await read(again)).toEqual(['kept'])
  })

  test('regression 26: a store that has become empty is unavailable, and stays empty', async () => {
    const manager = await openManager()
    await register(manager)
    await write(manager, 'kept')
    await manager.close()
    const mounted = disks.get('acme') as MemoryDisk
    disks.set('acme', createMemoryDisk())
    const again = await openManager()
    expect(await codeOf(again.lease(ACME))).toBe('unavailable')
    expect(await storeOf('acme').head()).toBe(0)
    disks.set('acme', mounted)
    expect(await read(again)).toEqual(['kept'])
  })

  test('TM2: a store with another log of the same name is unavailable', async () => {
    const manager = await openManager()
    await register(manager)
    await manager.close()
    disks.delete('acme')
    const ours = registry
    registry = createMemoryDisk()
    await register(await openManager())
    registry = ours
    expect(await codeOf((await openManager()).lease(ACME))).toBe('unavailable')
  })

  test('TN1: a record that cannot be read is unavailable, and is not written over', async () => {
    const manager = await openManager()
    await register(manager)
    const [entry] = await registry.open().range({ from: new Uint8Array(0), to: new Uint8Array([255]), limit: 9 })
    for (const text of ['', '{', '[]', 'null', '{"format":1}', '{"format":2}']) {
      const store = registry.open()
      const value = new TextEncoder().encode(text)
      const key = entry?.key ?? new Uint8Array(0)
      await store.commit({ expectedHead: await store.head(), puts: [{ key, value }], deletes: [] })
      expect(await codeOf(manager.lease(ACME))).toBe('unavailable')
      expect(['store-failed', 'store-foreign']).toContain(await codeOf(register(manager)))
      expect(['store-failed', 'store-foreign']).toContain(await codeOf(manager.erase('acme')))
      expect((await store.getMany([key]))[0]).toEqual(value)
    }
  })

  test('of a tenant that does not exist, or no longer, gets one and the same answer', async () => {
    const manager = await openManager()
    await register(manager)
    await manager.erase('acme')
    const answers = await Promise.all(
      ['acme', 'never'].map((name) => manager.lease(parseTenantName(name)).catch((error: unknown) => `${error}`)),
    )
    expect(answers[0]).toBe(answers[1])
  })

  test('TL3, TL4: what nobody uses is closed after a while, or when too much is open; what is in use stays', async () => {
    const manager = await openManager({ idleMs: 1000, openMax: { shared: 2, namespace: 2, dedicated: 2 } })
    const names = ['a', 'b', 'c', 'd'].map(parseTenantName)
    for (const name of names) await register(manager, name)
    const openNames = (): readonly string[] => manager.open.map(({ name }) => name).sort()
    const used = await manager.lease(names[0] as (typeof names)[number])
    for (const name of names.slice(1)) {
      nowMs += 10
      ;(await manager.lease(name)).release()
    }
    manager.sweep()
    expect(openNames()).toEqual(['a', 'c', 'd'])
    nowMs += 995
    manager.sweep()
    expect(openNames()).toEqual(['a', 'd'])
    nowMs += 100_000
    manager.sweep()
    expect(openNames()).toEqual(['a'])
    used.release()
    manager.sweep()
    expect(openNames()).toEqual(['a'])
    nowMs += 1000
    manager.sweep()
    expect(openNames()).toEqual([])
  })

  test('a tenant whose store broke serves nobody new, and is opened anew once its users have gone', async () => {
    const manager = await openManager()
    await register(manager)
    const first = await manager.lease(ACME)
    first.tenant.markBroken()
    expect(await codeOf(manager.lease(ACME))).toBe('unavailable')
    first.release()
    const second = await manager.lease(ACME)
    expect(second.tenant).not.toBe(first.tenant)
  })

  test('ends for all when the manager closes', async () => {
    const manager = await openManager()
    await register(manager)
    const { tenant } = await manager.lease(ACME)
    const ends: string[] = []
    tenant.onEnd(({ code }) => ends.push(code))
    await manager.close()
    expect(ends).toEqual(['unavailable'])
    expect(await codeOf(manager.lease(ACME))).toBe('unavailable')
  })
})

describe('a store that came from a backup', () => {
  test('begins an epoch when it is told of, whether its tenant is open, closed or suspended, and sessions end', async () => {
    const manager = await openManager()
    await register(manager)
    const { tenant, release } = await manager.lease(ACME)
    const session = connect(await openClient('acme'), tenant.hub)
    await session.settled()
    const open = await manager.restored('acme')
    expect(open).toEqual({ tenant: 'acme', epoch: NOW_MS, untilMs: NOW_MS + 7 * 86_400_000 })
    await vi.waitUntil(() => session.client.state === 'closed')
    expect(session.client.error).toMatchObject({ code: 'unavailable', retryable: true })
    release()
    nowMs += 1
    expect(await manager.restored('acme')).toMatchObject({ epoch: NOW_MS + 1 })
    await manager.suspend('acme', '')
    expect(await manager.restored('acme')).toMatchObject({ epoch: NOW_MS + 2 })
    expect(await manager.endRecovery('acme')).toEqual({ tenant: 'acme', epoch: NOW_MS + 2, untilMs: 0 })
    expect(await codeOf(manager.restored('other'))).toBe('forbidden')
  })
})

describe('suspending', () => {
  test('ends the sessions that are there, lets none in, and loses nothing', async () => {
    const manager = await openManager()
    await register(manager)
    await write(manager, 'kept')
    const { tenant, release } = await manager.lease(ACME)
    const client = await openClient('acme')
    const session = connect(client, tenant.hub)
    await session.settled()
    tenant.onEnd((error) => session.server.fail(error))
    await manager.suspend('acme', 'unpaid')
    expect(tenant.end).toMatchObject({ code: 'forbidden', message: expect.stringContaining('unpaid') })
    expect(await codeOf(session.settled())).toBe('forbidden')
    expect(await codeOf(manager.lease(ACME))).toBe('forbidden')
    release()
    await manager.resume('acme')
    expect(await read(manager)).toEqual(['kept'])
  })

  test('reaches other processes with their next refresh', async () => {
    const [here, there] = [await openManager(), await openManager()]
    await register(here)
    const { tenant } = await there.lease(ACME)
    await here.suspend('acme', '')
    expect(tenant.end).toBeUndefined()
    await there.refresh()
    expect(tenant.end).toMatchObject({ code: 'forbidden' })
    expect(await codeOf(there.lease(ACME))).toBe('forbidden')
  })
})

describe('plans', () => {
  test('regression 27: a tenant whose plan was deleted is refused, not unlimited', async () => {
    const bronze = { features: ['sync'], quotas: new Plans().get('free').quotas }
    const manager = await openManager({ plans: new Plans({ plans: { bronze } }) })
    await register(manager, 'acme', 'bronze')
    expect((await manager.lease(ACME)).tenant.plan.name).toBe('bronze')
    await manager.close()
    expect(await codeOf((await openManager()).lease(ACME))).toBe('forbidden')
  })

  test('without sync let nobody in', async () => {
    const silent = { features: ['capture'], quotas: new Plans().get('free').quotas }
    const manager = await openManager({ plans: new Plans({ plans: { silent } }) })
    await register(manager, 'acme', 'silent')
    expect(await codeOf(manager.lease(ACME))).toBe('forbidden')
  })

  test('take effect for those who are connected', async () => {
    const [here, there] = [await openManager(), await openManager()]
    await register(here, 'acme', 'free')
    const [mine, theirs] = [(await here.lease(ACME)).tenant, (await there.lease(ACME)).tenant]
    await here.setPlan('acme', 'unlimited')
    expect([mine.plan.name, theirs.plan.name]).toEqual(['unlimited', 'free'])
    await there.refresh()
    expect(theirs.plan.name).toBe('unlimited')
    expect(await codeOf(here.setPlan('acme', 'gold'))).toBe('bad-option')
  })

  test('warn at 80 % and at 100 % of what was written, exactly', async () => {
    const small = { features: ['sync'], quotas: { ...quotasOf(), rows: 10 } }
    const manager = await openManager({ plans: new Plans({ plans: { small } }) })
    await register(manager, 'acme', 'small')
    const told: number[] = []
    for (let row = 1; row <= 10; row++) {
      await write(manager, `${row}`)
      told.push(usageEvents.length)
    }
    expect(told).toEqual([0, 0, 0, 0, 0, 0, 0, 1, 1, 2])
    expect(usageEvents).toEqual([
      { type: 'near', resource: 'rows', limit: 10, used: 8, tenant: 'acme' },
      { type: 'full', resource: 'rows', limit: 10, used: 10, tenant: 'acme' },
    ])
    const { tenant } = await manager.lease(ACME)
    expect(tenant.usage).toMatchObject({ rows: 10, replicas: 10 })
    const growth = { rows: 1, storedBytes: 10, replicas: 0, isRelief: false }
    expect(tenant.weigh(tenant.usage, growth)).toMatchObject({ resource: 'rows', limit: 10, used: 10 })
  })
})

describe('erasing', () => {
  test('removes everything, and leaves the name to somebody else', async () => {
    const manager = await openManager()
    await register(manager)
    await write(manager, 'old')
    const { tenant } = await manager.lease(ACME)
    await manager.erase('acme')
    expect(tenant.end).toMatchObject({ code: 'forbidden' })
    expect(disks.has('acme')).toBe(false)
    await register(manager)
    expect(await read(manager)).toEqual([])
  })

  test('TM3: that was interrupted serves nobody until it is done again', async () => {
    const manager = await openManager()
    await register(manager)
    await write(manager, 'old')
    failure = new Error('power cut')
    expect(await codeOf(manager.erase('acme'))).toBe('Error: power cut')
    failure = undefined
    expect(await codeOf(manager.lease(ACME))).toBe('forbidden')
    expect(await codeOf(register(manager))).toBe('bad-option')
    expect(await codeOf(manager.resume('acme'))).toBe('bad-option')
    await manager.erase('acme')
    expect(await manager.list()).toEqual([])
    expect(disks.size).toBe(0)
  })

  test('of what never was is no error', async () => {
    await (await openManager()).erase('never')
  })

  test('TF1: stops a writer of another process, whose change is not acknowledged', async () => {
    const [here, there] = [await openManager(), await openManager()]
    await register(here)
    const { tenant } = await there.lease(ACME)
    await here.erase('acme')
    const client = await openClient('acme')
    await client.table('notes').insert({ id: '1', text: 'late' })
    const session = connect(client, tenant.hub)
    expect(await codeOf(session.settled())).toBe('unavailable')
    expect(client.pending).toBe(1)
  })
})

describe('revoking', () => {
  test('is known at once here, elsewhere after a refresh, and after a restart', async () => {
    const [here, there] = [await openManager(), await openManager()]
    const principal = {
      tenant: ACME,
      subject: 'ada',
      scopes: new Set(['read'] as const),
      tables: undefined,
      writeTables: undefined,
      issuedAtMs: 0,
      expiresAtMs: NOW_MS * 2,
      tokenId: 'first',
    }
    const entry = { type: 'token', tenant: 'acme', name: 'first', issuedThroughMs: 0, untilMs: NOW_MS + 1000 } as const
    await here.revoke(entry)
    expect([here, there].map(({ revocations }) => revocations.has(principal))).toEqual([true, false])
    await there.refresh()
    expect(there.revocations.has(principal)).toBe(true)
    expect((await openManager()).revocations.has(principal)).toBe(true)
    nowMs = 2000
    await here.revoke({ ...entry, name: 'second', untilMs: NOW_MS + 9000 })
    expect((await openManager()).revocations.size).toBe(1)
  })
})

describe('exporting', () => {
  const collect = async (manager: TenantManager): Promise<ExportRecord[]> => {
    const records: ExportRecord[] = []
    for await (const record of manager.export('acme')) records.push(record)
    return records
  }

  test('TX1: gives every row and every change, and says at the end how many there were', async () => {
    const manager = await openManager()
    await register(manager)
    for (const id of ['1', '2', '3']) await write(manager, id)
    const records = await collect(manager)
    expect(records.map(({ type }) => type)).toEqual([
      'tenant',
      'row',
      'row',
      'row',
      'change',
      'change',
      'change',
      'end',
    ])
    expect(records[0]).toMatchObject({ name: 'acme', format: 1, floor: 1, position: 4, exportedAtMs: NOW_MS })
    expect(records[1]).toMatchObject({ table: 'notes', row: { id: '1', text: '1' } })
    expect(records[4]).toMatchObject({ change: { op: 'insert', table: 'notes', id: '1', values: { text: '1' } } })
    expect(records.at(-1)).toMatchObject({ rows: 3, changes: 3, digest: expect.stringMatching(/^[0-9a-f]{16}$/) })
    expect((await manager.lease(ACME)).tenant.leases).toBe(1)
  })

  test('of a suspended tenant is possible, and lets nobody else in', async () => {
    const manager = await openManager()
    await register(manager)
    await write(manager, '1')
    await manager.suspend('acme', 'unpaid')
    expect((await collect(manager)).length).toBe(4)
    expect(manager.open).toEqual([])
  })

  test('gives the tenant back when its reader stops early', async () => {
    const manager = await openManager()
    await register(manager)
    for await (const _ of manager.export('acme')) break
    expect(manager.open.map(({ leases }) => leases)).toEqual([0])
    expect(await codeOf(manager.export('never').next())).toBe('forbidden')
  })
})

function quotasOf(): Record<string, unknown> {
  return Object.fromEntries(Object.keys(UNLIMITED.quotas).map((name) => [name, 'unlimited']))
}
