/**
 * The last questions: when all is quiet, every replica is asked through its public doors for what it holds.
 */
import type { Replica } from '../../core/replica.ts'
import { BrokenPromise } from './broken-promise.ts'
import { type Bits, isJudgedByUser, NO_CHANGES, type Recorded, type RowHistory, type TableRules } from './history.ts'
import type { Seat } from './machine.ts'
import { name, type View } from './view.ts'
import { type AnyRow, toFields } from './work.ts'
import type { World } from './world.ts'

const ANSWER_MS = 5_000

export async function askLastQuestions(world: World, runFor: (ms: number) => Promise<void>): Promise<void> {
  const asked: Promise<void>[] = []
  let open = 0
  for (const machine of world.machines.values()) {
    for (const seat of machine.seats) {
      if (seat.replica === undefined) continue
      open++
      asked.push(
        ask(seat, seat.replica, world).then(
          () => void open--,
          (error: unknown) => world.fail(error),
        ),
      )
    }
  }
  while (open > 0) await runFor(ANSWER_MS)
  await Promise.all(asked)
  checkDigests(world)
}

interface Readable {
  get(id: string): Promise<AnyRow | undefined>
}

const digests = new WeakMap<View, string>()

async function ask(seat: Seat, replica: Replica, world: World): Promise<void> {
  const { view } = seat
  const { hash, rows } = await replica.digest()
  digests.set(view, `${hash} over ${rows} rows`)
  const rejected = (await replica.rejected()).map(({ change }) => change.dot.seq).sort((a, b) => a - b)
  if (`${rejected}` !== `${[...view.rejected, ...view.formerlyRejected].sort((a, b) => a - b)}`)
    throw new BrokenPromise(
      'kept',
      `${view.name} says that ${rejected} were rejected, and it was ${[...view.rejected]}`,
    )
  if (replica.pending !== view.unanswered && !view.isTainted)
    throw new BrokenPromise('kept', `${view.name} counts ${replica.pending} as pending, and it is ${view.unanswered}`)
  for (const link of replica.hub.links.values())
    if (link.state === 'closed') throw new BrokenPromise('bounded', `${view.name} keeps a session that is over`)
  for (const row of view.history.rows.values()) {
    const found = await (replica.table(row.table) as unknown as Readable).get(row.id)
    world.oracle.checkRead(view, row, toFields(found))
  }
  await askLog(view, replica)
  const reported: string[] = []
  for await (const { id, type, table, winner, fallback } of replica.conflicts.open()) {
    if (fallback !== undefined) throw new BrokenPromise('answers', `On ${view.name}, ${id}: ${fallback}`)
    const isOwn = hasUnknownWinners(view.history.tables.get(table))
    reported.push(`${type} ${id} won by ${winner === undefined || isOwn ? 'both' : `${winner.replica}:${winner.seq}`}`)
  }
  const expected = [...view.history.rows.values()].flatMap((row) => conflictsOf(view, row))
  const difference = [...new Set([...reported, ...expected])].filter(
    (each) => reported.includes(each) !== expected.includes(each),
  )
  if (difference.length > 0)
    throw new BrokenPromise(
      'exact',
      `${view.name} reports other conflicts than there are: ${difference.map((each) => `${reported.includes(each) ? 'false' : 'missed'}: ${each}`).join('; ')}`,
    )
}

/** The log answers by row with every change that it holds and that counts. */
async function askLog(view: View, replica: Replica): Promise<void> {
  for (const row of view.history.rows.values()) {
    const found = await replica.log.query({ table: row.table, row: row.id, limit: 10_000 })
    const places = new Set(found.map(({ position }) => position))
    for (const change of row.list(view.knownOf(row))) {
      const place = view.positions.get(change)
      if (place === undefined || places.has(place)) continue
      throw new BrokenPromise(
        'gapless',
        `${view.name} holds ${name(change)} at ${place} of its log and does not find it by its row`,
      )
    }
  }
}

/** Views that hold the same have the same digest by the public door as well. */
function checkDigests(world: World): void {
  const views = [...world.oracle.views]
  for (const [at, left] of views.entries()) {
    for (const right of views.slice(at + 1)) {
      if (left.history !== right.history || left.stateSum !== right.stateSum || left.unanswered + right.unanswered > 0)
        continue
      const [here, there] = [digests.get(left), digests.get(right)]
      if (here !== there && here !== undefined && there !== undefined)
        throw new BrokenPromise(
          'equal-state',
          `${left.name} and ${right.name} hold the same; their digests are ${here} and ${there}`,
        )
    }
  }
}

