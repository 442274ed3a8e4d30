/**
 * Relays: what they have admitted counts, a replica has one home, and nobody is judged twice.
 */
import { describe, expect, it } from 'vitest'
import { peerServer } from '../../core/exchange.ts'
import { becomeRelay, JoinFamily, takeHome } from '../../core/family.ts'
import type { Gate } from '../../core/gate.ts'
import { digestRows, type Hub, type Store } from '../../core/index.ts'
import { createReplicaId } from '../../core/names.ts'
import { beginEpoch } from '../../core/recovery.ts'
import { openMemoryStore } from '../../core/stores/memory.ts'
import {
  type Client,
  Line,
  type LineOptions,
  now,
  OPEN,
  openClient,
  openRelay,
  openRoot,
  refusing,
  rest,
} from './relay-stage.ts'

const write = (client: Client, id: string, text = id): Promise<unknown> =>
  client.table('notes').upsert({ id, text: `${text} by ${client.id.slice(0, 4)}` })
const digestOf = async (hub: Hub): Promise<string> => (await digestRows(hub.ledger)).hash
const connect = (from: Client | Hub, to: Hub, options?: LineOptions): Promise<Line> =>
  new Line(from, to, options).settled()

async function copyOf(store: Store): Promise<Store> {
  const everything = { from: new Uint8Array(0), to: new Uint8Array(600).fill(255), limit: 1e6 }
  const copy = openMemoryStore()
  await copy.commit({ expectedHead: 0, puts: await store.range(everything), deletes: [] })
  return copy
}

/** More than a newcomer is told change by change. */
async function writeMany(client: Client, count: number): Promise<void> {
  for (let row = 0; row < count; row += 500) {
    await client.transact((transaction) => {
      for (let each = row; each < row + 500; each++) transaction.table('notes').insert({ id: `m${each}`, text: 'many' })
    })
  }
}

/** A table that is new ends sessions between servers. */
async function define(...hubs: readonly Hub[]): Promise<void> {
  for (const hub of hubs) await (await connect(await openClient(), hub)).close()
}

async function family(): Promise<{ root: Hub; relay: Hub; line: Line; phone: Client; laptop: Client }> {
  const [root, relay, phone, laptop] = await Promise.all([openRoot(), openRelay(), openClient(), openClient()])
  await define(root)
  return { root, relay, line: await connect(relay, root), phone, laptop }
}

