/**
 * The isolation suite: what has to hold between the tenants of one server, whatever kind of place they live in.
 *
 * Each tenant has its own canary in every row; no canary may turn up anywhere but at home.
 */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { parseTenantName, type TenantName } from '../../core/index.ts'
import { type Lease, type StoreFactory, TenantManager } from '../../tenant/index.ts'
import type { Place } from './places.ts'
import { codeOf, connect, NOW_MS, openClient, readNotes, sync } from './session.ts'

/** Names that begin alike, sort next to each other, or look like parts of a key. */
const NAMES = ['a', 'aa', 'a0', 'a-', 'a_', 'ab', 'b', '0', `a${'a'.repeat(62)}`, 'm', 'l'].map(parseTenantName)
const ROWS = 20

export function isolationContract(what: string, createPlace: () => Promise<Place>): void {
  describe(`tenants in ${what}`, () => {
    let place: Place
    let factory: StoreFactory
    let manager: TenantManager

    const start = async (): Promise<void> => {
      factory = await place.openFactory()
      const registry = await place.openRegistry()
      const stores = { [place.mode]: factory }
      manager = await TenantManager.open({ registry, stores, now: () => NOW_MS, monotonicMs: () => 0 })
    }
    const stop = async (): Promise<void> => {
      await manager.close()
      await place.closeFactory(factory)
    }

    beforeEach(async () => {
      place = await createPlace()
      await start()
      for (const name of NAMES) await manager.register({ name, plan: 'pro', mode: place.mode })
    })

    afterEach(async () => {
      await stop()
      await place.cleanup()
    })

    const withLease = async <Result>(name: TenantName, work: (lease: Lease) => Promise<Result>): Promise<Result> => {
      const lease = await manager.lease(name)
      return work(lease).finally(() => lease.release())
    }
    const fill = (name: TenantName): Promise<void> =>
      withLease(name, async ({ tenant }) => {
        const client = await openClient(name)
        for (let id = 0; id < ROWS; id++) {
          await client.table('notes').insert({ id: `${id}`, text: canaryOf(name) })
        }
        await sync(client, tenant.hub)
        await client.close()
      })
    const notesOf = (name: TenantName): Promise<readonly string[]> =>
      withLease(name, async ({ tenant }) => (await readNotes(name, tenant.hub)).map(({ text }) => text))
    const expectAtHome = async (name: TenantName): Promise<void> => {
      expect(await notesOf(name)).toEqual(new Array(ROWS).fill(canaryOf(name)))
    }

    test('hold their own rows and nobody else’s, however they were written at once', async () => {
      await Promise.all(NAMES.map(fill))
      for (const name of NAMES) await expectAtHome(name)
    })

    test('find no canary but their own in any byte of their stores', async () => {
      await Promise.all(NAMES.map(fill))
      for (const name of NAMES) {
        const seen = await withLease(name, async ({ tenant }) => {
          const whole = { from: new Uint8Array(0), to: new Uint8Array(600).fill(255), limit: 1_000_000 }
          const entries = await tenant.store.range(whole)
          return new Set(entries.flatMap(({ key, value }) => canariesIn(key, value)))
        })
        expect([...seen]).toEqual([canaryOf(name)])
      }
    })

    test('are there again after a restart, each with its own log', async () => {
      await Promise.all(NAMES.map(fill))
      const before = await manager.list()
      await stop()
      await start()
      for (const name of NAMES) await expectAtHome(name)
      expect(await manager.list()).toEqual(before)
      expect(new Set(before.map(({ logId }) => logId)).size).toBe(NAMES.length)
    })

    test('are erased without a trace, and without a mark on the others', async () => {
      await Promise.all(NAMES.map(fill))
      const [erased, ...others] = NAMES as [TenantName, ...TenantName[]]
      await manager.erase(erased)
      const left = (await place.entries()).flatMap(({ key, value }) => canariesIn(key, value))
      expect(left).not.toContain(canaryOf(erased))
      expect(new Set(left).size).toBe(others.length)
      expect(await codeOf(manager.lease(erased))).toBe('forbidden')
      for (const name of others) await expectAtHome(name)
      await manager.register({ name: erased, plan: 'free', mode: place.mode })
      expect(await notesOf(erased)).toEqual([])
    })

    test('that are erased are not written anew by a process that still has them open', async () => {
      const [erased] = NAMES as [TenantName]
      await fill(erased)
      const elsewhere = await place.openFactory()
      const other = await TenantManager.open({
        registry: await place.openRegistry(),
        stores: { [place.mode]: elsewhere },
        now: () => NOW_MS,
        monotonicMs: () => 0,
      })
      const { tenant } = await other.lease(erased)
      await manager.erase(erased)
      const client = await openClient(erased)
      await client.table('notes').insert({ id: 'late', text: canaryOf(erased) })
      expect(await codeOf(connect(client, tenant.hub).settled())).not.toBe('no error')
      expect(client.pending).toBe(1)
      const left = (await place.entries()).flatMap(({ key, value }) => canariesIn(key, value))
      expect(left).not.toContain(canaryOf(erased))
      await client.close()
      await other.close()
      await place.closeFactory(elsewhere)
    })

    test('go on while another one is suspended', async () => {
      await Promise.all(NAMES.map(fill))
      const [bad, ...others] = NAMES as [TenantName, ...TenantName[]]
      await manager.suspend(bad, 'unpaid')
      expect(await codeOf(manager.lease(bad))).toBe('forbidden')
      for (const name of others) await expectAtHome(name)
      await manager.resume(bad)
      await expectAtHome(bad)
    })

    test('let no replica of another one in, whatever it says hello with', async () => {
      await Promise.all(NAMES.map(fill))
      const [home, other] = NAMES as [TenantName, TenantName]
      const client = await openClient(home)
      await withLease(home, ({ tenant }) => sync(client, tenant.hub))
      await withLease(other, async ({ tenant }) => {
        const session = connect(client, tenant.hub)
        expect(await codeOf(session.settled())).toBe('forbidden')
      })
      await client.close()
    })
  })
}

function canaryOf(name: string): string {
  return `canary<${name}>`
}

function canariesIn(...parts: readonly Uint8Array[]): readonly string[] {
  return parts.flatMap(
    (part) =>
      Buffer.from(part)
        .toString('latin1')
        .match(/canary<[^>]*>/g) ?? [],
  )
}
