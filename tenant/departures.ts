/**
 * Departures: a tenant goes to another server while it is in use: snapshot, stream, cut, verify, and the way back.
 *
 *   copying  The other server's store is made equal to ours, in key order and again until little differs. Sessions go on.
 *   cutting  Sessions are ended, a fence stops every other writer, the last differences are copied, and both sides are
 *            compared: by what they hold, and by the fingerprint that each makes of its own.
 *   left     One commit of our registry says so. From here on nobody is served here, and who asks is told where; the other
 *            server is told to serve. Our copy stays until `finish`.
 *   gone     Our copy was removed. What is left is the address.
 *
 * Each step may be run again after a crash of either side. Whoever wants to use a tenant whose mover died in the cut undoes
 * the cut: it is used here, and copying goes on when the command is given again. The log keeps its id, epoch and positions, so no cursor of any
 * replica is lost; what was revoked of the tenant goes with it.
 *
 * Knows: stores as ordered bytes, records, the other server through a port. Must never know: what an entry means, HTTP.
 *
 * Invariants:
 * DP1  At every moment at most one server takes writes: the other one serves only once our registry says that the tenant
 *      has left, and that is said only after both were found equal with every writer stopped.
 * DP2  Nothing of ours is removed before the other server serves. Until then there is a way back; from then on it is a
 *      departure from there.
 * DP3  A fence goes up only after our registry says that the tenant is being cut, and down only after it says otherwise: from
 *      then on whoever cut it cannot say that it has left (mover.ts, MV1).
 */
import { type Limits, type Store, type TenantName, TidemarkError } from '../core/index.ts'
import { RESERVED_END, raiseFence } from './fence.ts'
import {
  type CopyTarget,
  copyDifferences,
  copyUntilFew,
  fromHex,
  type MoveOptions,
  orBack,
  summarizeStore,
  toHex,
  undoCut,
} from './move.ts'
import type { Mover } from './mover.ts'
import { AT_REST, hasLeft, type TenantDeparture, type TenantRecord, type TenantRegistry } from './registry.ts'
import type { Revocation } from './revocation.ts'

/** What the other server is told of a tenant before anything of it arrives. */
export interface Arrival {
  readonly name: string
  readonly plan: string
  readonly logId: string
}

/** The other server. Each call may be made again. */
export interface Destination {
  /** Where an operator finds it. */
  readonly server: string
  begin(arrival: Arrival): Promise<void>
  readonly store: CopyTarget
  /** A fingerprint of what it holds, made there. */
  summarize(): Promise<string>
  /** The tenant lives there now. */
  welcome(logId: string, revocations: readonly Revocation[]): Promise<void>
  /** Nothing comes of it: what has arrived goes. */
  cancel(): Promise<void>
}

type Departing = TenantRecord & { readonly departure: TenantDeparture }

/** Moves a tenant to another server, or goes on where that was interrupted. `address`: what its clients are told. */
export async function departTenant(
  options: MoveOptions,
  name: TenantName,
  destination: Destination,
  address: string,
): Promise<TenantRecord> {
  const { registry, movers } = options
  const before = await registry.get(name)
  const isElsewhere = before?.departure?.server === destination.server && hasLeft(before)
  const record = isElsewhere
    ? before
    : await movers.engage(
        name,
        (current) => begin(expectRecord(name, current), destination.server, address),
        (mover) => leave(options, mover, destination),
      )
  if (record.departure?.phase === 'gone') return record
  await destination.welcome(record.logId, await revocationsOf(registry, name))
  return record
}

/** Removes our copy. */
export async function finishDeparture(options: MoveOptions, name: TenantName): Promise<TenantRecord> {
  const record = expectDeparting(name, await options.registry.get(name))
  const { phase } = record.departure
  if (phase === 'gone') return record
  if (phase !== 'left') throw wrongPhase(record)
  await options.factoryOf(record.mode).remove(name)
  const changed = await options.registry.update(name, (current) => {
    const departing = expectDeparting(name, current)
    if (departing.departure.phase !== 'left') throw wrongPhase(departing)
    return withDeparture(departing, { phase: 'gone' })
  })
  return expectDeparting(name, changed)
}

/** Gives a departure up before it has left. Without the destination, what has arrived there stays until it is erased. */
export async function rollBackDeparture(
  options: MoveOptions,
  name: TenantName,
  destination: Destination | undefined,
): Promise<void> {
  const begin = (record: TenantRecord | undefined): TenantRecord => {
    const departing = expectDeparting(name, record)
    if (hasLeft(departing)) throw wrongPhase(departing)
    return departing
  }
  await options.movers.engage(name, begin, async (mover) => {
    await undoCut(options, mover)
    await mover.update((record) => ({ ...record, ...AT_REST }))
  })
  await destination?.cancel()
}

