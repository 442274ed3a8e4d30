/**
 * Policies on replicas: those for fields that come with the engine, and code of the app's own, good and bad.
 */
import { describe, expect, test } from 'vitest'
import {
  type ConcurrentRow,
  type Conflict,
  custom,
  customField,
  type DecideField,
  type DecideRow,
  type FieldPolicy,
  longestText,
  max,
  min,
  table,
  union,
  type Value,
} from '../../core/index.ts'
import { onlyConflict, openConflicts, openStar, openTrio, sync, syncAll, type Trio } from './group.ts'
import { type Note, notesBy } from './note.ts'

interface Thing {
  readonly id: string
  readonly value?: Value
  readonly other?: Value
}

type Things = ReturnType<typeof thingsBy>

function thingsBy(policy: FieldPolicy): { readonly things: ReturnType<typeof table<Thing>> } {
  return { things: table<Thing>({ fields: { value: policy } }) }
}

/** Ann, Bob and Cas each write a value, in this order, not knowing of each other. */
async function openContested(policy: FieldPolicy, values: readonly [Value, Value, Value]): Promise<Trio<Things>> {
  const trio = await openTrio(thingsBy(policy))
  const { clock, ann, bob, cas } = trio
  await ann.table('things').insert({ id: 't', other: 0 })
  await syncAll(ann, bob, cas)
  for (const [index, replica] of [ann, bob, cas].entries()) {
    clock.tick()
    await replica.table('things').update('t', { value: values[index] as Value })
  }
  await syncAll(ann, bob, cas)
  return trio
}

async function valuesOf({ ann, bob, cas }: Trio<Things>): Promise<(Value | undefined)[]> {
  const rows = await Promise.all([ann, bob, cas].map((replica) => replica.table('things').get('t')))
  return rows.map((row) => row?.value)
}

const day = (number: number): Date => new Date(Date.UTC(2026, 0, number))

describe('a policy of one field', () => {
  test.each<[string, FieldPolicy, readonly [Value, Value, Value], Value]>([
    ['max of numbers', max(), [3, 10, 2], 10],
    ['max of negative numbers and zero', max(), [-3, 0, -2.5], 0],
    ['max of texts, by code points', max(), ['\u{1f600}', '\uffff', 'z'], '\u{1f600}'],
    ['max of dates', max(), [day(2), day(3), day(1)], day(3)],
    ['min of numbers', min(), [3, 10, 2], 2],
    ['min of dates', min(), [day(2), day(3), day(1)], day(1)],
    ['union of texts', union(), [['b', 'a'], ['c'], ['a']], ['a', 'b', 'c']],
    ['union of objects, by content', union(), [[{ a: 1, b: 2 }], [{ b: 2, a: 1 }], []], [{ a: 1, b: 2 }]],
    ['longestText', longestText(), ['a long one', 'short', ''], 'a long one'],
    ['longestText, the later of equals', longestText(), ['one', 'two', 'six'], 'six'],
  ])('%s shows the same on every replica', async (_name, policy, values, expected) => {
    const trio = await openContested(policy, values)
    expect(await valuesOf(trio)).toEqual([expected, expected, expected])
    for (const replica of [trio.ann, trio.bob, trio.cas]) {
      const reports = await openConflicts(replica)
      expect(reports).toEqual(await openConflicts(trio.ann))
      for (const { reason, fallback, policy: name } of reports) {
        expect(fallback).toBeUndefined()
        expect(name).toBe('lastWriteWins@1')
        expect(reason).toContain(policy.name)
      }
    }
  })

  test.each<[string, FieldPolicy, readonly [Value, Value, Value]]>([
    ['max of a number and a text', max(), [3, 'ten', 4]],
    ['max of objects', max(), [{ a: 1 }, { a: 2 }, { a: 3 }]],
    ['min of nothing', min(), [null, null, 4]],
    ['union of no arrays', union(), [['a'], 'b', ['c']]],
    ['longestText of a number', longestText(), ['a', 2, 'c']],
  ])('%s cannot say: the last write is shown, and the report says so', async (_name, policy, values) => {
    const trio = await openContested(policy, values)
    expect(await valuesOf(trio)).toEqual([values[2], values[2], values[2]])
    const { fields } = await trio.ann.explain('things', 't')
    expect(fields.find(({ name }) => name === 'value')?.reason).toContain(`policy ${policy.name} failed`)
    const flagged = (await openConflicts(trio.bob)).filter(({ fallback }) => fallback !== undefined)
    expect(flagged.length).toBeGreaterThan(0)
  })

  test('is asked only where there is something to settle, whatever the row as a whole is', async () => {
    const asked: number[] = []
    const policy = customField('asking', 1, (versions) => {
      asked.push(versions.length)
      return versions[0]?.value ?? null
    })
    const { ann, bob } = await openTrio(thingsBy(policy))
    await ann.table('things').insert({ id: 't', value: 1 })
    await sync(ann, bob)
    await bob.table('things').update('t', { value: 2 })
    await sync(ann, bob)
    expect([await ann.table('things').get('t'), asked]).toEqual([{ id: 't', value: 2 }, []])
    await ann.table('things').update('t', { value: 3 })
    await bob.table('things').update('t', { value: 4 })
    await sync(ann, bob)
    await ann.table('things').get('t')
    expect(new Set(asked)).toEqual(new Set([2]))
  })
})

