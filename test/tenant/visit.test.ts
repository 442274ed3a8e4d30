/** One principal in one tenant: what it takes, what stops it, and that it gives everything back. */
import { beforeEach, describe, expect, test } from 'vitest'
import { parseReplicaId, parseTenantName, TidemarkError } from '../../core/index.ts'
import { createMemoryDisk, type MemoryDisk, openMemoryStore } from '../../core/stores/memory.ts'
import {
  openVisit,
  Plans,
  type Principal,
  TenantManager,
  Traffic,
  type UsageEvent,
  type Visit,
} from '../../tenant/index.ts'
import { codeOf, NOW_MS } from './session.ts'

const HOUR_MS = 3_600_000
const ACME = parseTenantName('acme')

const ada: Principal = {
  tenant: ACME,
  subject: 'ada',
  scopes: new Set(['read', 'write']),
  tables: undefined,
  writeTables: undefined,
  issuedAtMs: NOW_MS,
  expiresAtMs: NOW_MS + HOUR_MS,
  tokenId: 'first',
}

let manager: TenantManager
let told: UsageEvent[]

beforeEach(async () => {
  const disks = new Map<string, MemoryDisk>()
  const unlimited = Object.keys(new Plans().get('free').quotas).map((name) => [name, 'unlimited'] as const)
  const tiny = { features: ['sync'], quotas: { ...Object.fromEntries(unlimited), connections: 3 } }
  const ten = { features: ['sync'], quotas: { ...Object.fromEntries(unlimited), connections: 10 } }
  told = []
  manager = await TenantManager.open({
    onUsage: (_tenant, event) => told.push(event),
    registry: openMemoryStore(),
    stores: {
      dedicated: {
        open: async (name) => {
          const disk = disks.get(name) ?? createMemoryDisk()
          disks.set(name, disk)
          return disk.open()
        },
        remove: async (name) => {
          disks.delete(name)
        },
      },
    },
    plans: new Plans({ plans: { tiny, ten } }),
    now: () => NOW_MS,
    monotonicMs: () => 0,
  })
  await manager.register({ name: 'acme', plan: 'tiny', mode: 'dedicated' })
})

const visit = (changed: Partial<Principal> = {}): Promise<Visit> =>
  openVisit({ manager, principal: { ...ada, ...changed } })

describe('a visit', () => {
  test('TZ3: takes a lease and a seat, and gives both back once', async () => {
    const visits = await Promise.all([visit(), visit(), visit()])
    expect(await codeOf(visit())).toBe('quota-exceeded')
    const tenant = visits[0]?.tenant
    expect([tenant?.leases, tenant?.seats.connections]).toEqual([3, 3])
    for (const each of [...visits, ...visits]) each.close()
    expect([tenant?.leases, tenant?.seats.connections]).toEqual([0, 0])
    expect(await codeOf(visit())).toBe('no error')
  })

  test('tells of 80 % and of 100 % of the connections of its tenant, once each on the way up', async () => {
    await manager.setPlan('acme', 'ten')
    const visits: Visit[] = []
    const counts: number[] = []
    for (let n = 0; n < 10; n++) {
      visits.push(await visit({ subject: `s${n}` }))
      counts.push(told.length)
    }
    expect(counts).toEqual([0, 0, 0, 0, 0, 0, 0, 1, 1, 2])
    expect(await codeOf(visit({ subject: 'one too many' }))).toBe('quota-exceeded')
    const resource = { resource: 'connections', limit: 10 }
    expect(told).toEqual([
      { type: 'near', ...resource, used: 8 },
      { type: 'full', ...resource, used: 10 },
    ])
    for (const each of visits.splice(5)) each.close()
    for (let n = 5; n < 8; n++) visits.push(await visit({ subject: `s${n}` }))
    expect(told).toHaveLength(3)
    for (const each of visits) each.close()
  })

  test('TZ1: is in the tenant of its principal, or nowhere', async () => {
    expect((await visit()).tenant.name).toBe('acme')
    expect(await codeOf(visit({ tenant: parseTenantName('other') }))).toBe('forbidden')
  })

  test.each([
    [['read', 'write'], undefined, true, true],
    [['read'], undefined, true, false],
    [['write'], undefined, false, true],
    [['admin', 'relay'], undefined, false, false],
    [['read', 'write'], ['notes'], false, true],
  ] as const)('with scopes %j and tables %j reads: %s, writes: %s', async (scopes, tables, mayRead, mayWrite) => {
    const { gate } = await visit({ scopes: new Set(scopes), tables: tables && new Set(tables) })
    expect([gate.mayRead(), gate.mayWrite()]).toEqual([mayRead, mayWrite])
    const dot = { replica: parseReplicaId('00000000-0000-4000-8000-000000000000'), seq: 1 }
    const change = { dot, table: 'users', id: '1', op: 'insert', values: {}, row: undefined } as const
    expect(gate.judge?.(change)).toBe(mayWrite && tables === undefined ? undefined : 'forbidden')
  })

  const ends: readonly (readonly [what: string, code: string, end: () => Promise<unknown>])[] = [
    ['its tenant is suspended', 'forbidden', () => manager.suspend('acme', '')],
    ['its tenant is erased', 'forbidden', () => manager.erase('acme')],
    ['its server goes', 'unavailable', () => manager.close()],
    [
      'its token is revoked',
      'revoked',
      () => manager.revoke({ type: 'token', tenant: 'acme', name: 'first', issuedThroughMs: 0, untilMs: NOW_MS * 2 }),
    ],
    [
      'its subject is revoked',
      'revoked',
      () =>
        manager.revoke({ type: 'subject', tenant: 'acme', name: 'ada', issuedThroughMs: NOW_MS, untilMs: NOW_MS * 2 }),
    ],
  ]
  test.each(ends)('TZ2: ends when %s', async (_what, code, end) => {
    const ending = await visit()
    expect(ending.check(NOW_MS).type).toBe('pass')
    await end()
    expect(ending.check(NOW_MS)).toMatchObject({ type: 'end', error: { code } })
    expect(ending.check(NOW_MS)).toMatchObject({ type: 'end', error: { code } })
  })

  test('is warned, renewed under the rights of the new token, and expires', async () => {
    const warned = await visit()
    expect(warned.dueAtMs).toBe(NOW_MS + HOUR_MS - 60_000)
    expect(warned.check(warned.dueAtMs).type).toBe('warn')
    warned.renew({ ...ada, scopes: new Set(['read']), expiresAtMs: NOW_MS + 2 * HOUR_MS }, NOW_MS + HOUR_MS)
    expect([warned.gate.mayRead(), warned.gate.mayWrite()]).toEqual([true, false])
    expect(() => warned.renew({ ...ada, subject: 'eve' }, NOW_MS)).toThrow(TidemarkError)
    expect(warned.check(NOW_MS + 3 * HOUR_MS)).toMatchObject({ type: 'end', error: { code: 'auth-expired' } })
  })

  test('tells whose traffic it is, under the plan of now', async () => {
    const { sender, tenant } = await visit()
    expect(sender).toEqual({ tenant: 'acme', subject: 'ada', plan: tenant.plan })
  })
})

