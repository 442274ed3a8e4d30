/**
 * Explanations and histories: why a row has the value it has, and the changes that made it.
 */
import { describe, expect, test } from 'vitest'
import { firstWriteWins, max } from '../../core/index.ts'
import { openStar, openTrio, START_MS, sync, syncAll } from './group.ts'
import { contextOf, type Note, notesBy } from './note.ts'

const NOTE: Note = { id: 'n', title: 'Pump', body: 'new' }

describe('explain', () => {
  test('tells of each field its value, who wrote it, when, what it overwrote, and that nothing competed', async () => {
    const { clock, ann, bob } = await openTrio(notesBy())
    await ann.table('notes').insert(NOTE)
    await sync(ann, bob)
    clock.tick(5)
    await bob.table('notes').update('n', { title: 'Pump 4' })
    await sync(ann, bob)
    for (const replica of [ann, bob]) {
      expect(await replica.explain('notes', 'n')).toEqual({
        table: 'notes',
        id: 'n',
        exists: true,
        heads: [{ dot: { replica: bob.id, seq: 1 }, op: 'update', time: START_MS + 5 }],
        policy: 'lastWriteWins@1',
        reason: 'The row exists: its last change had seen all others.',
        fallback: undefined,
        fields: [
          {
            name: 'body',
            value: 'new',
            dot: { replica: ann.id, seq: 1 },
            time: START_MS,
            overwrote: undefined,
            competedWith: [],
            reason: 'It is the only value: whoever wrote it had seen every earlier one.',
          },
          {
            name: 'title',
            value: 'Pump 4',
            dot: { replica: bob.id, seq: 1 },
            time: START_MS + 5,
            overwrote: { value: 'Pump', dot: { replica: ann.id, seq: 1 }, time: START_MS },
            competedWith: [],
            reason: 'It is the only value: whoever wrote it had seen every earlier one.',
          },
        ],
      })
    }
  })

  test('tells what a field competed with, and why it won', async () => {
    const { clock, ann, bob, cas } = await openTrio(notesBy({ fields: { body: firstWriteWins(), votes: max() } }))
    await ann.table('notes').insert({ ...NOTE, votes: 1 })
    await syncAll(ann, bob, cas)
    for (const [index, replica] of [ann, bob, cas].entries()) {
      clock.tick()
      await replica.table('notes').update('n', { title: `title ${index}`, body: `body ${index}`, votes: 10 - index })
    }
    await syncAll(ann, bob, cas)
    const explanation = await ann.explain('notes', 'n')
    expect(await bob.explain('notes', 'n')).toEqual(explanation)
    expect(await cas.explain('notes', 'n')).toEqual(explanation)
    expect(explanation.reason).toEqual(
      expect.stringMatching(
        /^The row exists: of 3 concurrent changes, lastWriteWins chose the update of replica [0-9a-f-]{36} \(change 1\)\.$/,
      ),
    )
    expect(explanation.fields.map(({ name, value, dot, reason }) => [name, value, dot.replica, reason])).toEqual([
      ['body', 'body 0', ann.id, `Of 3 concurrent values, firstWriteWins chose that of replica ${ann.id} (change 2).`],
      ['title', 'title 2', cas.id, `Of 3 concurrent values, lastWriteWins chose that of replica ${cas.id} (change 1).`],
      ['votes', 10, ann.id, `Of 3 concurrent values, max chose that of replica ${ann.id} (change 2).`],
    ])
    const [body] = explanation.fields
    expect(body?.overwrote?.value).toBe('new')
    expect(body?.competedWith.map(({ value, dot }) => [value, dot.replica])).toEqual([
      ['body 1', bob.id],
      ['body 2', cas.id],
    ])
  })

  test('names as overwritten what the writer was shown, where that writer had seen two values', async () => {
    const { clock, ann, bob, cas } = await openTrio(notesBy())
    await ann.table('notes').insert(NOTE)
    await syncAll(ann, bob, cas)
    await bob.table('notes').update('n', { title: 'B' })
    clock.tick()
    await ann.table('notes').update('n', { title: 'A' })
    await sync(ann, bob)
    await sync(bob, cas)
    await ann.table('notes').update('n', { title: 'AA' })
    await syncAll(ann, bob, cas)
    for (const replica of [ann, bob, cas]) {
      const title = (await replica.explain('notes', 'n')).fields.find(({ name }) => name === 'title')
      expect(title?.overwrote).toMatchObject({ value: 'A', dot: { replica: ann.id } })
    }
  })

  test('says nothing of what was overwritten where the log does not hold all of it, rather than something else', async () => {
    const { clock, ann, bob, cas, meet, restore } = await openStar(notesBy())
    await ann.table('notes').insert(NOTE)
    await meet(ann, bob, cas)
    await bob.table('notes').update('n', { title: 'by Bob' })
    await meet(bob, cas)
    clock.tick()
    await ann.table('notes').update('n', { title: 'by Ann' })
    await meet(ann)
    await restore(cas)
    await ann.table('notes').update('n', { title: 'last' })
    await meet(ann, bob, cas)
    const titleAt = async (replica: typeof ann): Promise<unknown> =>
      (await replica.explain('notes', 'n')).fields.find(({ name }) => name === 'title')?.overwrote
    expect(await titleAt(bob)).toMatchObject({ value: 'by Ann' })
    expect(await titleAt(cas)).toBeUndefined()
  })

  test('tells of a deleted row that it is, and of one that never was', async () => {
    const { ann, bob } = await openTrio(notesBy())
    await ann.table('notes').insert(NOTE)
    await ann.table('notes').delete('n')
    await sync(ann, bob)
    expect(await bob.explain('notes', 'n')).toMatchObject({
      exists: false,
      heads: [{ op: 'delete' }],
      reason: 'The row is deleted: its last change had seen all others.',
      fields: [],
    })
    expect(await bob.explain('notes', 'never')).toMatchObject({ exists: false, heads: [], fields: [] })
    await expect(bob.explain('unknown' as 'notes', 'n')).rejects.toMatchObject({ code: 'unknown-table' })
  })

  test('tells of a row that is settled as a whole', async () => {
    const { ann, bob } = await openTrio(notesBy({ granularity: 'row' }))
    await ann.table('notes').insert(NOTE)
    await sync(ann, bob)
    await ann.table('notes').update('n', { title: 'A' })
    await bob.table('notes').update('n', { body: 'B' })
    await sync(ann, bob)
    const { fields, heads } = await ann.explain('notes', 'n')
    expect(heads.map(({ op }) => op)).toEqual(['update', 'update'])
    const why = `The row is shown as replica ${bob.id} (change 1) left it: lastWriteWins settles it as a whole.`
    expect(fields.map(({ name, value, reason }) => [name, value, reason])).toEqual([
      ['body', 'B', why],
      ['title', 'Pump', why],
    ])
    expect(fields[1]?.competedWith.map(({ value }) => value)).toEqual(['A'])
  })
})

