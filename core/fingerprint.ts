/**
 * Fingerprints: 8 bytes over the content of one change, equal on all replicas. They tell a copied or restored store from one
 * that is only behind; they are not made to keep an attacker out.
 */
import { type ChangeEntry, canonicalEntry, type Dictionaries } from './block.ts'
import { hashBytes } from './hash.ts'

export function fingerprintOf(entry: ChangeEntry, dictionaries: Dictionaries): Uint8Array {
  const { high, low } = hashBytes(canonicalEntry(entry, dictionaries))
  const bytes = new Uint8Array(8)
  const view = new DataView(bytes.buffer)
  view.setUint32(0, high)
  view.setUint32(4, low)
  return bytes
}
