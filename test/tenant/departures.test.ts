/**
 * Tenants that go to another server: while they are in use, through crashes of either side at any step, and back.
 *
 * Knows: disks that outlive a process which stops in the middle of anything. Must never know: the steps of a departure.
 */
import { describe, expect, test } from 'vitest'
import { createReplicaId, digestRows, isTidemarkError } from '../../core/index.ts'
import type { Destination, TenantManager } from '../../tenant/index.ts'
import { ACME, Machine, type OnCommit, PATIENCE_MS, pausingAfter, write } from './machine.ts'
import { codeOf, connect, NOW_MS, openClient, readNotes, sync } from './session.ts'

const ADDRESS = 'https://two.example'

/** A server that ends for good with whatever its commits throw, and the process that runs there now. */
class Server extends Machine {
  manager: TenantManager | undefined
  #isDown = false

  override async start(onCommit: OnCommit = () => {}): Promise<TenantManager> {
    this.#isDown = false
    this.manager = await super.start(async () => {
      if (this.#isDown) throw new Error('the process has ended')
      try {
        await onCommit()
      } catch (error) {
        this.#isDown = true
        throw error
      }
    })
    return this.manager
  }

  has(name: string): boolean {
    return this.disks.has(`dedicated/${name}`)
  }
}

/** The other server as it is now; one that is down answers nobody. */
function destination(machine: Server): Destination {
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

async function found(rows = 30): Promise<{ one: Server; two: Server }> {
  const [one, two] = [new Server(), new Server()]
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
async function departUntil(one: Server, two: Server, side: 'here' | 'there', commits: number): Promise<boolean> {
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

  test('leaves it in use by itself, unless it has left and the other server was not told yet', async () => {
    for (let commits = 0; ; commits++) {
      const { one, two } = await found()
      const before = await digestAt(await one.start())
      const wasKilled = await departUntil(one, two, side, commits)
      const [here, there] = [await one.start(), await two.start()]
      if (!(await serves(here))) one.wait(PATIENCE_MS)
      const { departure } = (await here.get('acme')) ?? {}
      if (departure?.phase === 'left') expect(await codeOf(here.lease(ACME))).toBe('moved')
      else expect(await digestAt(here)).toBe(before)
      if (wasKilled) continue
      expect(await digestAt(there)).toBe(before)
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

test('DP3: a mover that holds still at any commit cannot say that a tenant has left which was used meanwhile', async () => {
  for (let commits = 0; ; commits++) {
    const { one, two } = await found()
    const { onCommit, paused, resume } = pausingAfter(commits)
    const slow = await one.start(onCommit)
    const outcome = codeOf(slow.depart('acme', destination(two), ADDRESS))
    if ((await Promise.race([outcome, paused])) !== 'paused') return expect(commits).toBeGreaterThan(3)
    const here = await one.start()
    if (!(await serves(here))) one.wait(PATIENCE_MS)
    await write(here, await openClient('acme'), ['meanwhile'])
    resume()
    await outcome
    const served = [await serves(await one.start()), await serves(await two.start())]
    expect(served.filter(Boolean).length).toBe(1)
    expect((await readNotesAt(served[0] ? one : two)).length).toBe(31)
  }
})

async function readNotesAt(machine: Server): Promise<readonly unknown[]> {
  const { tenant, release } = await (machine.manager as TenantManager).lease(ACME)
  const notes = await readNotes('acme', tenant.hub)
  release()
  return notes
}