// ── Rows ────────────────────────────────────────────────────────────────────────────────────────────────────────────

/** Ann wrote title and votes, Bob the title; both saw the note as Ann had inserted it. */
async function openDecided(
  decide: DecideRow,
  options: Parameters<typeof notesBy>[0] = {},
): Promise<Trio<ReturnType<typeof notesBy>>> {
  const trio = await openTrio(notesBy({ ...options, policy: custom('own', 3, decide) }))
  const { clock, ann, bob, cas } = trio
  await ann.table('notes').insert({ id: 'n', title: 'new', body: 'all', votes: 1 })
  await syncAll(ann, bob, cas)
  clock.tick()
  await ann.table('notes').update('n', { title: 'A', votes: 5 })
  clock.tick()
  await bob.table('notes').update('n', { title: 'B' })
  await syncAll(ann, bob, cas)
  return trio
}

/** The row of whoever voted, else of the later. */
const ofVoter: DecideRow = (versions) =>
  (versions.find(({ written }) => written.includes('votes')) ?? versions.at(-1))?.row ?? null

describe('a policy of the app for rows', () => {
  test('decides the whole row, and is named in the report and the explanation', async () => {
    const { ann, bob, cas } = await openDecided(ofVoter)
    for (const replica of [ann, bob, cas]) {
      expect(await replica.table('notes').get('n')).toEqual({ id: 'n', title: 'A', body: 'all', votes: 5 })
      const report = await onlyConflict(replica)
      expect(report).toMatchObject({
        policy: 'own@3',
        winner: { replica: ann.id, seq: 2 },
        fields: [{ name: 'title', base: 'new', winner: { replica: ann.id, seq: 2 } }],
        reason: `The update of replica ${ann.id} (change 2) wins: policy own decided so.`,
      })
      const { fields, fallback } = await replica.explain('notes', 'n')
      expect(fallback).toBeUndefined()
      expect(fields.find(({ name }) => name === 'title')).toMatchObject({
        value: 'A',
        dot: { replica: ann.id, seq: 2 },
        competedWith: [{ value: 'B' }],
        reason: `Of 2 concurrent changes, own kept the value of replica ${ann.id} (change 2).`,
      })
    }
  })

  test('may make something of both, and says so', async () => {
    const { ann, cas } = await openDecided((versions) => ({
      ...versions[0]?.row,
      title: versions.map(({ row }) => String(row?.title)).join(' & '),
    }))
    expect(await cas.table('notes').get('n')).toEqual({ id: 'n', title: 'A & B', body: 'all', votes: 5 })
    expect(await onlyConflict(ann)).toMatchObject({
      winner: undefined,
      reason: 'Policy own made a value of its own from both sides.',
    })
    const { fields } = await ann.explain('notes', 'n')
    expect(fields.find(({ name }) => name === 'title')?.reason).toBe('Policy own made it of 2 concurrent changes.')
  })

  test('may delete the row by answering null', async () => {
    const { ann, bob, cas } = await openDecided(() => null)
    for (const replica of [ann, bob, cas]) expect(await replica.table('notes').get('n')).toBeUndefined()
    expect(await openConflicts(ann)).toHaveLength(1)
  })

  test('that drops what one side alone had changed is not called a merge of both', async () => {
    const titled: DecideRow = (versions) => ({ title: versions[0]?.row?.title ?? null })
    for (const [decide, body] of [
      [titled, undefined],
      [ofVoter, 'B'],
    ] as const) {
      const { clock, ann, bob } = await openTrio(notesBy({ policy: custom('own', 1, decide) }))
      await ann.table('notes').insert({ id: 'n', title: 'new', body: 'all' })
      await sync(ann, bob)
      await ann.table('notes').update('n', { title: 'A' })
      clock.tick()
      await bob.table('notes').update('n', { body: 'B' })
      await sync(ann, bob)
      expect(await bob.table('notes').get('n')).toEqual({ id: 'n', title: 'A', ...(body && { body }) })
      const { type, winner, reason } = await onlyConflict(ann)
      expect([type, winner]).toEqual(['merged', body === undefined ? { replica: ann.id, seq: 2 } : undefined])
      expect(/both edits are kept/.test(reason)).toBe(body !== undefined)
    }
  })

  test('sees every side as its writer left it, in canonical order, and nothing that tells replicas apart', async () => {
    const seen: (readonly ConcurrentRow[])[] = []
    const { clock, ann, bob, cas } = await openTrio(
      notesBy({
        policy: custom('watching', 1, (versions) => {
          seen.push(
            structuredClone(
              versions.map((version) => ({
                ...version,
                dot: { ...version.dot },
                written: [...version.written],
                row: version.row && { ...version.row },
              })),
            ),
          )
          return {}
        }),
      }),
    )
    // Whoever learns of the fields in another order numbers them in another order.
    await bob.table('notes').insert({ id: 'other', votes: 1, title: '', body: '' })
    await cas.table('notes').insert({ id: 'third', body: '', title: '' })
    await ann.table('notes').insert({ id: 'n', title: 'new', body: 'all' })
    await syncAll(ann, bob, cas)
    clock.tick()
    await ann.table('notes').update('n', { votes: 5, title: 'A' })
    clock.tick()
    await bob.table('notes').update('n', { body: 'B', title: 'B' })
    clock.tick()
    await cas.table('notes').delete('n')
    await syncAll(ann, bob, cas)
    seen.length = 0
    for (const replica of [ann, bob, cas]) await replica.table('notes').get('n')
    expect(seen.map((versions) => JSON.stringify(versions))).toEqual(Array(3).fill(JSON.stringify(seen[0])))
    expect(seen[0]).toMatchObject([
      { op: 'update', written: ['title', 'votes'], row: { body: 'B', title: 'A', votes: 5 } },
      { op: 'update', written: ['body', 'title'], row: { body: 'B', title: 'B', votes: 5 } },
      { op: 'delete', written: [], row: undefined },
    ])
  })

  test('that goes by the order of keys converges all the same', async () => {
    const byText: DecideRow = (versions) => {
      const rows = versions.flatMap(({ row }) => (row === undefined ? [] : [row]))
      return rows.reduce((best, row) => (JSON.stringify(row) > JSON.stringify(best) ? row : best))
    }
    const { clock, ann, bob } = await openTrio(notesBy({ policy: custom('text', 1, byText) }))
    await bob.table('notes').insert({ id: 'other', body: 'numbers body before title', title: '' })
    await ann.table('notes').insert({ id: 'n', title: 'a' })
    await ann.table('notes').update('n', { body: 'z' })
    clock.tick()
    await bob.table('notes').insert({ id: 'n', title: 'z', body: 'a' })
    await sync(ann, bob)
    expect(await ann.table('notes').get('n')).toEqual(await bob.table('notes').get('n'))
  })

  test('gets a row that came in a snapshot as it gets it from the log', async () => {
    const policy = custom('all', 1, (versions) => ({ title: JSON.stringify(versions) }))
    const { clock, ann, bob, cas, meet, restore } = await openStar(notesBy({ policy }))
    await ann.table('notes').insert({ id: 'n', title: 'new', votes: 1 })
    await meet(ann, bob)
    await ann.table('notes').update('n', { title: 'A' })
    clock.tick()
    await bob.table('notes').update('n', { body: 'B', title: 'B' })
    await meet(ann, bob, ann)
    await restore(cas)
    const rows = await Promise.all([ann, bob, cas].map((replica) => replica.table('notes').get('n')))
    expect(rows[0]?.title).toContain('"written":["body","title"]')
    expect(rows[1]).toEqual(rows[0])
    expect(rows[2]).toEqual(rows[0])
  })
})

