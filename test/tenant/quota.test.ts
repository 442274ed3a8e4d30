/** The quota gate against a model that adds up what was admitted. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Growth, quotaExceeded, type Usage } from '../../core/index.ts'
import { type Plan, Plans, ratesOf, Seats, UsageWatch, weighGrowth } from '../../tenant/index.ts'

function planOf(quotas: Partial<Plan['quotas']>): Plan {
  const { name, features, quotas: unlimited } = new Plans().get('unlimited')
  return { name, features, quotas: { ...unlimited, ...quotas } }
}

const NOTHING: Growth = { rows: 0, storedBytes: 0, replicas: 0, isRelief: false }

const insertArbitrary = fc.record({
  rows: fc.integer({ min: 1, max: 5 }),
  storedBytes: fc.integer({ min: 1, max: 90 }),
})
const stepArbitrary = fc.oneof(
  insertArbitrary.map((growth): Growth => ({ ...NOTHING, ...growth })),
  fc.integer({ min: 1, max: 90 }).map((storedBytes): Growth => ({ ...NOTHING, storedBytes })),
  fc.integer({ min: 1, max: 9 }).map((storedBytes): Growth => ({ ...NOTHING, rows: -1, storedBytes, isRelief: true })),
  fc.constant<Growth>({ ...NOTHING, replicas: 1 }),
)

describe('what is stored', () => {
  test('TQ1: never passes its limit, in whatever order racing writers ask; only deletes use the reserve', () => {
    fc.assert(
      fc.property(
        fc.record({ rows: fc.nat({ max: 30 }), storedBytes: fc.nat({ max: 900 }), replicas: fc.nat({ max: 4 }) }),
        fc.array(fc.array(stepArbitrary, { maxLength: 30 }), { maxLength: 4 }),
        fc.infiniteStream(fc.nat()),
        (quotas, writers, turns) => {
          const plan = planOf(quotas)
          const usage = { rows: 0, storedBytes: 0, replicas: 0 }
          const queues = writers.map((steps) => [...steps])
          for (const turn of turns) {
            const waiting = queues.filter((queue) => queue.length > 0)
            const growth = waiting[turn % Math.max(1, waiting.length)]?.shift()
            if (growth === undefined) break
            const before = { ...usage }
            const shortage = weighGrowth(plan, usage, growth)
            if (shortage === undefined) {
              usage.rows = Math.max(0, usage.rows + growth.rows)
              usage.storedBytes += growth.storedBytes
              usage.replicas += growth.replicas
              if (!growth.isRelief && growth.storedBytes > 0) {
                expect(usage.storedBytes).toBeLessThanOrEqual(quotas.storedBytes)
              }
            } else {
              // Exact: what was paused would really have gone too far, and the answer says by what.
              const reserve = growth.isRelief && shortage.resource === 'storedBytes' ? quotas.storedBytes / 10 : 0
              expect(shortage).toMatchObject({
                limit: quotas[resourceOf(shortage)],
                used: before[resourceOf(shortage)],
              })
              expect(shortage.used + growth[resourceOf(shortage)]).toBeGreaterThan(Math.floor(shortage.limit + reserve))
            }
            expect(usage.rows).toBeLessThanOrEqual(quotas.rows)
            expect(usage.replicas).toBeLessThanOrEqual(quotas.replicas)
            expect(usage.storedBytes).toBeLessThanOrEqual(quotas.storedBytes * 1.1)
          }
        },
      ),
    )
  })

  test('TQ2: rows that are all in use can still be changed and deleted', () => {
    const plan = planOf({ rows: 10, storedBytes: 1000 })
    const full: Usage = { rows: 10, storedBytes: 500, replicas: 3 }
    expect(weighGrowth(plan, full, { ...NOTHING, rows: 1, storedBytes: 10 })).toMatchObject({ resource: 'rows' })
    expect(weighGrowth(plan, full, { ...NOTHING, storedBytes: 10 })).toBeUndefined()
    expect(weighGrowth(plan, full, { ...NOTHING, rows: -1, storedBytes: 10, isRelief: true })).toBeUndefined()
    expect(weighGrowth(plan, { ...full, rows: 12 }, { ...NOTHING, rows: -1, isRelief: true })).toBeUndefined()
  })

  test('a shortage as an error says what, how much, and when to come back', () => {
    const shortage = { resource: 'rows', limit: 10, used: 10, retryAfterMs: 60_000 } as const
    expect(quotaExceeded(shortage)).toMatchObject({ code: 'quota-exceeded', retryable: true, details: shortage })
  })

  test('the rates of a plan leave room for the largest transaction and frame', () => {
    const { changes, bytes } = ratesOf(planOf({ changesPerSecond: 1, bytesPerSecond: 1 }))
    expect(changes).toEqual({ perSecond: 1, burst: 1000 })
    expect(bytes).toEqual({ perSecond: 1, burst: 2 ** 20 })
  })
})

describe('seats', () => {
  test('TQ3: are never more than the plan has, and come back exactly once', () => {
    const plan = planOf({ connections: 5, liveReplicasPerSubject: 2 })
    const stepArbitrary = fc.record({ subject: fc.constantFrom('a', 'b', 'c', 'd'), releases: fc.array(fc.nat()) })
    fc.assert(
      fc.property(fc.array(stepArbitrary, { maxLength: 50 }), (steps) => {
        const seats = new Seats()
        const held: { readonly subject: string; readonly release: () => void; isReleased: boolean }[] = []
        const live = (subject?: string): number =>
          held.filter((seat) => !seat.isReleased && (subject ?? seat.subject) === seat.subject).length
        for (const { subject, releases } of steps) {
          const hasRoom = live() < 5 && live(subject) < 2
          const answer = seats.connect(plan, subject)
          expect(answer.type).toBe(hasRoom ? 'seated' : 'short')
          if (answer.type === 'seated') held.push({ subject, release: answer.seat.release, isReleased: false })
          for (const pick of releases) {
            const seat = held[pick % Math.max(1, held.length)]
            if (seat === undefined) continue
            seat.release()
            seat.isReleased = true
          }
          expect(seats.connections).toBe(live())
        }
      }),
    )
  })

  test('say which of them is short', () => {
    const seats = new Seats()
    const plan = planOf({ connections: 2, liveReplicasPerSubject: 1, snapshotBuilds: 1 })
    seats.connect(plan, 'a')
    expect(seats.connect(plan, 'a')).toMatchObject({ shortage: { resource: 'liveReplicasPerSubject', limit: 1 } })
    seats.connect(plan, 'b')
    expect(seats.connect(plan, 'c')).toMatchObject({ shortage: { resource: 'connections', limit: 2, used: 2 } })
    const build = seats.build(plan)
    expect(seats.build(plan)).toMatchObject({ shortage: { resource: 'snapshotBuilds', limit: 1, used: 1 } })
    if (build.type === 'seated') build.seat.release()
    expect(seats.build(plan).type).toBe('seated')
    expect(seats.builds).toBe(1)
  })

  test('for pieces of snapshots are waited for in the order of coming, also by those who fail', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.scheduler(),
        fc.integer({ min: 1, max: 2 }),
        fc.array(fc.boolean(), { maxLength: 12 }),
        async (scheduler, snapshotBuilds, failing) => {
          const seats = new Seats()
          const plan = planOf({ snapshotBuilds })
          const began: number[] = []
          let buildsMax = 0
          const reading = failing.map((isFailing, n) =>
            seats.inBuild(
              () => plan,
              async () => {
                began.push(n)
                buildsMax = Math.max(buildsMax, seats.builds)
                await scheduler.schedule(Promise.resolve())
                if (isFailing) throw new Error('the disk is gone')
              },
            ),
          )
          const settled = Promise.allSettled(reading)
          await scheduler.waitFor(settled)
          expect((await settled).map(({ status }) => status === 'rejected')).toEqual(failing)
          expect(began).toEqual(failing.map((_, n) => n))
          expect(buildsMax).toBeLessThanOrEqual(snapshotBuilds)
          expect(seats.builds).toBe(0)
        },
      ),
    )
  })

  test('for pieces of snapshots end the wait of all when the plan gives none any more', async () => {
    const seats = new Seats()
    let plan = planOf({ snapshotBuilds: 1 })
    let finish: () => void = () => {}
    const first = seats.inBuild(
      () => plan,
      () => new Promise<void>((resolve) => (finish = resolve)),
    )
    const others = [1, 2, 3].map(() =>
      seats.inBuild(
        () => plan,
        async () => {},
      ),
    )
    plan = planOf({ snapshotBuilds: 0 })
    finish()
    await first
    for (const { status } of await Promise.allSettled(others)) expect(status).toBe('rejected')
  })
})

describe('a usage watch', () => {
  const typesOf = (watch: UsageWatch, rows: number): readonly string[] =>
    watch.observe(planOf({ rows: 100 }), { rows }).map(({ type }) => type)

  test('tells of 80 % and of 100 %, once each on the way up', () => {
    const watch = new UsageWatch()
    const told = [0, 79, 80, 81, 99, 100, 100].map((rows) => typesOf(watch, rows))
    expect(told).toEqual([[], [], ['near'], [], [], ['full'], []])
    expect(typesOf(new UsageWatch(), 120)).toEqual(['full'])
  })

  test('does not tell again while a count wavers about a level, but does after it has fallen', () => {
    const watch = new UsageWatch()
    const told = [80, 79, 80, 76, 80, 74, 80, 100, 99, 100, 94, 100].map((rows) => typesOf(watch, rows))
    expect(told).toEqual([['near'], [], [], [], [], [], ['near'], ['full'], [], [], [], ['full']])
  })

  test('counts a writer that was paused as full, once', () => {
    const watch = new UsageWatch()
    const shortage = { resource: 'storedBytes', limit: 100, used: 70, retryAfterMs: 1 } as const
    expect(watch.observeShortage(shortage).map(({ type }) => type)).toEqual(['full'])
    expect(watch.observeShortage(shortage)).toEqual([])
  })

  test('is silent where a plan has no limit, and loud where it has none to give', () => {
    const watch = new UsageWatch()
    expect(watch.observe(planOf({}), { rows: 1e12 })).toEqual([])
    expect(watch.observe(planOf({ rows: 0 }), { rows: 0 }).map(({ type }) => type)).toEqual(['full'])
  })
})

function resourceOf({ resource }: { readonly resource: string }): keyof Usage {
  return resource as keyof Usage
}