describe('a relay', () => {
  it('passes on what both sides write, and all are equal', async () => {
    const { root, relay, line, phone, laptop } = await family()
    const [below, above] = [await connect(phone, relay), await connect(laptop, root)]
    await line.close()
    await write(phone, 'n1')
    await write(laptop, 'n1')
    await write(laptop, 'n2')
    for (const each of [below, above]) await each.settled()
    const again = await connect(relay, root)
    for (const each of [below, above, again]) await each.settled()
    expect(new Set(await Promise.all([root, relay, phone.hub, laptop.hub].map(digestOf))).size).toBe(1)
    expect((await phone.digest()).rows).toBe(2)
    const conflicts = []
    for await (const { type } of phone.conflicts.open()) conflicts.push(type)
    expect(conflicts).toEqual(['insert-insert'])
  })

  it('is not judged: what it has admitted counts at its upstream, whatever that would have said', async () => {
    const { root, relay, line, phone, laptop } = await family()
    await line.close()
    await connect(phone, relay)
    await write(phone, 'n1')
    await connect(phone, relay)
    await connect(relay, root, { gate: refusing(() => true) })
    await connect(laptop, root)
    expect(await laptop.table('notes').get('n1')).toBeDefined()
    expect(await digestOf(root)).toBe(await digestOf(relay))
  })

  it('without the scope is refused at its hello, and nothing is stored', async () => {
    const [root, relay] = await Promise.all([openRoot(), openRelay()])
    for (const gate of [
      { ...OPEN, mayRelay: () => false },
      { mayRead: () => true, mayWrite: () => true },
      { ...OPEN, mayRead: () => false },
    ]) {
      const line = new Line(relay, root, { gate })
      await rest()
      expect(line.end).toBe('forbidden')
    }
    expect(root.ledger.state.replicas.size).toBe(1)
  })

  it('that loses the scope while it is connected is ended with what it brings next', async () => {
    const [root, relay, phone] = await Promise.all([openRoot(), openRelay(), openClient()])
    let isTrusted = true
    await define(root)
    const line = await connect(relay, root, { gate: { ...OPEN, mayRelay: () => isTrusted } })
    isTrusted = false
    await connect(phone, relay)
    await write(phone, 'n1')
    await rest()
    expect(line.end).toBe('forbidden')
    expect(root.ledger.durablePosition).toBe(1)
  })

  it('FM2: answers nobody before it has met its upstream, and everybody afterwards, alone as well', async () => {
    const [root, relay, phone] = await Promise.all([openRoot(), openRelay(), openClient()])
    const early = new Line(phone, relay)
    await rest()
    expect(early.initiator.error).toMatchObject({ code: 'unavailable', retryable: true })
    const line = await connect(relay, root)
    await line.close()
    await write(phone, 'n1')
    await connect(phone, relay)
    expect(phone.pending).toBe(0)
  })

  it('FM3: begins with an empty store, and stays in its family', async () => {
    const { root, relay, laptop } = await family()
    await connect(laptop, root)
    await write(laptop, 'n1')
    await connect(laptop, root)
    await expect(root.ledger.submit(becomeRelay(now()))).rejects.toMatchObject({ code: 'store-foreign' })
    await relay.ledger.submit(becomeRelay(now()))
    const stranger = { home: createReplicaId(), family: createReplicaId() }
    await expect(
      relay.ledger.submit(new JoinFamily(stranger, createReplicaId(), [], [['notes', '']])),
    ).rejects.toMatchObject({
      code: 'store-foreign',
    })
  })

  it('is sent nothing back that it has brought, and the other way round', async () => {
    const { root, relay, line, phone, laptop } = await family()
    const [below, above] = [await connect(phone, relay), await connect(laptop, root)]
    for (const id of ['n1', 'n2', 'n3']) await write(phone, id)
    for (const each of [below, line, above]) await each.settled()
    const [up, down] = [line.blocksFrom('up'), line.blocksFrom('down')]
    expect([up > 0, down]).toEqual([true, 0])
    for (const id of ['m1', 'm2', 'm3']) await write(laptop, id)
    for (const each of [above, line, below]) await each.settled()
    expect([line.blocksFrom('up'), line.blocksFrom('down') > 0]).toEqual([up, true])
    expect(await digestOf(root)).toBe(await digestOf(relay))
  })

  it('goes on with what its upstream lacks, as that says itself', async () => {
    const { root, relay, line, phone } = await family()
    const below = await connect(phone, relay)
    for (const id of ['n1', 'n2']) {
      await write(phone, id)
      for (const each of [below, line]) await each.settled()
    }
    await line.close()
    const again = await connect(relay, root)
    expect(again.blocksFrom('up')).toBe(0)
    await again.close()
    await write(phone, 'n3')
    await below.settled()
    const news = await connect(relay, root)
    expect(news.blocksFrom('up')).toBe(1)
    expect(await digestOf(root)).toBe(await digestOf(relay))
  })

  it('gives a root that goes on from a backup everything back, also what it has from there', async () => {
    const rootStore = openMemoryStore()
    const [root, relay, phone] = await Promise.all([openRoot(rootStore), openRelay(), openClient()])
    const above = await connect(phone, root)
    const backup = await copyOf(rootStore)
    await writeMany(phone, 1_500)
    await above.settled()
    const line = await connect(relay, root)
    expect(line.sent.some(({ frame }) => frame.type === 'snapshot-begin')).toBe(false)
    await line.close()
    // Its backup is from before all that, and the phone never comes back.
    const restored = await openRoot(backup)
    await restored.ledger.submit(beginEpoch(now()))
    await connect(relay, restored)
    expect(await digestOf(restored)).toBe(await digestOf(relay))
    const laptop = await openClient()
    await connect(laptop, restored)
    expect((await laptop.digest()).rows).toBe(1_500)
  })

  it('takes over the definitions of its upstream, and its clients hear of it at their next hello', async () => {
    const [root, relay] = await Promise.all([openRoot(), openRelay()])
    const { openReplica, table, firstWriteWins } = await import('../../core/index.ts')
    const tables = { notes: table<{ id: string; text: string }>({ policy: firstWriteWins() }) }
    const odd = (await openReplica({ tenant: 'acme', store: openMemoryStore(), tables, now })) as unknown as Client
    await (await connect(relay, root)).close()
    await (await connect(odd, relay)).close()
    await connect(await openClient(), root)
    await connect(relay, root)
    const line = new Line(odd, relay)
    await rest()
    expect(line.end).toBe('schema-mismatch')
  })

  it('FM5: compares at once what is defined at either side while they are connected', async () => {
    const [root, relay] = await Promise.all([openRoot(), openRelay()])
    const { openReplica, table, firstWriteWins } = await import('../../core/index.ts')
    const tables = { notes: table<{ id: string; text: string }>({ policy: firstWriteWins() }) }
    const odd = (await openReplica({ tenant: 'acme', store: openMemoryStore(), tables, now })) as unknown as Client
    const line = await connect(relay, root)
    // Both at once: neither server knows of the other's.
    const [below, above] = [new Line(odd, relay), new Line(await openClient(), root)]
    await rest()
    expect([line.end, below.end, above.end]).toEqual(['unavailable', undefined, undefined])
    const again = await connect(relay, root)
    expect([below.end, above.end]).toEqual(['unavailable', undefined])
    const late = new Line(odd, relay)
    await rest()
    expect([late.end, again.end]).toEqual(['schema-mismatch', undefined])
  })

  it('whose clock is ahead waits until its upstream has come so far', async () => {
    const { root, relay, line, phone } = await family()
    await line.close()
    const ahead = await openClient()
    Object.assign(ahead, { now: () => now() + 50_000 })
    const below = await connect(ahead, relay)
    await write(phone, 'n1')
    await write(ahead, 'n2')
    await below.settled()
    // As if the relay's own clock had let it pass.
    const { ReceiveChanges } = await import('../../core/receive.ts')
    const [block] = await relay.ledger.log.slice(1, relay.ledger.durablePosition, 1e6).then(({ blocks }) => blocks)
    const job = new ReceiveChanges([block?.block ?? expect.fail()], { peerServer: peerServer({ timestampMax: 1 }) })
    await expect(root.ledger.submit(job)).rejects.toMatchObject({ code: 'clock-skew', retryable: true })
  })
})