// ── Code that does not do what it should ────────────────────────────────────────────────────────────────────────────

let nested: Value = 'deep'
for (let level = 0; level < 17; level++) nested = [nested]

/** What bad code answers, by what is bad about it. `rows` are the sides of the conflict. */
const BAD: Readonly<Record<string, (rows: readonly ConcurrentRow[]) => unknown>> = {
  'throws an error': () => {
    throw new Error('no idea')
  },
  'throws a text': () => {
    throw 'no idea'
  },
  'throws something that cannot be shown': () => {
    throw Object.create(null)
  },
  'throws a whole book': () => {
    throw new Error('x'.repeat(100_000))
  },
  'answers nothing': () => undefined,
  'answers a number': () => 5,
  'answers a text': () => 'title',
  'answers true': () => true,
  'answers an array': () => [],
  'answers a function': () => () => ({}),
  'answers a promise, being asynchronous': async () => ({ title: 'later' }),
  'answers a class of its own': () => new (class Title {})(),
  'answers a date': () => new Date(),
  'answers a map': () => new Map([['title', 'x']]),
  'answers a value that is too deep': () => ({ title: nested }),
  'answers NaN': () => ({ title: Number.NaN }),
  'answers undefined in a field': () => ({ title: undefined }),
  'answers a function in a field': () => ({ title: () => 'x' }),
  'answers itself': () => {
    const self: Record<string, unknown> = {}
    self.title = self
    return self
  },
  'answers a field that nobody knows': () => ({ title: 'x', never: 1 }),
  'answers a field with a poisoned name': () => Object.defineProperty({}, '__proto__', { value: 1, enumerable: true }),
  'sorts its input': (rows) => (rows as ConcurrentRow[]).sort()[0]?.row,
  'writes into its input': (rows) => Object.assign(rows[0]?.row ?? {}, { title: 'mine' }),
  'takes something out of its input': (rows) => {
    delete (rows[0] as { row?: unknown }).row
    return rows[1]?.row
  },
  'reads for ever': (rows) => {
    while (rows.length > 0);
    return {}
  },
  'looks at keys for ever': (rows) => {
    const [first] = rows
    while (Object.keys(first?.row ?? {}).length > 0);
    return {}
  },
  'asks for keys for ever': (rows) => {
    const row = rows[0]?.row ?? {}
    while ('title' in row);
    return {}
  },
  'recurses for ever': function again(rows): unknown {
    return again(rows)
  },
}

