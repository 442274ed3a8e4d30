/** Writers of a store that is given up: they stop, and stay stopped, whatever becomes of the place. */
import { describe, expect, test } from 'vitest'
import type { Store } from '../../core/index.ts'
import { createMemoryDisk, type MemoryDisk } from '../../core/stores/memory.ts'
import { commitAnyhow, lowerFence, openBehindFence, raiseFence, sealStore } from '../../tenant/fence.ts'
import { storeContract } from '../contract/store-contract.ts'
import { codeOf } from './session.ts'

const ENTRY = { key: new Uint8Array([108]), value: new Uint8Array([1]) }

storeContract('a store behind the fence', async () => {
  const disk = createMemoryDisk()
  return { open: () => openBehindFence(disk.open(), () => {}), cleanup: async () => {} }
})

async function openSealed(): Promise<{ disk: MemoryDisk; owner: Store; writer: Store; stops: unknown[] }> {
  const disk = createMemoryDisk()
  const owner = disk.open()
  await sealStore(owner)
  const stops: unknown[] = []
  return { disk, owner, stops, writer: await openBehindFence(disk.open(), (error) => stops.push(error)) }
}

async function write(store: Store, expectedHead: number): Promise<string> {
  const result = await store.commit({ expectedHead, puts: [ENTRY], deletes: [] })
  return result.type
}

const notNeeded = async (): Promise<boolean> => false

describe('a writer behind the fence', () => {
  const ways: readonly (readonly [what: string, giveUp: (store: Store) => Promise<void>])[] = [
    ['the fence was raised', raiseFence],
    ['its place was sealed for somebody else', sealStore],
    [
      'its place was emptied',
      async (store) => {
        const all = await store.range({ from: new Uint8Array(0), to: new Uint8Array([255]), limit: 99 })
        await commitAnyhow(store, { puts: [], deletes: all.map(({ key }) => key) })
      },
    ],
  ]

  test.each(ways)('TF1: cannot write after %s, on the head it knew or on the new one', async (_what, giveUp) => {
    const { owner, writer, stops } = await openSealed()
    const head = await writer.head()
    expect(await write(writer, head)).toBe('committed')
    await giveUp(owner)
    expect(await codeOf(write(writer, head + 1))).toBe('unavailable')
    const late = await openSealed()
    await giveUp(late.owner)
    expect(await codeOf(late.writer.head())).toBe('unavailable')
    expect([stops.length, late.stops.length]).toEqual([1, 1])
  })

  test.each(ways)('TF3: reads nothing after %s', async (_what, giveUp) => {
    for (const read of [
      (store: Store) => store.getMany([ENTRY.key]),
      (store: Store) => store.range({ from: new Uint8Array(0), to: new Uint8Array([255]), limit: 9 }),
    ]) {
      const { owner, writer } = await openSealed()
      await write(writer, await writer.head())
      expect(await codeOf(read(writer))).toBe('no error')
      await giveUp(owner)
      expect(await codeOf(read(writer))).toBe('unavailable')
    }
  })

  test('TF2: stays stopped, even when the fence is lowered again', async () => {
    const { owner, writer, stops } = await openSealed()
    await raiseFence(owner)
    expect(await codeOf(writer.head())).toBe('unavailable')
    await lowerFence(owner, notNeeded)
    const calls = [writer.head(), writer.getMany([ENTRY.key]), write(writer, await owner.head())]
    expect(await Promise.all(calls.map(codeOf))).toEqual(['unavailable', 'unavailable', 'unavailable'])
    expect(stops.length).toBe(1)
  })

  test('is not let in while the fence is up, and is again when it is lowered', async () => {
    const { disk, owner } = await openSealed()
    await raiseFence(owner)
    expect(await codeOf(openBehindFence(disk.open(), () => {}))).toBe('unavailable')
    await lowerFence(owner, notNeeded)
    const writer = await openBehindFence(disk.open(), () => {})
    expect(await write(writer, await writer.head())).toBe('committed')
  })

  test('TF4: is not let in when the fence is raised, or still needed, while it is being lowered', async () => {
    const { disk, owner } = await openSealed()
    await raiseFence(owner)
    const answers = [false, true]
    await lowerFence(owner, async () => {
      // Whoever says "needed" from now on has raised it again: the first answer was out of date.
      await raiseFence(disk.open())
      return answers.shift() ?? true
    })
    expect(answers).toEqual([])
    expect(await codeOf(openBehindFence(disk.open(), () => {}))).toBe('unavailable')
  })

  test('is not disturbed by lowering a fence that is not up', async () => {
    const { owner, writer } = await openSealed()
    await lowerFence(owner, notNeeded)
    expect(await write(writer, await writer.head())).toBe('committed')
  })

  test('learns of other writers as ever', async () => {
    const { owner, writer } = await openSealed()
    const head = await writer.head()
    await commitAnyhow(owner, { puts: [ENTRY], deletes: [] })
    expect(await write(writer, head)).toBe('head-moved')
    expect(await write(writer, head + 1)).toBe('committed')
  })
})
