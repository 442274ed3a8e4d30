/** Whom a replica belongs to, and how many new replicas a tenant can be made to read its rows for at once. */
import { describe, expect, test } from 'vitest'
import { createMemoryStores } from '../../core/stores/memory.ts'
import { openIntruder } from './intruder.ts'
import { sign } from './sign.ts'
import { contentOf, linkTo, openNotes, settleAll, stateOf, until, writeNotes } from './stage.ts'
import { openTokenServer, openWithToken } from './tokens.ts'

const anonymous = (sub: string) => sign({ sub }, { raw: { anonymous: true } })

describe('a replica', () => {
  test('that was anonymous keeps its id and its rows when somebody signs in, and is theirs from then on', async () => {
    const server = await openTokenServer()
    const replica = await openNotes()
    const before = linkTo(replica, server.url, { token: await anonymous('visitor-1') })
    await writeNotes(replica, 30)
    await before.settled()
    await before.close()
    const id = replica.id
    await replica.table('notes').insert({ id: 'offline', title: 'between the two', done: false })
    const signedIn = linkTo(replica, server.url, { token: await sign({ sub: 'ada' }) })
    await signedIn.settled()
    expect(replica.id).toBe(id)
    expect((await replica.digest()).rows).toBe(31)
    await signedIn.close()
    for (const token of [sign({ sub: 'eve' }), anonymous('visitor-1')]) {
      const intruder = await openIntruder(server, token, id)
      intruder.say(intruder.hello())
      expect(await intruder.hears('refuse')).toMatchObject({ code: 'replica-cloned' })
    }
    const again = linkTo(replica, server.url, { token: await sign({ sub: 'ada' }) })
    await again.settled()
    expect(replica.id).toBe(id)
  })

  test('of somebody else cannot be fenced, nor written for', async () => {
    const server = await openTokenServer()
    const ada = await openWithToken(server.url)
    await ada.replica.table('notes').insert({ id: 'n1', title: 'hers', done: false })
    await ada.link.settled()
    const eve = await openIntruder(server, sign({ sub: 'eve' }), ada.replica.id)
    eve.say(eve.hello({ ownSeq: 1 }))
    await eve.hears('refuse')
    await eve.gone
    await ada.replica.table('notes').insert({ id: 'n2', title: 'hers too', done: false })
    await settleAll(ada.link)
    expect(ada.link.status).toMatchObject({ state: 'live', attempts: 1 })
  })

  test('that two people use one after the other goes on under an id of the second, and loses nothing', async () => {
    const server = await openTokenServer()
    const replica = await openNotes()
    const first = linkTo(replica, server.url, { token: await sign({ sub: 'ada' }) })
    await writeNotes(replica, 10)
    await first.settled()
    await first.close()
    const id = replica.id
    await replica.table('notes').insert({ id: 'left', title: 'left behind by the first', done: false })
    const second = linkTo(replica, server.url, { token: await sign({ sub: 'bob' }) })
    await stateOf(second, 'live')
    await second.settled()
    expect(replica.id).not.toBe(id)
    const reader = await openWithToken(server.url, { sub: 'carol' })
    await settleAll(second, reader.link)
    expect((await reader.replica.digest()).rows).toBe(11)
    expect(await contentOf(reader.replica)).toEqual(await contentOf(replica))
  })
})

test('new replicas get their rows two at a time, and each gets all of them', async () => {
  let [reading, readingMax] = [0, 0]
  const stores = createMemoryStores()
  const openStore = (tenant: string) => {
    const store = stores(tenant)
    const range: typeof store.range = async (asked) => {
      const isRows = asked.from[0] === 'r'.charCodeAt(0)
      if (!isRows) return store.range(asked)
      readingMax = Math.max(readingMax, ++reading)
      await new Promise((resolve) => setImmediate(resolve))
      return store.range(asked).finally(() => reading--)
    }
    return {
      head: () => store.head(),
      getMany: store.getMany.bind(store),
      range,
      commit: store.commit.bind(store),
      close: () => store.close(),
    }
  }
  const server = await openTokenServer({ openStore })
  const writer = await openWithToken(server.url)
  await writeNotes(writer.replica, 5_000)
  await writer.link.settled()
  readingMax = 0
  const fresh = await Promise.all(Array.from({ length: 12 }, (_, n) => openWithToken(server.url, { sub: `user-${n}` })))
  await settleAll(...fresh.map(({ link }) => link))
  for (const { replica } of fresh) expect((await replica.digest()).rows).toBe(5_000)
  expect(readingMax).toBeLessThanOrEqual(2)
  await until(() => server.manager.open[0]?.seats.builds === 0, 'no seat is kept')
})
