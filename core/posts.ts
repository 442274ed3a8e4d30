/**
 * Posts: the names under which relays answer. A relay that begins anew with an empty store takes the post of the one before it.
 *
 * To its clients such a relay is the same home as before: what they had sent there and nobody has answered they send again, and
 * it is answered anew, as by a server that goes on from a backup. A relay whose store is elsewhere still at work, or was replaced,
 * is refused: two that answer for one home would judge the same change twice.
 *
 * Knows: whose token a relay has, what was there before. Must never know: sessions, tokens.
 *
 * Invariants:
 * PO1  A post has one store at a time. Who comes with an empty one takes it, unless the other is there; the other is refused then.
 * PO2  Who has a post keeps it, wherever it connects: its clients know it by that.
 */
import type { Draft } from './draft.ts'
import { TidemarkError } from './errors.ts'
import { hashBytes, hashToText } from './hash.ts'
import { postKey } from './keys.ts'
import type { Ledger } from './ledger.ts'
import type { RelayLog } from './message.ts'
import { asArray, asCount, asText, packRecord, unpackRecord } from './packing.ts'

/** Whether another store is at work in a post. */
export type IsManned = (post: string, logId: string) => boolean

/** Who is at work in a post: the log of its store. */
export interface Manning {
  readonly post: string
  readonly logId: string
}

interface PostRecord {
  readonly post: string
  /** The log of the store that has it. */
  readonly logId: string
  /** Of our own log: what is from before a backup may name a store that was replaced since. */
  readonly epoch: number
}

/** Finds a relay its post, from its hello on. Without a `subject` nobody knows whose it is: then it has one of its own. */
export class Posting {
  readonly #relay: RelayLog
  readonly #subject: string | undefined
  readonly #isManned: IsManned
  #known: PostRecord | undefined

  constructor(relay: RelayLog, subject: string | undefined, isManned: IsManned) {
    this.#relay = relay
    this.#subject = subject
    this.#isManned = isManned
  }

  async read({ store }: Ledger): Promise<void> {
    const [bytes] = this.#subject === undefined ? [] : await store.getMany([keyOf(this.#subject)])
    this.#known = bytes === undefined ? undefined : decodePost(bytes)
  }

  /** Answers with the post. Throws when another store has it (PO1). */
  take(draft: Draft): string {
    const { logId, post: own } = this.#relay
    const { epoch } = draft.state.meta
    const known = this.#known
    const isReplaced = known !== undefined && known.logId !== logId && known.epoch === epoch && own !== undefined
    const post = own ?? known?.post ?? logId
    if (isReplaced) throw replaced()
    if (this.#isManned(post, logId)) throw manned()
    if (this.#subject !== undefined && (known?.logId !== logId || known.post !== post || known.epoch !== epoch))
      draft.put(keyOf(this.#subject), packRecord([post, logId, epoch]))
    return post
  }
}

/** Subjects may be longer than keys. */
function keyOf(subject: string): Uint8Array {
  return postKey(hashToText(hashBytes(packRecord(subject))))
}

function decodePost(bytes: Uint8Array): PostRecord {
  const [post, logId, epoch] = asArray(unpackRecord(bytes))
  return { post: asText(post), logId: asText(logId), epoch: asCount(epoch) }
}

function replaced(): TidemarkError {
  return new TidemarkError('store-foreign', 'another store has taken the place of this relay', {
    remedy: 'Give each relay a token with a subject of its own; one that was replaced begins with an empty store',
  })
}

function manned(): TidemarkError {
  return new TidemarkError('unavailable', 'another relay is connected with a token of the same subject', {
    retryable: true,
    remedy: 'Give each relay a token with a subject of its own',
  })
}
