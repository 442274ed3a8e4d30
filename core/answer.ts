/**
 * The server's answer to our own changes: accepted up to a seq, some of them refused.
 *
 * A refused change goes to the list of rejected ones, and its row shows the agreed state again, with those later changes
 * of ours that do not build on it.
 * Invariants:
 * A4  After an answer the row is what it would be had the refused changes never been written.
 * A5  What was accepted is not refused afterwards: nobody has its row without it any more.
 */

import type { Refusal } from './admit.ts'
import { readAgreed, readRefused } from './agreed.ts'
import type { ChangeEntry, VoidCode } from './block.ts'
import { canonicalEntry } from './block-writer.ts'
import { clockCovers, clockGet } from './clock.ts'
import type { Draft } from './draft.ts'
import { invariant, TidemarkError } from './errors.ts'
import { expectIdentity } from './identity.ts'
import { kindRange, rejectedKey } from './keys.ts'
import type { Job, Ledger } from './ledger.ts'
import type { ReplicaId } from './names.ts'
import { packRecord } from './packing.ts'
import { applyChange, type RowState } from './row.ts'
import type { RowEntry } from './row-cache.ts'

/** Obsolete agreed states removed by one commit; the rest goes with the next answer. */
const PURGED_MAX = 4_096

interface RefusedChange {
  readonly row: RowEntry
  readonly entry: ChangeEntry
  readonly code: VoidCode
}

export class TakeAnswer implements Job<readonly ChangeEntry[]> {
  readonly weight = 1
  readonly startsGroup = true
  readonly #throughSeq: number
  readonly #refusals: readonly Refusal[]
  readonly #replica: ReplicaId | undefined
  #refused: RefusedChange[] = []
  readonly #rebuilt = new Map<RowEntry, { readonly agreed: RowState; readonly state: RowState }>()
  #obsolete: Uint8Array[] = []

  /** `replica`: whom a server answered. */
  constructor(throughSeq: number, refusals: readonly Refusal[], replica?: ReplicaId) {
    this.#throughSeq = throughSeq
    this.#refusals = refusals
    this.#replica = replica
  }

  async prepare(ledger: Ledger): Promise<void> {
    expectIdentity(ledger.state, this.#replica)
    const { own } = ledger.state
    this.#refused = []
    // A welcome and an answer may both tell of the same refusal.
    const known = await readRefused(ledger)
    for (const { seq, code } of this.#refusals) {
      if (known.has(seq)) continue
      known.add(seq)
      const found = await ledger.log.entryOf(own, seq)
      // Under an earlier id it had to be refused, or was withdrawn: that is known, and listed.
      if (found?.entry.op === 'void') continue
      if (seq <= ledger.state.meta.ackedSeq) {
        throw new TidemarkError('server-restored', `the server refuses seq ${seq}, which it had accepted`, {
          remedy: 'It has lost what this builds on, or is another one: begin with an empty store to follow it',
        })
      }
      invariant(found !== undefined, 'the server refuses only what we wrote')
      this.#refused.push({ entry: found.entry, code, row: ledger.need(found.entry.table, found.entry.id) })
    }
  }

  async inspect(ledger: Ledger): Promise<void> {
    const { meta } = ledger.state
    this.#obsolete = []
    this.#rebuilt.clear()
    if (this.#refused.length === 0) {
      if (this.#throughSeq < meta.ownSeq || meta.agreed === 0) return
      const page = await ledger.store.range({ ...kindRange('a'), limit: PURGED_MAX })
      this.#obsolete = page.map(({ key }) => key)
      return
    }
    const refused = await readRefused(ledger)
    for (const { seq } of this.#refusals) refused.add(seq)
    for (const { row, entry } of this.#refused) {
      // What built on an earlier refusal is gone from the row already.
      if (this.#rebuilt.has(row) || !clockCovers(row.state.clock, ledger.state.own, entry.seq)) continue
      this.#rebuilt.set(row, await this.#rebuild(ledger, row, refused))
    }
  }

  /** The agreed state with our changes since, but those that were refused or build on one that was: these join `refused`. */
  async #rebuild(ledger: Ledger, row: RowEntry, refused: Set<number>): Promise<{ agreed: RowState; state: RowState }> {
    const { own, replicas } = ledger.state
    const current = row.state
    const agreed = await readAgreed(ledger, row, refused)
    const ours: { readonly entry: ChangeEntry; readonly position: number }[] = []
    for await (const { entry, position } of ledger.log.rowHistory(current.position)) {
      if (entry.op === 'void' || entry.replica !== own) continue
      if (clockCovers(agreed.state.clock, own, entry.seq)) break
      ours.unshift({ entry, position })
    }
    let base = agreed.state
    let state = agreed.state
    for (const { entry, position } of ours) {
      if (refused.has(entry.seq)) continue
      if (refused.has(clockGet(entry.context, own))) {
        refused.add(entry.seq)
        continue
      }
      state = applyChange(state, entry, position, replicas)
      if (entry.seq <= this.#throughSeq) base = applyChange(base, entry, position, replicas)
    }
    return { agreed: base, state: { ...state, position: current.position } }
  }

  apply(draft: Draft): readonly ChangeEntry[] {
    const { meta, own } = draft.state
    // Without a commit of its own the answer would be lost when a later commit fails, and nobody would give it again.
    if (this.#throughSeq > meta.ackedSeq) draft.touchMeta()
    meta.ackedSeq = Math.max(meta.ackedSeq, this.#throughSeq)
    for (const key of this.#obsolete) draft.delete(key)
    if (this.#obsolete.length > 0 && this.#obsolete.length < PURGED_MAX) meta.agreed = 0
    for (const { entry, code } of this.#refused) {
      draft.put(rejectedKey(own, entry.seq), packRecord([code, canonicalEntry(entry, draft.state)]))
      meta.rejected++
      draft.state.lastRejectedSeq = Math.max(draft.state.lastRejectedSeq, entry.seq)
    }
    for (const [entry, { agreed, state }] of this.#rebuilt) {
      draft.setRow(entry, state, 'remote')
      if (clockGet(state.clock, own) > meta.ackedSeq) draft.setAgreed(entry, agreed)
    }
    return this.#refused.map(({ entry }) => entry)
  }
}