describe.each(Object.entries(BAD))('a policy for rows that %s', (_name, decide) => {
  test('is not followed: the last write is shown everywhere, and row, report and explanation say why', async () => {
    const { ann, bob, cas } = await openDecided(decide as DecideRow)
    const expected: Note = { id: 'n', title: 'B', body: 'all', votes: 5 }
    const reports: (Conflict | undefined)[] = []
    for (const replica of [ann, bob, cas]) {
      expect(await replica.table('notes').get('n')).toEqual(expected)
      const report = await onlyConflict(replica)
      reports.push(report)
      expect(report).toMatchObject({ winner: { replica: bob.id, seq: 1 }, policy: 'own@3' })
      expect(report.fallback).toMatch(/^policy own failed \(.{1,200}\), so the last write is shown$/s)
      const why = `The update of replica ${bob.id} (change 1) wins: it was made later.`
      expect(report.reason).toBe(`Policy own failed, so the last write is shown. ${why}`)
      const { fallback, exists } = await replica.explain('notes', 'n')
      expect([fallback, exists]).toEqual([report.fallback, true])
    }
    expect(reports[1]).toEqual(reports[0])
    expect(reports[2]).toEqual(reports[0])
    await cas.conflicts.accept(reports[0]?.id ?? '')
    await syncAll(ann, bob, cas)
    for (const replica of [ann, bob, cas]) {
      expect(await replica.table('notes').get('n')).toEqual(expected)
      expect(await openConflicts(replica)).toEqual([])
    }
  })
})