describe('traffic', () => {
  const plan = { ...new Plans().get('free') }
  const sender = { tenant: 'acme', subject: 'ada', plan }

  test('of a new address is taken up to its burst, and of its whole IPv6 network together', () => {
    const traffic = new Traffic({ connectionsPerAddress: { perSecond: 1, burst: 3 } })
    const answers = ['::1', '::2', '::3', '::4'].map((end) => traffic.connect(`2001:db8:1:2${end}`, 0).type)
    expect(answers).toEqual(['granted', 'granted', 'granted', 'limited'])
    expect(traffic.connect('10.0.0.1', 0).type).toBe('granted')
    expect(traffic.connect('2001:db8:1:2::5', 1000).type).toBe('granted')
  })

  test('beyond the bytes of a plan waits as long as they take, and so does what comes behind it', () => {
    const traffic = new Traffic()
    const mebibyte = 2 ** 20
    const waits = [0, 1, 2, 3].map(() => traffic.frameWaitMs(sender, mebibyte, 0))
    expect(waits).toEqual([0, 1000, 2000, 3000])
    expect(traffic.frameWaitMs({ ...sender, subject: 'bob' }, mebibyte, 0)).toBe(4000)
    expect(traffic.frameWaitMs({ ...sender, tenant: 'other' }, mebibyte, 0)).toBe(0)
  })

  test('of one subject waits without holding up the others of its tenant', () => {
    const traffic = new Traffic({ framesPerSubject: { perSecond: 10, burst: 2 } })
    expect([0, 1, 2, 3].map(() => traffic.frameWaitMs(sender, 1, 0))).toEqual([0, 0, 100, 200])
    expect(traffic.frameWaitMs({ ...sender, subject: 'bob' }, 1, 0)).toBe(0)
  })

  test('waits for the changes that it brought', () => {
    const traffic = new Traffic()
    traffic.countChanges(sender, 1000, 0)
    expect(traffic.frameWaitMs(sender, 1, 0)).toBe(10)
    traffic.countChanges(sender, 100, 0)
    expect(traffic.frameWaitMs(sender, 1, 0)).toBe(1010)
    expect(traffic.frameWaitMs(sender, 1, 2000)).toBe(0)
  })

  test('regression 27: of a tenant without a plan waits for ever', () => {
    const none = { ...sender, plan: new Plans().get('deleted') }
    const traffic = new Traffic()
    expect(traffic.frameWaitMs(none, 1, 0)).toBe(Number.POSITIVE_INFINITY)
    expect(traffic.frameWaitMs(none, 1, 1e9)).toBe(Number.POSITIVE_INFINITY)
    expect(traffic.frameWaitMs(sender, 1, 1e9)).toBe(0)
  })
})
