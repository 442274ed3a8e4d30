/**
 * Fingerprints: 8 bytes over the content of one change, equal on all replicas. They tell a copied or restored store from one
 * that is only behind; they are not made to keep an attacker out.
 */
import type { ChangeEntry, Dictionaries } from './block.ts'
import { canonicalEntry } from './block-writer.ts'
import { equalSlices } from './bytes.ts'
import { TidemarkError } from './errors.ts'
import { hashBytes } from './hash.ts'
import { voidKey } from './keys.ts'
import type { Ledger } from './ledger.ts'

export function fingerprintOf(entry: ChangeEntry, dictionaries: Dictionaries): Uint8Array {
  const { high, low } = hashBytes(canonicalEntry(entry, dictionaries))
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, high)
  view.setUint32(4, low)
  return bytes
}

/** Of one change of a replica, refused or not; empty when this store does not hold it. */
export async function readFingerprint(ledger: Ledger, replica: number, seq: number): Promise<Uint8Array> {
  const found = seq === 0 ? undefined : await ledger.log.entryOf(replica, seq)
  if (found === undefined) return new Uint8Array(0)
  if (found.entry.op !== 'void') return fingerprintOf(found.entry, ledger.state)
  const [record] = await ledger.store.getMany([voidKey(replica, seq)])
  return record?.subarray(1) ?? new Uint8Array(0)
}

export function sameFingerprint(left: Uint8Array, right: Uint8Array): boolean {
  return left.length === 0 || right.length === 0 || equalSlices(left, 0, left.length, right, 0, right.length)
}

export function cloned(): TidemarkError {
  return new TidemarkError('replica-cloned', 'two stores have written different changes under this replica id', {
    remedy: 'A store was copied; each copy has to go on under its own replica id',
  })
}
