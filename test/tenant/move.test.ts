/**
 * Moving tenants between places: while they are in use, and back. What stops a mover is in movers.test.ts.
 *
 * Knows: disks that outlive a process which stops in the middle of anything. Must never know: the steps of a move.
 */
import { beforeEach, describe, expect, test } from 'vitest'
import { digestRows, type Store } from '../../core/index.ts'
import { createMemoryDisk } from '../../core/stores/memory.ts'
import { copyDifferences } from '../../tenant/move.ts'
import { ACME, ALL, dyingAfter, Machine, PAIRS, read, write } from './machine.ts'
import { codeOf, connect, openClient } from './session.ts'

let machine: Machine

beforeEach(() => {
  machine = new Machine()
})

describe('a move', () => {
  test.each(PAIRS)('from %s to %s keeps everything, the log and its cursors with it', async (from, to) => {
    const manager = await machine.start()
    await manager.register({ name: 'acme', plan: 'pro', mode: from })
    const client = await openClient('acme')
    await write(manager, client, ['1', '2', '3'])
    const before = await manager.get('acme')
    const { logId } = (await manager.lease(ACME)).tenant.hub.ledger.state.meta
    await manager.move('acme', to)
    expect(await manager.get('acme')).toEqual({
      ...before,
      mode: to,
      move: { from, to, phase: 'kept', copiedTo: '' },
    })
    const { tenant } = await manager.lease(ACME)
    expect(tenant.hub.ledger.state.meta.logId).toBe(logId)
    const session = connect(client, tenant.hub)
    await session.settled()
    expect(session.client.isRestoring).toBe(false)
    await write(manager, client, ['4'])
    expect(await digestRows(client.ledger)).toEqual(await digestRows(tenant.hub.ledger))
    await manager.finishMove('acme')
    expect(await manager.get('acme')).toEqual({ ...before, mode: to })
    expect(await machine.footprint()).toMatchObject({ [from]: 0 })
    expect(await read(manager)).toEqual(['1', '2', '3', '4'])
  })

  test('goes on while clients write, and cuts them off only for the end of it', async () => {
    let writes = 0
    const ids: string[] = []
    const manager = await machine.start(() => {
      writes++
    })
    await manager.register({ name: 'acme', plan: 'pro', mode: 'shared' })
    const client = await openClient('acme')
    await write(manager, client, ['0'])
    ids.push('0')
    let isMoved = false
    const moving = manager.move('acme', 'dedicated').finally(() => {
      isMoved = true
    })
    for (let id = 1; !isMoved; id++) {
      await client.table('notes').insert({ id: `${id}`, text: 'meanwhile' })
      ids.push(`${id}`)
      const attempt = manager.lease(ACME).then(async ({ tenant, release }) => {
        const session = connect(client, tenant.hub)
        const stop = tenant.onEnd((error) => session.server.fail(error))
        await session.settled().finally(stop).finally(release)
        session.close()
      })
      expect(['no error', 'unavailable']).toContain(await codeOf(attempt))
    }
    await moving
    await write(manager, client, [])
    expect(await read(manager)).toEqual(ids.toSorted())
    expect(writes).toBeGreaterThan(ids.length)
  })

  test('TF1: stops writers of other processes, who lose nothing and go on in the new place', async () => {
    const [here, there] = [await machine.start(), await machine.start()]
    await here.register({ name: 'acme', plan: 'pro', mode: 'shared' })
    const client = await openClient('acme')
    await write(there, client, ['1'])
    const { tenant } = await there.lease(ACME)
    await here.move('acme', 'namespace')
    await client.table('notes').insert({ id: '2', text: 'too late for the old place' })
    expect(await codeOf(connect(client, tenant.hub).settled())).toBe('unavailable')
    expect(client.pending).toBe(1)
    await write(there, client, [])
    expect(client.pending).toBe(0)
    expect(await read(here)).toEqual(['1', '2'])
  })

  test('of a suspended tenant leaves it suspended', async () => {
    const manager = await machine.start()
    await manager.register({ name: 'acme', plan: 'pro', mode: 'shared' })
    await write(manager, await openClient('acme'), ['1'])
    await manager.suspend('acme', 'unpaid')
    expect(await manager.move('acme', 'dedicated')).toMatchObject({ state: 'suspended', mode: 'dedicated' })
    expect(await codeOf(manager.lease(ACME))).toBe('forbidden')
    await manager.resume('acme')
    expect(await read(manager)).toEqual(['1'])
  })

  test('is refused where there is nothing to move, or another move is under way', async () => {
    const manager = await machine.start()
    await manager.register({ name: 'acme', plan: 'pro', mode: 'shared' })
    expect(await codeOf(manager.move('never', 'dedicated'))).toBe('bad-option')
    expect(await codeOf(manager.move('acme', 'shared'))).toBe('bad-option')
    expect(await codeOf(manager.finishMove('acme'))).toBe('bad-option')
    expect(await codeOf(manager.rollBackMove('acme'))).toBe('bad-option')
    await manager.move('acme', 'dedicated')
    expect(await codeOf(manager.move('acme', 'namespace'))).toBe('bad-option')
    expect(await manager.move('acme', 'dedicated')).toMatchObject({ mode: 'dedicated' })
  })

  test('TW1: does not end in a place that does not hold what was copied, but where it began', async () => {
    const manager = await machine.start()
    await manager.register({ name: 'acme', plan: 'pro', mode: 'shared' })
    await write(manager, await openClient('acme'), ['1', '2'])
    const before = await manager.get('acme')
    await manager.close()
    const lossy = createMemoryDisk()
    machine.disks.set('dedicated/acme', { open: () => losing(lossy.open()) })
    const careless = await machine.start()
    expect(await codeOf(careless.move('acme', 'dedicated'))).toBe('store-failed')
    expect(await careless.get('acme')).toEqual(before)
    expect(await read(careless)).toEqual(['1', '2'])
  })
})

