/**
 * Hosting: what a server has to find out about who says hello, beyond what any peer would.
 *
 * Knows: gates, whose a replica is, posts, what a backup may have lost. Must never know: principals, transports.
 */

import { rememberedTables } from './definitions.ts'
import type { Draft } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { expectCaughtUp, familyName, noteRelay, postOf } from './family.ts'
import { type Gate, NEW_REPLICA, quotaExceeded } from './gate.ts'
import type { Tables, Versions } from './handshake.ts'
import { subjectKey } from './keys.ts'
import type { Ledger } from './ledger.ts'
import {
  composeWelcome,
  expectAnother,
  expectTenant,
  type Host,
  type Meeting,
  MeetReplica,
  mayNotRelay,
  negotiate,
  readStream,
  standingOf,
} from './meeting.ts'
import { type Hello, RELAYS_SINCE, type Welcome } from './message.ts'
import { asText, packRecord, unpackRecord } from './packing.ts'
import { type IsManned, Posting } from './posts.ts'
import { beginRecovery, isRecovering, showsLoss } from './recovery.ts'
import { placeOf } from './resuming.ts'

export interface Admission extends Meeting {
  /** What we are to the peer. */
  readonly role: 'server' | 'upstream'
  /** Of a relay: the name under which it answers. */
  readonly post: string | undefined
}

export interface HostingOptions {
  readonly versions: Versions
  readonly tables: Tables
  readonly gate: Gate
  readonly nowMs: number
  readonly onLoss: (() => void) | undefined
  /** Whether another relay is at work in a post. */
  readonly isManned: IsManned
}

/** Decides about a hello. Throws what the session has to end with. */
export async function meet(ledger: Ledger, hello: Hello, options: HostingOptions): Promise<Admission> {
  const { versions, tables, gate, nowMs, onLoss } = options
  await ledger.catchUp()
  const { state } = ledger
  const version = negotiate(hello, versions)
  expectTenant(ledger, hello, false)
  if (gate.mayMeet?.(hello.replica) === false)
    throw new TidemarkError('revoked', 'this replica was revoked', { remedy: 'Begin with an empty store' })
  expectAnother(ledger, hello)
  expectCaughtUp(ledger)
  const role = hello.relay === undefined ? 'server' : 'upstream'
  if (role === 'upstream' && !(gate.mayRelay?.() === true && gate.mayRead())) throw mayNotRelay()
  const ourSeq = ledger.durableSeqOf(state.replicas.find(hello.replica))
  if (showsLoss(ledger, ourSeq, hello) && !isRecovering(state, nowMs)) {
    await ledger.submit(beginRecovery(nowMs))
    onLoss?.()
  }
  const { epoch } = state.meta
  const place = await placeOf(ledger, role, hello.resume)
  const host = new Hosting(hello, options)
  const met = await ledger.submit(new MeetReplica(hello, { tables, nowMs, host }))
  // A copy must not fence its original.
  await readStream(ledger, met.replica, hello)
  return { ...met, version, role, epoch, place, post: host.post }
}

/** What a server tells whom it has met. */
export async function welcome(ledger: Ledger, hello: Hello, admission: Admission, nowMs: number): Promise<Welcome> {
  const { version, role, post = postOf(ledger.state) } = admission
  const said = await composeWelcome(ledger, hello, admission, nowMs)
  return {
    ...said,
    resume: role === 'upstream' ? standingOf(ledger) : undefined,
    ...(version >= RELAYS_SINCE ? { family: familyName(ledger.state) } : {}),
    ...(role === 'upstream' ? { tables: [...(await rememberedTables(ledger))] } : {}),
    post,
  }
}

class Hosting implements Host {
  readonly #hello: Hello
  readonly #gate: Gate
  readonly #posting: Posting | undefined
  /** Whom the replica belongs to. */
  #owner: string | undefined
  #post: string | undefined

  constructor(hello: Hello, { gate, isManned }: HostingOptions) {
    this.#hello = hello
    this.#gate = gate
    this.#posting = hello.relay && new Posting(hello.relay, gate.subject?.(), isManned)
  }

  get post(): string | undefined {
    return this.#post
  }

  async read(ledger: Ledger): Promise<void> {
    await this.#readOwner(ledger)
    await this.#posting?.read(ledger)
  }

  async #readOwner({ state, store }: Ledger): Promise<void> {
    const replica = state.replicas.find(this.#hello.replica)
    const [bytes] = replica < 0 ? [] : await store.getMany([subjectKey(replica)])
    this.#owner = bytes === undefined ? undefined : asText(unpackRecord(bytes))
    if (this.#owner === undefined || this.#owner === this.#gate.subject?.()) return
    throw new TidemarkError('replica-cloned', 'this replica belongs to somebody else', {
      remedy: 'Whoever uses a store after somebody else has to go on under a replica id of their own',
    })
  }

  weigh(draft: Draft, isKnown: boolean): void {
    const shortage = isKnown ? undefined : this.#gate.weigh?.(draft.usage, NEW_REPLICA)
    if (shortage !== undefined) throw quotaExceeded(shortage)
  }

  mayDefine(table: string): boolean {
    return this.#hello.relay !== undefined || (this.#gate.mayDefine?.(table) ?? true)
  }

  note(draft: Draft): void {
    this.#post = this.#posting?.take(draft)
    if (this.#hello.relay !== undefined) noteRelay(draft)
  }

  own(draft: Draft, replica: number): void {
    const subject = this.#gate.subject?.()
    if (subject !== undefined && this.#owner === undefined) draft.put(subjectKey(replica), packRecord(subject))
  }
}
