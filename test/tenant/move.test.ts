/**
 * Moving tenants between places: while they are in use, through crashes at any step, and back.
 *
 * Knows: disks that outlive a process which stops in the middle of anything. Must never know: the steps of a move.
 */
import { beforeEach, describe, expect, test } from 'vitest'
import { digestRows, parseTenantName, type Store, TidemarkError } from '../../core/index.ts'
import { createMemoryDisk, type MemoryDisk } from '../../core/stores/memory.ts'
import { type IsolationMode, SharedStores, type StoreFactory, TenantManager } from '../../tenant/index.ts'
import { copyDifferences } from '../../tenant/move.ts'
import { type Client, codeOf, connect, NOW_MS, openClient, readNotes, sync } from './session.ts'

const ACME = parseTenantName('acme')
const MODES = ['shared', 'namespace', 'dedicated'] as const
const ALL = { from: new Uint8Array(0), to: new Uint8Array([255]), limit: 1_000_000 }

interface World {
  readonly registry: MemoryDisk
  readonly shared: MemoryDisk
  readonly disks: Map<string, MemoryDisk>
}

let world: World

beforeEach(() => {
  world = { registry: createMemoryDisk(), shared: createMemoryDisk(), disks: new Map() }
})

/** A process: every commit of all its stores passes `onCommit`, which may end it. */
function openProcess(onCommit: () => void = () => {}): Promise<TenantManager> {
  const watched = (store: Store): Store => ({
    head: () => store.head(),
    getMany: (keys) => store.getMany(keys),
    range: (range) => store.range(range),
    commit: async (commit) => {
      onCommit()
      return store.commit(commit)
    },
    close: () => store.close(),
  })
  const stores = (mode: IsolationMode): StoreFactory => ({
    open: async (name) => {
      const disk = world.disks.get(`${mode}/${name}`) ?? createMemoryDisk()
      world.disks.set(`${mode}/${name}`, disk)
      return watched(disk.open())
    },
    remove: async (name) => {
      onCommit()
      world.disks.delete(`${mode}/${name}`)
    },
  })
  return TenantManager.open({
    registry: watched(world.registry.open()),
    stores: {
      shared: new SharedStores(watched(world.shared.open())),
      namespace: stores('namespace'),
      dedicated: stores('dedicated'),
    },
    now: () => NOW_MS,
    monotonicMs: () => 0,
  })
}

async function write(manager: TenantManager, client: Client, ids: readonly string[]): Promise<void> {
  const { tenant, release } = await manager.lease(ACME)
  for (const id of ids) await client.table('notes').insert({ id, text: `text of ${id}` })
  await sync(client, tenant.hub)
  release()
}

async function read(manager: TenantManager): Promise<readonly string[]> {
  const { tenant, release } = await manager.lease(ACME)
  const notes = await readNotes('acme', tenant.hub)
  release()
  return notes.map(({ id }) => id).toSorted()
}

/** How much of the tenant lies in each kind of place. */
async function footprint(): Promise<Record<IsolationMode, number>> {
  const count = async (disk: MemoryDisk | undefined): Promise<number> =>
    disk === undefined ? 0 : (await disk.open().range(ALL)).length
  return {
    shared: await count(world.shared),
    namespace: await count(world.disks.get('namespace/acme')),
    dedicated: await count(world.disks.get('dedicated/acme')),
  }
}

describe('a move', () => {
  const pairs = MODES.flatMap((from) => MODES.filter((to) => to !== from).map((to) => [from, to] as const))

  test.each(pairs)('from %s to %s keeps everything, the log and its cursors with it', async (from, to) => {
    const manager = await openProcess()
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
    expect(await footprint()).toMatchObject({ [from]: 0 })
    expect(await read(manager)).toEqual(['1', '2', '3', '4'])
  })

  test('goes on while clients write, and cuts them off only for the end of it', async () => {
    let writes = 0
    const ids: string[] = []
    const manager = await openProcess(() => writes++)
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
    const [here, there] = [await openProcess(), await openProcess()]
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
    const manager = await openProcess()
    await manager.register({ name: 'acme', plan: 'pro', mode: 'shared' })
    await write(manager, await openClient('acme'), ['1'])
    await manager.suspend('acme', 'unpaid')
    expect(await manager.move('acme', 'dedicated')).toMatchObject({ state: 'suspended', mode: 'dedicated' })
    expect(await codeOf(manager.lease(ACME))).toBe('forbidden')
    await manager.resume('acme')
    expect(await read(manager)).toEqual(['1'])
  })

  test('is refused where there is nothing to move, or another move is under way', async () => {
    const manager = await openProcess()
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
    const manager = await openProcess()
    await manager.register({ name: 'acme', plan: 'pro', mode: 'shared' })
    await write(manager, await openClient('acme'), ['1', '2'])
    const before = await manager.get('acme')
    await manager.close()
    const lossy = createMemoryDisk()
    world.disks.set('dedicated/acme', { open: () => losing(lossy.open()) })
    const careless = await openProcess()
    // The mover clears its target first; this disk is to stay as it is.
    world.disks.delete = () => false
    expect(await codeOf(careless.move('acme', 'dedicated'))).toBe('store-failed')
    expect(await careless.get('acme')).toEqual(before)
    expect(await read(careless)).toEqual(['1', '2'])
  })
})