describe('a replica', () => {
  it('FM1: with changes that were sent and not answered is taken by its home only', async () => {
    const { root, relay, line: up, phone } = await family()
    await up.close()
    // The home takes it, and its answer is lost.
    const cut = new Line(phone, relay, { loses: ({ type }) => type === 'ack' })
    await rest()
    await write(phone, 'n1')
    await rest()
    await cut.close()
    expect(phone.pending).toBe(1)
    const early = await openRelay()
    await connect(early, root)
    await write(phone, 'n2')
    const line = new Line(phone, early, { gate: refusing(() => true) })
    await rest()
    expect(line.initiator.error).toMatchObject({ code: 'not-home', retryable: false })
    expect(line.sent.some(({ frame }) => frame.type === 'push')).toBe(false)
    await (await connect(phone, relay)).close()
    expect(phone.pending).toBe(0)
    await connect(phone, early)
    expect(await phone.rejected()).toEqual([])
  })

  it('hears from any server of the family what another one has answered', async () => {
    const { root, relay, line, phone } = await family()
    const cut = new Line(phone, root, { gate: refusing((id) => id === 'n2'), loses: ({ type }) => type === 'ack' })
    await rest()
    await write(phone, 'n1')
    await write(phone, 'n2')
    await rest()
    await cut.close()
    await line.settled()
    expect(phone.pending).toBe(2)
    await connect(phone, relay)
    expect(phone.pending).toBe(0)
    expect((await phone.rejected()).map(({ code }) => code)).toEqual(['forbidden'])
    expect(await phone.table('notes').get('n2')).toBeUndefined()
    expect(await digestOf(phone.hub)).toBe(await digestOf(root))
  })

  it('takes what it has written and sent to nobody to any server, and what it may have sent to its home only', async () => {
    const { root, relay, phone } = await family()
    await (await connect(phone, relay)).close()
    await write(phone, 'n1')
    await (await connect(phone, root)).close()
    expect(phone.pending).toBe(0)
    const cut = new Line(phone, root, { loses: ({ type }) => type === 'push' })
    await rest()
    await write(phone, 'n2')
    await rest()
    await cut.close()
    await write(phone, 'n3')
    const line = new Line(phone, relay)
    await rest()
    expect(line.end).toBe('not-home')
    await phone.renewIdentity('replica-restored')
    await connect(phone, relay)
    expect([phone.pending, (await phone.digest()).rows]).toEqual([0, 3])
  })

  it('that was killed while it was sending does not know how far it came, and goes to its home first', async () => {
    const { root, relay } = await family()
    const store = openMemoryStore()
    const before = await openClient(store)
    await connect(before, relay)
    await write(before, 'n1')
    await rest()
    // The process is gone; what another one finds is the store.
    const after = await openClient(store)
    await write(after, 'n2')
    const early = new Line(after, root)
    await rest()
    expect(early.end).toBe('not-home')
    await (await connect(after, relay)).close()
    await connect(after, root)
    expect(after.pending).toBe(0)
  })

  it('says hello again when its last home has answered meanwhile', async () => {
    const { root, relay, phone } = await family()
    await (await connect(phone, relay)).close()
    const { logId } = root.ledger.state.meta
    await write(phone, 'n1')
    await (await connect(phone, relay)).close()
    const job = takeHome({ home: logId, family: logId }, 0)
    await expect(phone.ledger.submit(job)).rejects.toMatchObject({ code: 'not-home', retryable: true })
    await phone.ledger.submit(takeHome({ home: logId, family: logId }, 1))
    expect(phone.ledger.state.family?.home).toBe(logId)
  })

  it('that has gone to another server pushes nothing to the last one, though that session is open', async () => {
    const { root, relay, phone } = await family()
    const old = await connect(phone, relay)
    await connect(phone, root)
    await write(phone, 'n1')
    await rest()
    expect(old.end).toBe('replica-fenced')
    expect(relay.ledger.state.replicas.find(phone.id)).toBeGreaterThan(0)
    expect(root.ledger.durableClock().get(phone.id)).toBe(1)
  })

  it('waits where its change builds on what a relay has still to bring, and goes on when it has come', async () => {
    const { root, relay, line, phone, laptop } = await family()
    await line.close()
    for (const each of [phone, laptop]) await connect(each, relay)
    await write(phone, 'n1')
    for (const each of [phone, laptop]) await (await connect(each, relay)).close()
    const ahead = new Line(laptop, root)
    await rest()
    await laptop.table('notes').update('n1', { text: 'seen' })
    await rest()
    expect(ahead.initiator.pause).toMatchObject({ resource: 'lost-changes' })
    await connect(relay, root)
    await rest()
    expect(ahead.initiator.pause?.retryAfterMs).toBe(0)
    ahead.initiator.resume()
    await ahead.settled()
    expect(laptop.pending).toBe(0)
    expect(await laptop.rejected()).toEqual([])
    expect((await laptop.table('notes').get('n1'))?.text).toBe('seen')
    expect(await digestOf(root)).toBe(await digestOf(laptop.hub))
  })

  it('brings what its last home has accepted, and is not refused', async () => {
    const { root, relay, line, phone } = await family()
    await line.close()
    await connect(phone, relay)
    await write(phone, 'n1')
    await (await connect(phone, relay)).close()
    const line2 = new Line(phone, root, { gate: refusing(() => true) })
    await rest()
    expect(line2.initiator.pause).toMatchObject({ resource: 'lost-changes' })
    expect(await phone.rejected()).toEqual([])
    await connect(relay, root)
    await rest()
    expect(line2.initiator.pause?.retryAfterMs).toBe(0)
    line2.initiator.resume()
    await line2.settled()
    expect(phone.pending).toBe(0)
  })

  it('that was copied, with both copies at work at two servers, ends the session between them', async () => {
    const { root, relay, line } = await family()
    await line.close()
    const store = openMemoryStore()
    const phone = await openClient(store)
    const twin = await openClient(await copyOf(store))
    await write(phone, 'n1', 'one')
    await write(twin, 'n1', 'two')
    await connect(phone, relay)
    await connect(twin, root)
    const meeting = new Line(relay, root)
    await rest()
    expect(meeting.end).toBe('dot-conflict')
    const { error } = meeting.acceptor
    expect((error?.code === 'dot-conflict' ? error : meeting.initiator.error)?.message).toContain(phone.id)
  })
})