// ── Conflicts by set logic ──────────────────────────────────────────────────────────────────────────────────────────

function hasUnknownWinners(rules: TableRules | undefined): boolean {
  return rules !== undefined && (rules.policy === 'firstSide' || isJudgedByUser(rules))
}

/** Every pair of heads that is not in agreement. */
function conflictsOf(view: View, row: RowHistory): string[] {
  const set = view.knownOf(row)
  const heads = row.heads(set)
  const reports: string[] = []
  for (const [at, right] of heads.entries()) {
    for (const left of heads.slice(0, at)) {
      const type = classify(row, set, left, right)
      if (type === 'agreement') continue
      // Who wins by a policy of an app's own is told by its values, which reads have shown.
      const isOwn = hasUnknownWinners(row.history.tables.get(row.table))
      const winner = type === 'merged' || isOwn ? undefined : winnerOf(row, set, left, right)
      const dots = `${dotText(row, left)}~${dotText(row, right)}`
      reports.push(
        `${type} ${dots}@${row.table}/${row.id} won by ${winner === undefined ? 'both' : dotText(row, winner)}`,
      )
    }
  }
  return reports
}

const pastOf = ({ seen, bit }: Recorded): Bits => seen | bit

type News = readonly (readonly [field: string, change: Recorded])[]

/** What one side knows, the other does not, and the row still shows or could show. */
function newsOf(row: RowHistory, set: Bits, side: Recorded, other: Recorded): News {
  if (side.op === 'delete') return []
  return row.fields(set).flatMap((field) =>
    row
      .visible(set, field)
      .filter(({ bit }) => (pastOf(side) & ~pastOf(other) & bit) !== NO_CHANGES)
      .map((change) => [field, change] as const),
  )
}

interface ContestedField {
  readonly field: string
  readonly changes: readonly Recorded[]
}

/** What both sides wrote to each field that both wrote to; parts of a counter do not compete. */
function contested(row: RowHistory, set: Bits, left: Recorded, right: Recorded): ContestedField[] {
  const [ours, theirs] = [newsOf(row, set, left, right), newsOf(row, set, right, left)]
  const fields = row.fields(set).filter((field) => !row.isCounter(field))
  return fields.flatMap((field) => {
    const [here, there] = [ours, theirs].map((news) =>
      news.filter(([name]) => name === field).map(([, change]) => change),
    )
    if (here === undefined || there === undefined || here.length === 0 || there.length === 0) return []
    return [{ field, changes: [...here, ...there] }]
  })
}

/** The same values in the same fields: neither side has any, or a change was issued again that its server had taken. */
function areEqual(left: News, right: News, row: RowHistory): boolean {
  const texts = [left, right].map((news) =>
    news.map(([field, { values }]) => `${field}=${values.get(field)}`).join(' '),
  )
  return texts[0] === texts[1] && left.every(([field]) => !row.isCounter(field))
}

function classify(row: RowHistory, set: Bits, left: Recorded, right: Recorded): string {
  if (left.op === 'delete') return right.op === 'delete' ? 'agreement' : 'delete-update'
  if (right.op === 'delete') return 'update-delete'
  if (areEqual(newsOf(row, set, left, right), newsOf(row, set, right, left), row)) return 'agreement'
  const haveCommonPast = (pastOf(left) & pastOf(right)) !== NO_CHANGES
  const [leftInserts, rightInserts] = [left, right].map(({ op }) => op === 'insert' || !haveCommonPast)
  if (leftInserts && rightInserts) return 'insert-insert'
  // Of rows that are settled as a whole only one can be shown, whatever fields they have.
  const isWhole = row.history.tables.get(row.table)?.granularity === 'row'
  return isWhole || contested(row, set, left, right).length > 0 ? 'update-update' : 'merged'
}

/** Whose value is shown of the two; undefined when each prevails in some field. */
function winnerOf(row: RowHistory, set: Bits, left: Recorded, right: Recorded): Recorded | undefined {
  const rules = row.history.tables.get(row.table)
  if (rules?.granularity === 'row' || left.op === 'delete' || right.op === 'delete')
    return row.prevailing([left, right])
  const winners = contested(row, set, left, right).map(({ field, changes }) => {
    const shown = row.pick(field, row.inOrder(changes))
    return shown !== undefined && (pastOf(right) & shown.bit) !== NO_CHANGES ? right : left
  })
  return new Set(winners).size === 1 ? winners[0] : undefined
}

function dotText(row: RowHistory, { replica, seq }: Recorded): string {
  return `${row.history.replicaId(replica)}:${seq}`
}
