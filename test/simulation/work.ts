/**
 * Work: what apps do to their replicas, and what they are told.
 *
 * Knows: the app's doors of a replica. Must never know: the bytes beneath.
 */
import { type Increment, increment } from '../../core/counter.ts'
import type { Link } from '../../core/link.ts'
import type { Replica, Written } from '../../core/replica.ts'
import type { RowShape } from '../../core/table.ts'
import type { Value } from '../../core/value.ts'
import { toText } from '../testing/as-code.ts'
import { BrokenPromise } from './broken-promise.ts'
import type { Recorded } from './history.ts'
import type { Machine, Seat } from './machine.ts'
import { expectTyped } from './oracle.ts'
import { type PlannedOp, SERVER, type WorkEvent } from './plan.ts'
import { hashText } from './random.ts'
import type { View } from './view.ts'
import type { World } from './world.ts'

/** A row as plain texts: what the tables of a plan have in common. */
export type AnyRow = RowShape & Readonly<Record<string, Value>>
type AnyValues = Readonly<Record<string, Value | Increment>>
interface RowDoor {
  get(id: string): Promise<AnyRow | undefined>
  insert(row: { readonly id: string } & AnyValues): unknown
  update(id: string, patch: AnyValues): unknown
  upsert(row: { readonly id: string } & AnyValues): unknown
  delete(id: string): unknown
}

/** How a write may fail: by what the row is, by the disk, or because others write as well. */
const WRITE_ERRORS: ReadonlySet<string> = new Set([
  'row-exists',
  'row-missing',
  'store-full',
  'store-failed',
  'store-busy',
  'transaction-conflict',
])

export function doWork(world: World, event: WorkEvent): void {
  const machine = world.machines.get(event.node)
  if (machine === undefined) return
  const seat = pickSeat(machine, event)
  if (event.type === 'join') machine.start()
  if (seat?.replica === undefined || machine.process?.isPaused !== false) return
  switch (event.type) {
    case 'join':
      return
    case 'write':
      return write(world, seat, seat.replica, toSeat(world, seat, event.op))
    case 'sibling-write':
      return seat.sibling === undefined ? undefined : write(world, seat, seat.sibling, toSeat(world, seat, event.op))
    case 'transaction':
      return transact(
        world,
        seat,
        seat.replica,
        event.ops.map((op) => toSeat(world, seat, op)),
      )
    case 'rewrite':
      return rewrite(world, seat, seat.replica, toSeat(world, seat, event.op))
    case 'read':
      return read(world, seat, seat.replica, event.table, event.row)
    case 'settle':
      return settle(world, seat, machine)
    case 'withdraw':
      return world.dialers
        .find(({ from, tenant }) => from === machine && tenant === seat.tenant)
        ?.withdraw((link) => withdraw(world, seat.view, link, event.oneIn))
  }
}

/** A machine of several tenants works now for one and now for another. */
function pickSeat(machine: Machine, event: WorkEvent): Seat | undefined {
  const { seats } = machine
  return seats.length === 1 ? seats[0] : seats[hashText(JSON.stringify(event)) % seats.length]
}

/** The server's own values get the canary of the tenant that it writes for; all are filled up as the plan says. */
function toSeat(world: World, seat: Seat, op: PlannedOp): PlannedOp {
  const { valueLength = 0 } = world.plan.options
  if (seat.view.history.tables.get(op.table)?.isOwn === true) return op
  const values = Object.entries(op.values).map(([field, value]) => [
    field,
    toText(value).replace('*.', `${seat.tenant}.${SERVER}`).padEnd(valueLength, '.'),
  ])
  return { ...op, values: Object.fromEntries(values) }
}

function doorOf(replica: { table(name: string): unknown }, table: string): RowDoor {
  return replica.table(table) as RowDoor
}

/** What an op says of counters is by how much they count: an insert starts them, an upsert says nothing of them. */
function carryOut(seat: Seat, door: RowDoor, { kind, table, row: id, values }: PlannedOp): unknown {
  const row = seat.view.history.row(table, id)
  const counts = Object.keys(values).filter((field) => row.isCounter(field))
  const counted = (by: (step: number) => number | Increment): AnyValues =>
    Object.fromEntries(counts.map((field) => [field, by(stepOf(values[field]))]))
  const others = Object.fromEntries(Object.entries(values).filter(([field]) => !counts.includes(field)))
  switch (kind) {
    case 'insert':
      return door.insert({ ...others, ...counted((step) => step), id })
    case 'upsert':
      return door.upsert({ ...others, id })
    case 'update':
      return door.update(id, { ...others, ...counted(increment) })
    case 'delete':
      return door.delete(id)
  }
}

/** By how much a planned value counts. */
function stepOf(value: Value | undefined): number {
  return typeof value === 'number' ? Math.round(value) : (hashText(toText(value)) % 19) - 9
}

/** True when a change says what an op asked for. */
function isDoing({ row, values, increments }: Recorded, op: PlannedOp): boolean {
  if (row.table !== op.table || row.id !== op.row) return false
  return Object.entries(op.values).every(([field, value]) => {
    if (!row.isCounter(field)) return values.get(field) === toText(value)
    return (increments.get(field) ?? 0) === (op.kind === 'upsert' ? 0 : stepOf(value))
  })
}