describe('a relay whose tenant is full at its upstream', () => {
  const room = (rows: () => number): Gate => ({
    ...OPEN,
    weigh: (usage, growth) =>
      growth.rows > 0 && usage.rows + growth.rows > rows()
        ? { resource: 'rows', limit: rows(), used: usage.rows, retryAfterMs: 60_000 }
        : undefined,
  })

  it('E8: is paused at a transaction’s edge, hears of what is new, and goes on when there is room', async () => {
    const [root, relay, phone, laptop] = await Promise.all([openRoot(), openRelay(), openClient(), openClient()])
    let rows = 3
    await define(root)
    const line = await connect(relay, root, { gate: room(() => rows) })
    const [below, above] = [await connect(phone, relay), await connect(laptop, root)]
    await write(phone, 'n1')
    await write(phone, 'n2')
    await phone.transact((transaction) => {
      for (const id of ['n3', 'n4']) transaction.table('notes').insert({ id, text: id })
    })
    await write(phone, 'n1', 'behind it')
    await below.settled()
    await rest()
    expect(line.initiator.pause).toMatchObject({ resource: 'rows', limit: 3, used: 2 })
    expect((await digestRows(root.ledger)).rows).toBe(2)
    await write(laptop, 'm1')
    await above.settled()
    await rest()
    expect(relay.ledger.durableClock().get(laptop.id)).toBe(1)
    // What was on its way, and what comes meanwhile, is no gap.
    await write(phone, 'n2', 'meanwhile')
    await below.settled()
    await rest()
    expect(line.end).toBeUndefined()
    expect(root.ledger.durableClock().get(phone.id)).toBe(2)

    rows = 5
    line.initiator.resume()
    await line.settled()
    await above.settled()
    expect(line.initiator.pause).toBeUndefined()
    expect(new Set(await Promise.all([root, relay, laptop.hub].map(digestOf))).size).toBe(1)
  })

  it('never takes more rows there than there is room for, however much comes at once', async () => {
    const [root, relay, phone] = await Promise.all([openRoot(), openRelay(), openClient()])
    await (await connect(relay, root)).close()
    const below = await connect(phone, relay)
    for (let row = 0; row < 40; row++) await write(phone, `n${row}`)
    await below.settled()
    const line = new Line(relay, root, { gate: room(() => 25) })
    await rest()
    expect([line.end, (await digestRows(root.ledger)).rows]).toEqual([undefined, 25])
    expect(line.initiator.pause).toMatchObject({ limit: 25, used: 25 })
  })
})

