/**
 * Tenants that go to another server: while they are in use, through crashes of either side at any step, and back.
 *
 * Knows: disks that outlive a process which stops in the middle of anything. Must never know: the steps of a departure.
 */
import { describe, expect, test } from 'vitest'
import { createReplicaId, digestRows, isTidemarkError, parseTenantName, type Store } from '../../core/index.ts'
import { createMemoryDisk, type MemoryDisk } from '../../core/stores/memory.ts'
import { type Destination, type StoreFactory, TenantManager } from '../../tenant/index.ts'
import { codeOf, connect, NOW_MS, openClient, readNotes, sync } from './session.ts'

const ACME = parseTenantName('acme')
const ADDRESS = 'https://two.example'

/** One server: disks that outlive its process. Every commit of any of its stores passes `onCommit`, which may end it. */
class Machine {
  readonly #registry = createMemoryDisk()
  readonly #disks = new Map<string, MemoryDisk>()
  manager: TenantManager | undefined
  #isDown = false

  async start(onCommit: () => void = () => {}): Promise<TenantManager> {
    this.#isDown = false
    const pass = (): void => {
      if (this.#isDown) throw new Error('the process has ended')
      try {
        onCommit()
      } catch (error) {
        this.#isDown = true
        throw error
      }
    }
    const watched = (store: Store): Store => ({
      head: () => store.head(),
      getMany: (keys) => store.getMany(keys),
      range: (range) => store.range(range),
      commit: async (commit) => {
        pass()
        return store.commit(commit)
      },
      close: () => store.close(),
    })
    const dedicated: StoreFactory = {
      open: async (name) => {
        const disk = this.#disks.get(name) ?? createMemoryDisk()
        this.#disks.set(name, disk)
        return watched(disk.open())
      },
      remove: async (name) => {
        pass()
        this.#disks.delete(name)
      },
    }
    const clock = { now: () => NOW_MS, monotonicMs: () => 0 }
    this.manager = await TenantManager.open({
      registry: watched(this.#registry.open()),
      stores: { dedicated },
      ...clock,
    })
    return this.manager
  }

  has(name: string): boolean {
    return this.#disks.has(name)
  }
}

/** The other server as it is now; one that is down answers nobody. */
function destination(machine: Machine): Destination {
  const there = () => {
    if (machine.manager === undefined) throw new Error('it does not answer')
    return machine.manager.arrivals
  }
  return {
    server: 'two',
    begin: async (arrival) => void (await there().begin(arrival, 'dedicated')),
    store: {
      head: () => there().withStore('acme', (store) => store.head()),
      range: (range) => there().withStore('acme', (store) => store.range(range)),
      commit: (commit) => there().withStore('acme', (store) => store.commit(commit)),
    },
    summarize: () => there().summarize('acme'),
    welcome: (logId, revocations) => there().welcome('acme', logId, revocations),
    cancel: () => there().cancel('acme'),
  }
}

async function found(rows = 30): Promise<{ one: Machine; two: Machine }> {
  const [one, two] = [new Machine(), new Machine()]
  const manager = await one.start()
  await two.start()
  await manager.register({ name: 'acme', plan: 'pro', mode: 'dedicated' })
  const client = await openClient('acme')
  for (let row = 0; row < rows; row++) await client.table('notes').insert({ id: `n${row}`, text: `row ${row}` })
  const { tenant, release } = await manager.lease(ACME)
  await sync(client, tenant.hub)
  release()
  return { one, two }
}

async function digestAt(manager: TenantManager): Promise<string> {
  const { tenant, release } = await manager.lease(ACME)
  const { rows, hash } = await digestRows(tenant.hub.ledger)
  release()
  return `${rows} ${hash}`
}

/** Whether this server would serve the tenant now. */
async function serves(manager: TenantManager): Promise<boolean> {
  const lease = await manager.lease(ACME).catch((error: unknown) => {
    if (isTidemarkError(error)) return undefined
    throw error
  })
  lease?.release()
  return lease !== undefined
}

describe('a tenant that goes to another server', () => {
  test('is served there with the same log, and here who asks is told where it is', async () => {
    const { one, two } = await found()
    const [here, there] = [await one.start(), await two.start()]
    const before = await digestAt(here)
    const { logId } = (await here.get('acme')) as { logId: string }
    expect(await here.depart('acme', destination(two), ADDRESS)).toMatchObject({
      departure: { server: 'two', address: ADDRESS, phase: 'left' },
    })
    expect(await digestAt(there)).toBe(before)
    expect(await there.get('acme')).toMatchObject({ logId, plan: 'pro', state: 'active' })
    await expect(here.lease(ACME)).rejects.toMatchObject({ code: 'moved', details: { url: ADDRESS }, retryable: false })
  })

  test('keeps its copy here until that is finished, and the address for ever', async () => {
    const { one, two } = await found()
    const here = await one.start()
    expect(await codeOf(here.finishDeparture('acme'))).toBe('bad-option')
    await here.depart('acme', destination(two), ADDRESS)
    expect(one.has('acme')).toBe(true)
    expect(await codeOf(here.rollBackDeparture('acme', destination(two)))).toBe('bad-option')
    await here.finishDeparture('acme')
    expect(one.has('acme')).toBe(false)
    expect(await codeOf(here.lease(ACME))).toBe('moved')
    await here.erase('acme')
    expect(await codeOf(here.lease(ACME))).toBe('forbidden')
    expect((await readNotesAt(two)).length).toBe(30)
  })

  test('cursors stay valid: a client that was there goes on at the place it had', async () => {
    const { one, two } = await found()
    const [here, there] = [await one.start(), await two.start()]
    const client = await openClient('acme')
    const first = await here.lease(ACME)
    await sync(client, first.tenant.hub)
    first.release()
    await here.depart('acme', destination(two), ADDRESS)
    await client.table('notes').insert({ id: 'new', text: 'written on the way' })
    const { tenant, release } = await there.lease(ACME)
    const session = connect(client, tenant.hub)
    await session.settled()
    expect(session.client.isRestoring).toBe(false)
    session.close()
    expect((await readNotes('acme', tenant.hub)).length).toBe(31)
    release()
  })

  test('takes its revocations along, before anybody is let in', async () => {
    const { one, two } = await found()
    const [here, there] = [await one.start(), await two.start()]
    const name = createReplicaId()
    await here.revoke({ type: 'replica', tenant: 'acme', name, issuedThroughMs: 0, untilMs: Number.MAX_SAFE_INTEGER })
    await here.revoke({ type: 'token', tenant: 'other', name: 'x', issuedThroughMs: 0, untilMs: NOW_MS + 1_000 })
    await here.depart('acme', destination(two), ADDRESS)
    expect(there.revocations.list('acme')).toMatchObject([{ type: 'replica', name }])
    expect(there.revocations.list('other')).toEqual([])
  })

  test('comes back the same way, over the copy that was kept', async () => {
    const { one, two } = await found()
    const [here, there] = [await one.start(), await two.start()]
    await here.depart('acme', destination(two), ADDRESS)
    const client = await openClient('acme')
    await client.table('notes').insert({ id: 'there', text: 'written on the other server' })
    const { tenant, release } = await there.lease(ACME)
    await sync(client, tenant.hub)
    release()
    await there.depart('acme', destination(one), 'https://one.example')
    expect((await readNotesAt(one)).length).toBe(31)
    expect(await codeOf(there.lease(ACME))).toBe('moved')
  })

  test('AR1: takes the place of nobody: not of a tenant of that name, nor of a plan that is not there', async () => {
    const { one, two } = await found()
    const [here, there] = [await one.start(), await two.start()]
    await there.register({ name: 'acme', plan: 'free', mode: 'dedicated' })
    expect(await codeOf(here.depart('acme', destination(two), ADDRESS))).toBe('bad-option')
    expect(await serves(here)).toBe(true)
    await here.rollBackDeparture('acme')
    expect(await there.get('acme')).toMatchObject({ state: 'active', plan: 'free' })
    expect(await codeOf(there.arrivals.cancel('acme'))).toBe('no error')
    expect(await serves(there)).toBe(true)
  })

  test('is refused while it moves to another mode, and the other way round', async () => {
    const { one, two } = await found()
    const here = await one.start()
    await expect(
      here.depart('acme', { ...destination(two), begin: () => Promise.reject(new Error('no')) }, ADDRESS),
    ).rejects.toThrow()
    expect(await codeOf(here.move('acme', 'dedicated'))).toBe('bad-option')
    expect(await codeOf(here.depart('acme', { ...destination(two), server: 'three' }, ADDRESS))).toBe('bad-option')
  })
})

/** Runs a departure and ends one side at its nth commit; false when it came to its end before. */
async function departUntil(one: Machine, two: Machine, side: 'here' | 'there', commits: number): Promise<boolean> {
  let left = commits
  const crash = (): void => {
    if (left-- <= 0) throw new Error('killed')
  }
  const here = await one.start(side === 'here' ? crash : undefined)
  await two.start(side === 'there' ? crash : undefined)
  return here.depart('acme', destination(two), ADDRESS).then(
    () => false,
    () => true,
  )
}

describe.each(['here', 'there'] as const)('a crash %s, at any commit', (side) => {
  test('DP1: leaves at most one that serves, and the departure goes on to its end', async () => {
    for (let commits = 0; ; commits++) {
      const { one, two } = await found()
      const before = await digestAt(await one.start())
      const wasKilled = await departUntil(one, two, side, commits)
      const [here, there] = [await one.start(), await two.start()]
      expect([await serves(here), await serves(there)].filter(Boolean).length).toBeLessThanOrEqual(1)
      await here.depart('acme', destination(two), ADDRESS)
      expect([await serves(here), await serves(there)]).toEqual([false, true])
      expect(await digestAt(there)).toBe(before)
      if (wasKilled) continue
      expect(commits).toBeGreaterThan(2)
      return
    }
  })

  test('DP2: leaves a way back until it has left, with everything that was here', async () => {
    for (let commits = 0; ; commits++) {
      const { one, two } = await found()
      const before = await digestAt(await one.start())
      const wasKilled = await departUntil(one, two, side, commits)
      if (!wasKilled) return
      const [here, there] = [await one.start(), await two.start()]
      const { departure } = (await here.get('acme')) ?? {}
      if (departure === undefined) continue
      const code = await codeOf(here.rollBackDeparture('acme', destination(two)))
      if (departure.phase === 'left') {
        expect(code).toBe('bad-option')
        continue
      }
      expect(code).toBe('no error')
      expect([await serves(here), await serves(there)]).toEqual([true, false])
      expect(await digestAt(here)).toBe(before)
      expect(await there.get('acme')).toBeUndefined()
    }
  })
})

async function readNotesAt(machine: Machine): Promise<readonly unknown[]> {
  const { tenant, release } = await (machine.manager as TenantManager).lease(ACME)
  const notes = await readNotes('acme', tenant.hub)
  release()
  return notes
}