describe('history', () => {
  test('has the changes of a row in an order that nothing contradicts, with what their writers had seen', async () => {
    const { ann, bob, cas } = await openTrio(notesBy())
    await ann.table('notes').insert(NOTE)
    await ann.table('notes').insert({ id: 'other', title: '' })
    await syncAll(ann, bob, cas)
    await bob.table('notes').update('n', { title: 'B' })
    await cas.table('notes').delete('n')
    await syncAll(ann, bob, cas)
    await ann.table('notes').upsert({ id: 'n', title: 'A' })
    await syncAll(ann, bob, cas)
    for (const replica of [ann, bob, cas]) {
      const history = await replica.history('notes', 'n')
      expect(history[0]).toMatchObject({ dot: { replica: ann.id, seq: 1 }, op: 'insert', values: { title: 'Pump' } })
      expect(history.slice(1, 3)).toEqual(
        expect.arrayContaining([
          expect.objectContaining({ dot: { replica: bob.id, seq: 1 }, op: 'update', values: { title: 'B' } }),
          expect.objectContaining({ dot: { replica: cas.id, seq: 1 }, op: 'delete', values: {} }),
        ]),
      )
      expect(history).toHaveLength(4)
      expect(history.map(contextOf)).toEqual([
        {},
        { [ann.id]: 1 },
        { [ann.id]: 1 },
        { [ann.id]: 1, [bob.id]: 1, [cas.id]: 1 },
      ])
    }
  })

  test('goes back as far as the log does', async () => {
    const { ann, bob, meet, restore } = await openStar(notesBy())
    await ann.table('notes').insert(NOTE)
    await meet(ann)
    await restore(bob)
    expect(await bob.history('notes', 'n')).toEqual([])
    await bob.table('notes').update('n', { title: 'B' })
    expect((await bob.history('notes', 'n')).map(({ op }) => op)).toEqual(['update'])
    expect(await bob.history('notes', 'never')).toEqual([])
  })
})