describe('a relay that goes on from a backup', () => {
  it('answers nobody before it has back what it had passed up, and then judges nothing of that again', async () => {
    const store = openMemoryStore()
    const [root, relay, phone, laptop] = [
      await openRoot(),
      await openRelay(store),
      await openClient(),
      await openClient(),
    ]
    await define(root)
    const line = await connect(relay, root)
    await (await connect(phone, relay)).close()
    await line.settled()
    const backup = await copyOf(store)
    await write(phone, 'n1')
    const cut = new Line(phone, relay, { loses: ({ type }) => type === 'ack' })
    await rest()
    await line.settled()
    await (await connect(laptop, relay)).close()
    await cut.close()
    await line.close()
    expect([phone.pending, (await laptop.digest()).rows]).toEqual([1, 1])

    const restored = await openRelay(backup)
    await restored.ledger.submit(beginEpoch(now()))
    const early = new Line(phone, restored, { gate: refusing(() => true) })
    await rest()
    expect(early.initiator.error).toMatchObject({ code: 'unavailable', retryable: true })
    const again = await connect(restored, root)
    for (const each of [phone, laptop]) await connect(each, restored, { gate: refusing(() => true) })
    await again.settled()
    expect([phone.pending, await phone.rejected()]).toEqual([0, []])
    expect(new Set(await Promise.all([root, restored, phone.hub, laptop.hub].map(digestOf))).size).toBe(1)
  })
})