function write(world: World, seat: Seat, replica: Replica, op: PlannedOp): void {
  const { view } = seat
  const writing = carryOut(seat, doorOf(replica, op.table), op) as Promise<Written<AnyRow>>
  writing.then(
    ({ change }) =>
      world.guard(() => {
        world.oracle.acknowledged(view, change.dot.seq, (recorded) => isDoing(recorded, op))
      }),
    (error: unknown) => world.guard(() => expectWriteError(view, error)),
  )
}

function transact(world: World, seat: Seat, replica: Replica, ops: readonly PlannedOp[]): void {
  const { view } = seat
  const { own } = view
  const ownSeq = view.meta?.ownSeq ?? 0
  const writing = replica.transact((transaction) => {
    for (const op of ops) carryOut(seat, doorOf(transaction, op.table), op)
  })
  writing.then(
    // Under a new id its changes are counted anew.
    () => world.guard(() => expectTransaction(view, view.own === own ? ownSeq : 0, ops)),
    (error: unknown) => world.guard(() => expectWriteError(view, error)),
  )
}

/** Its changes stand on the disk together: consecutive, marked as one, in the order of the calls. */
function expectTransaction(view: View, before: number, ops: readonly PlannedOp[]): void {
  const isOurs = (first: number): boolean =>
    ops.every((op, index) => {
      const change = view.local.get(first + index)
      return change !== undefined && change.transaction === first && isDoing(change, op)
    })
  for (let seq = before + 1; seq <= (view.meta?.ownSeq ?? 0); seq++) if (isOurs(seq)) return
  throw new BrokenPromise('durable', `${view.name} acknowledged a transaction that is not on its disk`)
}

function rewrite(world: World, seat: Seat, replica: Replica, op: PlannedOp): void {
  const { view } = seat
  const writing = replica.transact(async (transaction) => {
    const door = doorOf(transaction, op.table)
    await door.get(op.row)
    carryOut(seat, door, op)
  })
  writing.catch((error: unknown) => world.guard(() => expectWriteError(view, error)))
}

function expectWriteError(view: View, error: unknown): void {
  const { code, message } = expectTyped(error, `${view.name} writes`)
  if (!WRITE_ERRORS.has(code))
    throw new BrokenPromise('sound', `A write on ${view.name} failed with ${code}: ${message}`)
}

function read(world: World, seat: Seat, replica: Replica, table: string, id: string): void {
  const { view } = seat
  const row = view.history.row(table, id)
  const before = view.knownOf(row)
  doorOf(replica, table)
    .get(id)
    .then(
      (found) =>
        world.guard(() => {
          if (view.knownOf(row) !== before) return
          world.oracle.checkRead(view, row, toFields(found))
        }),
      (error: unknown) =>
        world.guard(() => {
          const { code, message } = expectTyped(error, `${view.name} reads`)
          if (code !== 'store-failed')
            throw new BrokenPromise('sound', `A read on ${view.name} failed with ${code}: ${message}`)
        }),
    )
}

export function toFields(row: AnyRow | undefined): ReadonlyMap<string, string> | undefined {
  if (row === undefined) return undefined
  const fields = Object.entries(row).filter(([field]) => field !== 'id')
  return new Map(fields.map(([field, value]) => [field, toText(value)]))
}

/** When `settled` resolves, each side has what the other had when it was called. */
function settle(world: World, seat: Seat, machine: Machine): void {
  const dialer = world.dialers.find(({ from, tenant }) => from === machine && tenant === seat.tenant)
  // Its newest session may still be with another server than the one it goes to now.
  const [link, to] = dialer?.newest ?? []
  const peer = to?.seatOf(seat.tenant)
  if (link === undefined || peer === undefined) return
  const [view, peerView] = [seat.view, peer.view]
  // What another process on the same store wrote, these two need not know yet.
  const ownSeq = seat.replica?.clock.get(seat.replica.id) ?? 0
  const theirs = [...(peer.replica?.clock.entries() ?? [])].map(
    ([id, seq]) => [view.history.replicaNumber(id), seq] as const,
  )
  link.settled().then(
    () =>
      world.guard(() => {
        const missing = theirs.find(([replica, seq]) => (view.clock.get(replica) ?? 0) < seq)
        if (missing !== undefined) throw unsettled(view, `lacks ${missing.join(':')} of ${peerView.name}`)
        if ((peerView.clock.get(view.own) ?? 0) < ownSeq)
          throw unsettled(view, `has ${ownSeq} changes that ${peerView.name} lacks`)
      }),
    (error: unknown) => world.guard(() => void expectTyped(error, `${view.name} settles`)),
  )
}

/** The app takes back some of what waits for room. */
function withdraw(world: World, view: View, link: Link, oneIn: number): void {
  const isChosen = (seq: number): boolean => hashText(`${view.own}:${seq} of ${oneIn}`) % oneIn === 0
  const end = view.beginWithdrawal(isChosen)
  link
    .withdraw(({ dot }) => isChosen(dot.seq))
    .then(
      (withdrawn) => {
        end()
        if (withdrawn.length > 0) world.count('withdrawn changes')
      },
      (error: unknown) => {
        end()
        world.guard(() => void expectTyped(error, `${view.name} withdraws`))
      },
    )
}

function unsettled(view: View, what: string): BrokenPromise {
  return new BrokenPromise('durable', `${view.name} counts as settled, and ${what}`)
}
