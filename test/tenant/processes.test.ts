/**
 * Several processes on one registry: what an operator changes in one of them reaches the others with their next refresh.
 *
 * Knows: machines with processes. Must never know: what is kept where.
 */
import { expect, test } from 'vitest'
import { Machine } from './machine.ts'

test('a reload is announced to every other process once, and not to the one that announces it', async () => {
  const machine = new Machine()
  const told: string[] = []
  const start = (name: string) => machine.start(undefined, () => void told.push(name))
  const [here, there] = [await start('here'), await start('there')]
  await here.announceReload()
  await here.refresh()
  expect(told).toEqual([])
  for (let refreshes = 0; refreshes < 3; refreshes++) await there.refresh()
  expect(told).toEqual(['there'])
  const later = await start('later')
  await later.refresh()
  expect(told).toEqual(['there'])
  await Promise.all([here.announceReload(), there.announceReload()])
  for (const manager of [here, there, later]) await manager.refresh()
  expect(told.toSorted()).toEqual(['here', 'later', 'there', 'there'])
})