describe('a relay that lost its store', () => {
  const asEdge: Gate = { ...OPEN, subject: () => 'edge-7' }

  it('PO1: answers in the place of the one before it, and its clients send again what that one lost', async () => {
    const [root, relay, phone, laptop] = await Promise.all([openRoot(), openRelay(), openClient(), openClient()])
    await define(root)
    await (await connect(relay, root, { gate: asEdge })).close()
    await write(phone, 'n1')
    const beside = await connect(laptop, relay)
    await (await connect(phone, relay)).close()
    const cut = new Line(phone, relay, { loses: ({ type }) => type === 'ack' })
    await rest()
    await write(phone, 'n2')
    await rest()
    await beside.settled()
    await cut.close()
    await beside.close()
    expect([phone.pending, (await laptop.digest()).rows]).toEqual([1, 2])

    const fresh = await openRelay()
    const line = await connect(fresh, root, { gate: asEdge })
    for (const each of [laptop, phone, laptop]) await (await connect(each, fresh)).close()
    await line.settled()
    expect([phone.pending, await phone.rejected()]).toEqual([0, []])
    expect(new Set(await Promise.all([root, fresh, phone.hub, laptop.hub].map(digestOf))).size).toBe(1)
    await line.close()

    const late = new Line(relay, root, { gate: asEdge })
    await rest()
    expect(late.initiator.error).toMatchObject({ code: 'store-foreign', retryable: false })
  })

  it('PO1: has to wait while another one is connected with its subject', async () => {
    const [root, relay, other] = await Promise.all([openRoot(), openRelay(), openRelay()])
    const line = await connect(relay, root, { gate: asEdge })
    const early = new Line(other, root, { gate: asEdge })
    await rest()
    expect(early.initiator.error).toMatchObject({ code: 'unavailable', retryable: true })
    await line.close()
    await connect(relay, root, { gate: asEdge })
  })

  it('PO2: keeps the post wherever it connects, also under the subject of somebody else', async () => {
    const [root, relay, upper] = await Promise.all([openRoot(), openRelay(), openRelay()])
    await (await connect(upper, root)).close()
    await (await connect(relay, root, { gate: asEdge })).close()
    const fresh = await openRelay()
    await (await connect(fresh, root, { gate: asEdge })).close()
    const { post } = fresh.ledger.state.family ?? expect.fail()
    expect(post).toBe(relay.ledger.state.meta.logId)
    const swapped = await connect(fresh, upper, { gate: { ...OPEN, subject: () => 'edge-8' } })
    await swapped.close()
    expect(fresh.ledger.state.family?.post).toBe(post)
  })

  it('FM4: that was copied has readers who go on in neither half with what they read of the other', async () => {
    const store = openMemoryStore()
    const [root, relay] = [await openRoot(), await openRelay(store)]
    await (await connect(relay, root)).close()
    const copy = await openRelay(await copyOf(store))
    const [laptop, phone, other] = await Promise.all([openClient(), openClient(), openClient()])
    await write(phone, 'n1')
    await write(other, 'm1')
    await (await connect(phone, relay)).close()
    await (await connect(other, copy)).close()
    await (await connect(laptop, copy)).close()
    await (await connect(laptop, relay)).close()
    expect((await laptop.digest()).rows).toBe(2)
  })
})

describe('a chain of relays', () => {
  it('passes on through all of them, and one that begins anew gets everything', async () => {
    const [root, upper, lower] = await Promise.all([openRoot(), openRelay(), openRelay()])
    const [phone, laptop] = await Promise.all([openClient(), openClient()])
    const above = await connect(laptop, root)
    const upperLine = await connect(upper, root)
    const lowerLine = await connect(lower, upper)
    const below = await connect(phone, lower)
    await write(phone, 'n0')
    for (const each of [below, lowerLine, upperLine, above]) await each.settled()
    expect(await laptop.table('notes').get('n0')).toBeDefined()
    await lowerLine.close()
    await upperLine.close()
    await writeMany(laptop, 1_500)
    await above.settled()
    const fresh = await openRelay()
    await connect(fresh, root)
    await connect(lower, fresh)
    await below.settled()
    expect(below.end).toBeUndefined()
    expect(await digestOf(phone.hub)).toBe(await digestOf(root))
    expect((await phone.digest()).rows).toBe(1_501)
  })
})

describe('versions of the protocol', () => {
  it('old and new ones talk to each other, but a relay needs the new one', async () => {
    const { root, relay, line } = await family()
    await line.close()
    const [old, young] = await Promise.all([openClient(), openClient()])
    const above = await connect(old, root, { versions: { up: [1, 1] } })
    const beside = await connect(young, root, { versions: { down: [1, 1] } })
    await write(old, 'n1')
    await write(young, 'n2')
    for (const each of [above, beside, above]) await each.settled()
    expect(await digestOf(old.hub)).toBe(await digestOf(young.hub))
    const welcomes = [above, beside].map(({ sent }) => sent.find(({ frame }) => frame.type === 'welcome')?.frame)
    for (const welcome of welcomes) {
      expect(welcome).toMatchObject({ version: 1 })
      expect(welcome?.type === 'welcome' && welcome.family).toBeUndefined()
    }
    const refused = new Line(relay, root, { versions: { down: [1, 1] } })
    await rest()
    expect(refused.end).toBe('protocol-version')
  })
})
