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
 * Each step may be run again after a crash of either side. The log keeps its id, epoch and positions, so no cursor of any
 * replica is lost; what was revoked of the tenant goes with it.
 *
 * Knows: stores as ordered bytes, records, the other server through a port. Must never know: what an entry means, HTTP.
 *
 * Invariants:
 * DP1  At every moment at most one server takes writes: the other one serves only once our registry says that the tenant
 *      has left, and that is said only after both were found equal with every writer stopped.
 * DP2  Nothing of ours is removed before the other server serves. Until then there is a way back; from then on it is a
 *      departure from there.
 */
import { type Limits, type Store, type TenantName, TidemarkError } from '../core/index.ts'
import { lowerFence, RESERVED_END, raiseFence } from './fence.ts'
import { type CopyTarget, copyDifferences, copyUntilFew, fromHex, summarizeStore, toHex } from './move.ts'
import type { TenantDeparture, TenantRecord, TenantRegistry } from './registry.ts'
import type { Revocation } from './revocation.ts'
import type { IsolationMode, StoreFactory } from './store-factory.ts'

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

export interface DepartureOptions {
  readonly registry: TenantRegistry
  readonly factoryOf: (mode: IsolationMode) => StoreFactory
  /** Ends the tenant's sessions in this process and closes it. */
  readonly evict: (name: TenantName) => Promise<void>
  readonly limits: Limits
}

type Departing = TenantRecord & { readonly departure: TenantDeparture }

/** Moves a tenant to another server, or goes on where that was interrupted. `address`: what its clients are told. */
export async function departTenant(
  options: DepartureOptions,
  name: TenantName,
  destination: Destination,
  address: string,
): Promise<TenantRecord> {
  const { registry } = options
  const begun = await registry.update(name, (record) => begin(expectRecord(name, record), destination.server, address))
  let record = expectDeparting(name, begun)
  if (record.departure.phase === 'gone') return record
  if (record.departure.phase !== 'left') {
    await destination.begin({ name, plan: record.plan, logId: record.logId })
    if (record.departure.phase === 'copying') await copyInUse(options, record, destination.store)
    record = await cut(options, await enter(options, name, 'cutting'), destination)
  }
  await destination.welcome(record.logId, await revocationsOf(registry, name))
  return record
}

/** Removes our copy. */
export async function finishDeparture(options: DepartureOptions, name: TenantName): Promise<TenantRecord> {
  const record = expectDeparting(name, await options.registry.get(name))
  const { phase } = record.departure
  if (phase === 'gone') return record
  if (phase !== 'left') throw wrongPhase(record)
  await options.factoryOf(record.mode).remove(name)
  return enter(options, name, 'gone')
}

/** Gives a departure up before it has left. Without the destination, what has arrived there stays until it is erased. */
export async function rollBackDeparture(
  options: DepartureOptions,
  name: TenantName,
  destination: Destination | undefined,
): Promise<void> {
  const record = expectDeparting(name, await options.registry.get(name))
  const { phase } = record.departure
  if (phase !== 'copying' && phase !== 'cutting') throw wrongPhase(record)
  await withStore(options, record, lowerFence)
  await options.registry.update(name, (current) => {
    // Whoever goes on with it at the same time may have cut it by now.
    const { departure, ...rest } = expectDeparting(name, current)
    if (departure.phase === 'left' || departure.phase === 'gone') throw wrongPhase({ ...rest, departure })
    return { ...rest, departure: undefined }
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

async function copyInUse(options: DepartureOptions, record: Departing, target: CopyTarget): Promise<void> {
  const { name, departure } = record
  const saveProgress = async (next: Uint8Array): Promise<void> => {
    await options.registry.update(name, (current) => {
      const departing = expectDeparting(name, current)
      return { ...departing, departure: { ...departing.departure, copiedTo: toHex(next) } }
    })
  }
  const start = departure.copiedTo === '' ? RESERVED_END : fromHex(departure.copiedTo)
  await withStore(options, record, (source) => copyUntilFew(source, target, start, saveProgress))
}

/** From here to the end nobody writes. When it fails, the tenant goes on here, and what was copied stays. */
async function cut(options: DepartureOptions, record: Departing, destination: Destination): Promise<Departing> {
  const { name } = record
  try {
    await options.evict(name)
    await withStore(options, record, async (source) => {
      await raiseFence(source)
      await copyDifferences(source, destination.store)
      await verify(source, destination, name, options.limits)
    })
  } catch (error) {
    await withStore(options, record, lowerFence)
    await enter(options, name, 'copying')
    throw error
  }
  return enter(options, name, 'left')
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
  { factoryOf }: DepartureOptions,
  { name, mode }: TenantRecord,
  work: (store: Store) => Promise<void>,
): Promise<void> {
  const store = await factoryOf(mode).open(name)
  await work(store).finally(() => store.close())
}

async function revocationsOf(registry: TenantRegistry, name: TenantName): Promise<Revocation[]> {
  return (await registry.revocations()).filter(({ tenant }) => tenant === name)
}

// ── Records ─────────────────────────────────────────────────────────────────────────────────────────────────────────

async function enter(
  { registry }: DepartureOptions,
  name: TenantName,
  phase: TenantDeparture['phase'],
): Promise<Departing> {
  const changed = await registry.update(name, (record) => {
    const current = expectDeparting(name, record)
    return { ...current, departure: { ...current.departure, phase } }
  })
  return expectDeparting(name, changed)
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