describe.each(Object.entries(BAD).filter(([name]) => !/a (number|text)$|true|array|date|field|input|keys/.test(name)))(
  'a policy for a field that %s',
  (_name, decide) => {
    test('is not followed: the last write is shown everywhere, and report and explanation say why', async () => {
      const trio = await openContested(customField('own', 1, decide as unknown as DecideField), [1, 2, 3])
      expect(await valuesOf(trio)).toEqual([3, 3, 3])
      const reports = await openConflicts(trio.ann)
      expect(reports).toHaveLength(3)
      for (const { fallback } of reports) expect(fallback).toMatch(/^policy own failed \(/)
      for (const replica of [trio.bob, trio.cas]) expect(await openConflicts(replica)).toEqual(reports)
    })
  },
)

describe('what a policy may answer', () => {
  test('does not depend on which names this replica happens to have met', async () => {
    const decide: DecideRow = () => ({ title: 'made', secret: true })
    const { ann, bob } = await openDecided(decide)
    // A write that is refused still made the replica hear of the name.
    await expect(ann.table('notes').insert({ id: 'n', title: '', secret: 1 } as Note)).rejects.toThrow('already has')
    expect(await ann.table('notes').get('n')).toEqual(await bob.table('notes').get('n'))
    expect(await onlyConflict(ann)).toEqual(await onlyConflict(bob))
  })

  test('includes the row’s own id, which is left out, and values inside of its input', async () => {
    const { ann } = await openDecided((versions) => ({ ...versions[1]?.row, id: 'n' }))
    expect(await ann.table('notes').get('n')).toEqual({ id: 'n', title: 'B', body: 'all', votes: 5 })
    const trio = await openContested(
      customField(
        'first',
        1,
        (versions) => versions.map(({ value }) => (value as { readonly inner: Value }).inner)[0] ?? null,
      ),
      [{ inner: { deep: [1, { er: new Date(5) }] } }, { inner: 2 }, { inner: 3 }],
    )
    expect(await valuesOf(trio)).toEqual(Array(3).fill({ deep: [1, { er: new Date(5) }] }))
  })
})

describe('a policy of the app', () => {
  test.each(['lastWriteWins', 'causal', 'firstWriteWins', 'deleteWins', 'updateWins', 'max', 'union', 'counter'])(
    'cannot be called %s: it would pass for another at hello',
    (name) => {
      expect(() => custom(name, 1, () => null)).toThrow(/bad|name/)
      expect(() => customField(name, 1, () => null)).toThrow(/name/)
    },
  )

  test('has a name and a version that can be compared', () => {
    for (const name of ['', 'with space', '__proto__', '1st']) expect(() => custom(name, 1, () => null)).toThrow('name')
    for (const version of [0, -1, 1.5, Number.NaN]) {
      expect(() => customField('own', version, () => null)).toThrow('version')
    }
  })

  test('cannot stand at a field when it decides rows, nor at a field of a table that is settled by row', () => {
    const policy = custom('own', 1, () => null)
    expect(() => table<Note>({ fields: { title: policy } })).toThrow('decides whole rows')
    expect(() => table<Note>({ granularity: 'row', fields: { votes: max() } })).toThrow("granularity 'fields'")
  })
})
