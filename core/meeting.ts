/**
 * Meeting: what whoever answers a hello has to find out before it can say welcome, be it a server or a peer without one.
 *
 * Knows: versions, definitions, what we have of the peer. Must never know: who may do what; a server's `Host` does.
 *
 * Invariants:
 * U3  What a welcome says of the peer's changes is read after older sessions of the peer were fenced: nothing comes after it.
 */
import { VOID_CODES, type VoidCode } from './block.ts'
import {
  type Definition,
  expectDefinitions,
  listDefinitions,
  mismatch,
  readDefinitions,
  remember,
} from './definitions.ts'
import type { Draft } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { cloned, readFingerprint, sameFingerprint } from './fingerprint.ts'
import { REFUSALS_MAX, type Tables, type Versions } from './handshake.ts'
import { voidKeySeq, voidRange } from './keys.ts'
import type { Job, Ledger } from './ledger.ts'
import type { ClockEntry, Hello, RefusalRecord, Welcome } from './message.ts'
import type { FeedPlace } from './outflow.ts'
import { expectEpoch } from './recovery.ts'
import { tableFingerprint } from './table.ts'

export function negotiate(hello: Hello, [ourMin, ourMax]: Versions): number {
  const [min, max] = hello.versions
  const version = Math.min(max, ourMax)
  if (version >= min && version >= ourMin) return version
  throw new TidemarkError(
    'protocol-version',
    `the peer speaks protocol ${min} to ${max}, this side ${ourMin} to ${ourMax}`,
    {
      remedy: 'Update the older side',
    },
  )
}

/** Tenant and kind of session come from the transport, never from a frame. */
export function expectTenant({ state }: Ledger, hello: Hello, isMesh: boolean): void {
  if (hello.tenant !== state.meta.tenant || hello.isMesh !== isMesh)
    throw new TidemarkError('forbidden', 'this session may not read or write what it asked for')
}

/** Who says hello under our own id has a copy of our store. */
export function expectAnother({ state }: Ledger, { replica }: Hello): void {
  if (replica === state.meta.replicaId) throw cloned()
}

export function mayNotRelay(): TidemarkError {
  return new TidemarkError('forbidden', 'this session may not pass on changes of others', {
    remedy: 'Ask for a token with the scopes read and relay, for all tables',
  })
}

/** What a server asks and notes of a peer, in the commit that makes it known. Throws what the session has to end with. */
export interface Host {
  readonly read: (ledger: Ledger) => Promise<void>
  /** Before anything is noted. */
  readonly weigh: (draft: Draft, isKnown: boolean) => void
  /** Whether a table that is new may be defined as the peer says. */
  readonly mayDefine: (table: string) => boolean
  readonly note: (draft: Draft) => void
  /** `replica`: the peer, by index. */
  readonly own: (draft: Draft, replica: number) => void
}

export interface Met {
  /** The peer's index in our dictionary. */
  readonly replica: number
  /** It has brought definitions of tables that were not known. */
  readonly hasDefined: boolean
}

export interface MeetingOptions {
  readonly tables: Tables
  readonly nowMs: number
  readonly host?: Host
}

/** Makes the peer and its table definitions known. What a replica calls itself is remembered from its first hello on. */
export class MeetReplica implements Job<Met> {
  readonly weight = 1
  readonly #hello: Hello
  readonly #options: MeetingOptions
  #fresh: (readonly [string, string])[] = []
  #stored: readonly Definition[] = []

  constructor(hello: Hello, options: MeetingOptions) {
    this.#hello = hello
    this.#options = options
  }

  async prepare(ledger: Ledger): Promise<void> {
    const { tables, relay } = this.#hello
    expectDefinitions(tables)
    await this.#options.host?.read(ledger)
    const known = await readDefinitions(
      ledger,
      tables.map(([name]) => name),
    )
    this.#fresh = []
    for (const [index, [name, fingerprint]] of tables.entries()) {
      const ours = this.#options.tables.get(name)
      const expected = ours === undefined ? known[index] : tableFingerprint(ours)
      if (expected === undefined) this.#fresh.push([name, fingerprint])
      // A relay takes over ours: its clients are told when they come again.
      else if (expected !== fingerprint && relay === undefined) throw mismatch(name, expected, fingerprint)
    }
    this.#stored = this.#fresh.length === 0 ? [] : await listDefinitions(ledger)
  }

  apply(draft: Draft): Met {
    const { state } = draft
    const { host, nowMs } = this.#options
    const { replica: id } = this.#hello
    const isKnown = state.replicas.find(id) >= 0
    host?.weigh(draft, isKnown)
    const fresh = this.#fresh.filter(([name]) => host?.mayDefine(name) ?? true)
    remember(draft, fresh, { stored: this.#stored, replica: id, nowMs })
    if (!isKnown) draft.touchMeta()
    host?.note(draft)
    const replica = state.internReplica(id)
    host?.own(draft, replica)
    return { replica, hasDefined: fresh.length > 0 }
  }
}

export interface Meeting extends Met {
  readonly version: number
  readonly epoch: number
  /** Where our stream to the peer starts. */
  readonly place: FeedPlace
}

/** What a peer that was met is told, once older sessions of it are fenced. Throws `replica-cloned`. */
export async function composeWelcome(
  ledger: Ledger,
  hello: Hello,
  { version, epoch, place, replica }: Meeting,
  nowMs: number,
): Promise<Welcome> {
  // Behind what a fenced session had handed in before.
  await ledger.catchUp()
  expectEpoch(ledger, epoch)
  const { meta } = ledger.state
  const { yourSeq, fingerprint } = await readStream(ledger, replica, hello)
  return {
    type: 'welcome',
    version,
    replica: meta.replicaId,
    logId: meta.logId,
    epoch: meta.epoch,
    position: ledger.durablePosition,
    yourSeq,
    fingerprint,
    refusals: await refusalsOf(ledger, replica, hello.ackedSeq, yourSeq),
    from: place.type === 'log' ? { type: 'log', position: place.position } : { type: 'snapshot' },
    time: nowMs,
    resume: undefined,
  }
}

/** Where we stand in the log of a peer that is asked by clocks. */
export function standingOf(ledger: Ledger): { readonly type: 'clock'; readonly clock: readonly ClockEntry[] } {
  return { type: 'clock', clock: [...ledger.durableClock().entries()] }
}

/** What we have of the peer's changes. Throws `replica-cloned` when the last one that both have differs. */
export async function readStream(
  ledger: Ledger,
  replica: number,
  hello: Hello,
): Promise<Pick<Welcome, 'yourSeq' | 'fingerprint'>> {
  const yourSeq = ledger.durableSeqOf(replica)
  const fingerprint = await readFingerprint(ledger, replica, Math.min(yourSeq, hello.ownSeq))
  if (hello.ownSeq === yourSeq && !sameFingerprint(hello.fingerprint, fingerprint)) throw cloned()
  return { yourSeq, fingerprint }
}

async function refusalsOf(ledger: Ledger, replica: number, after: number, through: number): Promise<RefusalRecord[]> {
  if ((ledger.state.voidCounts[replica] ?? 0) === 0 || through <= after) return []
  const page = await ledger.store.range({ ...voidRange(replica, after, through), limit: REFUSALS_MAX })
  return page.map(({ key, value }) => [voidKeySeq(key), VOID_CODES[value[0] ?? 0] as VoidCode] as const)
}