// ── Steps ───────────────────────────────────────────────────────────────────────────────────────────────────────────

function begin(record: TenantRecord, server: string, address: string): TenantRecord {
  const { name, departure, move, state } = record
  if (departure?.server === server) return record
  if (departure !== undefined) throw refused(name, `it is on its way to ${departure.server}`)
  if (move !== undefined) throw refused(name, `its move from ${move.from} to ${move.to} is ${move.phase}`)
  if (state !== 'active') throw refused(name, `it is ${state}`)
  return { ...record, departure: { server, address, phase: 'copying', copiedTo: '' } }
}

async function leave(options: MoveOptions, mover: Mover, destination: Destination): Promise<TenantRecord> {
  const { name, plan, logId, departure } = expectDeparting(mover.record.name, mover.record)
  if (hasLeft(mover.record)) return mover.record
  await destination.begin({ name, plan, logId })
  if (departure.phase === 'copying') await copyInUse(options, mover, destination.store)
  // When it fails, the tenant goes on here, and what was copied stays.
  return orBack(
    mover,
    () => cut(options, mover, destination),
    () => undoCut(options, mover),
  )
}

async function copyInUse(options: MoveOptions, mover: Mover, target: CopyTarget): Promise<void> {
  const { copiedTo } = expectDeparting(mover.record.name, mover.record).departure
  const saveProgress = async (next: Uint8Array): Promise<void> => {
    await mover.update((record) => withDeparture(record, { copiedTo: toHex(next) }))
  }
  const start = copiedTo === '' ? RESERVED_END : fromHex(copiedTo)
  await withStore(options, mover.record, (source) => copyUntilFew(source, target, start, saveProgress))
}

/** From here to the end nobody writes. */
async function cut(options: MoveOptions, mover: Mover, destination: Destination): Promise<TenantRecord> {
  const { name } = await mover.update((record) => withDeparture(record, { phase: 'cutting' }))
  await options.evict(name)
  await withStore(options, mover.record, async (source) => {
    await raiseFence(source)
    await copyDifferences(source, destination.store)
    await verify(source, destination, name, options.limits)
  })
  return mover.update((record) => ({ ...withDeparture(record, { phase: 'left' }), mover: undefined }))
}

async function verify(source: Store, destination: Destination, name: TenantName, limits: Limits): Promise<void> {
  const differing = await copyDifferences(source, destination.store)
  const [ours, theirs] = [await summarizeStore(source, name, limits), await destination.summarize()]
  if (differing === 0 && ours === theirs) return
  throw new TidemarkError('store-failed', `the copy of tenant ${name} is not equal to what it was made from`, {
    remedy: 'Roll the move back, and check both disks',
    details: { differing, ours, theirs },
  })
}

async function withStore(
  { factoryOf }: MoveOptions,
  { name, mode }: TenantRecord,
  work: (store: Store) => Promise<void>,
): Promise<void> {
  const store = await factoryOf(mode).open(name)
  await work(store).finally(() => store.close())
}

async function revocationsOf(registry: TenantRegistry, name: TenantName): Promise<Revocation[]> {
  const held = (await registry.revocations()).filter(({ tenant }) => tenant === name)
  // Where it goes nobody inherits anything.
  return held.map(({ isInherited: _, ...revocation }) => revocation)
}

// ── Records ─────────────────────────────────────────────────────────────────────────────────────────────────────────

function withDeparture(record: TenantRecord, change: Partial<TenantDeparture>): TenantRecord {
  return { ...record, departure: { ...expectDeparting(record.name, record).departure, ...change } }
}

function expectRecord(name: TenantName, record: TenantRecord | undefined): TenantRecord {
  if (record !== undefined) return record
  throw refused(name, 'there is no such tenant')
}

function expectDeparting(name: TenantName, record: TenantRecord | undefined): Departing {
  const { departure } = expectRecord(name, record)
  if (departure !== undefined) return { ...expectRecord(name, record), departure }
  throw refused(name, 'it is not on its way to another server')
}

function wrongPhase({ name, departure: { server, phase } }: Departing): TidemarkError {
  return refused(name, `its way to ${server} is ${phase}`)
}

function refused(name: TenantName, why: string): TidemarkError {
  return new TidemarkError('bad-option', `tenant ${name} cannot be moved: ${why}`, {
    remedy: 'See where it stands with `tidemark tenants show`',
  })
}