describe('a move back', () => {
  test('before the cut leaves the tenant where it is, and nothing in the other place', async () => {
    let commits = 0
    const manager = await openProcess()
    await manager.register({ name: 'acme', plan: 'pro', mode: 'shared' })
    await write(manager, await openClient('acme'), ['1'])
    const before = await manager.get('acme')
    const dying = await openProcess(() => {
      if (++commits > 3) throw new TidemarkError('store-failed', 'power cut')
    })
    expect(await codeOf(dying.move('acme', 'dedicated'))).not.toBe('no error')
    const again = await openProcess()
    expect((await again.get('acme'))?.move).toBeDefined()
    await again.rollBackMove('acme')
    expect(await again.get('acme')).toEqual(before)
    expect(await footprint()).toMatchObject({ dedicated: 0 })
    expect(await read(again)).toEqual(['1'])
  })

  test('after the cut takes along what was written since', async () => {
    const manager = await openProcess()
    await manager.register({ name: 'acme', plan: 'pro', mode: 'shared' })
    const before = await manager.get('acme')
    const client = await openClient('acme')
    await write(manager, client, ['1'])
    await manager.move('acme', 'dedicated')
    await write(manager, client, ['2'])
    await manager.rollBackMove('acme')
    expect(await manager.get('acme')).toEqual(before)
    expect(await footprint()).toMatchObject({ dedicated: 0 })
    await write(manager, client, ['3'])
    expect(await read(manager)).toEqual(['1', '2', '3'])
  })
})

describe('a process that stops at any write of a move', () => {
  const moveAll = async (manager: TenantManager): Promise<void> => {
    await manager.move('acme', 'dedicated')
    await manager.finishMove('acme')
  }
  const verbs: readonly (readonly [verb: string, finish: (manager: TenantManager) => Promise<void>, mode: string])[] = [
    ['is taken over by one that goes on', moveAll, 'dedicated'],
    ['is taken over by one that moves back', (manager) => manager.rollBackMove('acme'), 'shared'],
  ]

  test.each(verbs)('%s, and nothing is lost or left over', async (_what, finish, mode) => {
    for (let lastWrite = 0; ; lastWrite++) {
      world = { registry: createMemoryDisk(), shared: createMemoryDisk(), disks: new Map() }
      const manager = await openProcess()
      await manager.register({ name: 'acme', plan: 'pro', mode: 'shared' })
      const client = await openClient('acme')
      await write(manager, client, ['1', '2', '3'])
      await manager.close()

      let left = lastWrite
      const dying = await openProcess(() => {
        if (left-- <= 0) throw new TidemarkError('store-failed', 'power cut')
      })
      const isThrough = (await codeOf(moveAll(dying))) === 'no error'

      const again = await openProcess()
      const record = await again.get('acme')
      if (record?.move === undefined && record?.mode === 'shared') await moveAll(again)
      else if (record?.move !== undefined) await finish(again)
      const end = await again.get('acme')
      expect(end?.move).toBeUndefined()
      if (record?.move !== undefined) expect(end?.mode).toBe(mode)
      const places = await footprint()
      for (const place of MODES) expect(places[place] > 0).toBe(place === end?.mode)
      await write(again, client, ['4'])
      expect(await read(again)).toEqual(['1', '2', '3', '4'])
      if (isThrough) return expect(lastWrite).toBeGreaterThan(6)
    }
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