describe('a move back', () => {
  test('before the cut leaves the tenant where it is, and nothing in the other place', async () => {
    const manager = await machine.start()
    await manager.register({ name: 'acme', plan: 'pro', mode: 'shared' })
    await write(manager, await openClient('acme'), ['1'])
    const before = await manager.get('acme')
    const dying = await machine.start(dyingAfter(3))
    expect(await codeOf(dying.move('acme', 'dedicated'))).not.toBe('no error')
    const again = await machine.start()
    expect((await again.get('acme'))?.move).toBeDefined()
    await again.rollBackMove('acme')
    expect(await again.get('acme')).toEqual(before)
    expect(await machine.footprint()).toMatchObject({ dedicated: 0 })
    expect(await read(again)).toEqual(['1'])
  })

  test('after the cut takes along what was written since', async () => {
    const manager = await machine.start()
    await manager.register({ name: 'acme', plan: 'pro', mode: 'shared' })
    const before = await manager.get('acme')
    const client = await openClient('acme')
    await write(manager, client, ['1'])
    await manager.move('acme', 'dedicated')
    await write(manager, client, ['2'])
    await manager.rollBackMove('acme')
    expect(await manager.get('acme')).toEqual(before)
    expect(await machine.footprint()).toMatchObject({ dedicated: 0 })
    await write(manager, client, ['3'])
    expect(await read(manager)).toEqual(['1', '2', '3'])
  })
})

describe('copying differences', () => {
  test('makes any target equal to any source, and finds nothing to do the second time', async () => {
    const [source, target] = [createMemoryDisk().open(), createMemoryDisk().open()]
    const put = async (store: Store, entries: readonly (readonly [number, number])[]): Promise<void> => {
      const puts = entries.map(([key, value]) => ({
        key: new Uint8Array([108, key >> 8, key & 255]),
        value: new Uint8Array([value]),
      }))
      await store.commit({ expectedHead: await store.head(), puts, deletes: [] })
    }
    const numbers = Array.from({ length: 10_000 }, (_, index) => index)
    await put(
      source,
      numbers.filter((key) => key % 3 !== 0).map((key) => [key, key & 255]),
    )
    await put(
      target,
      numbers.filter((key) => key % 2 === 0).map((key) => [key, key % 4]),
    )
    const differing = numbers.filter((key) => {
      const [wanted, held] = [key % 3 === 0 ? -1 : key & 255, key % 2 === 0 ? key % 4 : -1]
      return wanted !== held
    }).length
    expect(await copyDifferences(source, target)).toBe(differing)
    expect(await target.range(ALL)).toEqual(await source.range(ALL))
    expect(await copyDifferences(source, target)).toBe(0)
  })
})

/** A store that forgets every other thing it was given. */
function losing(store: Store): Store {
  return {
    head: () => store.head(),
    getMany: (keys) => store.getMany(keys),
    range: (range) => store.range(range),
    commit: (commit) => store.commit({ ...commit, puts: commit.puts.filter((_, index) => index % 2 === 0) }),
    close: () => store.close(),
  }
}
