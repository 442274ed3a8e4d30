/**
 * Why a side of a conflict prevails, in sentences that somebody at a help desk can read out.
 *
 * Knows: words. Must never know: how it was decided. Says "the side", "the replica", never "local" or "remote" (F3).
 */
import type { Dictionaries } from './block.ts'
import type { FieldPolicy, Policy } from './policy.ts'
import { type Head, publicOp, type Version } from './row.ts'
import { toDot, withoutMessage } from './settle.ts'

export function explainWinner(
  policy: Policy,
  left: Head,
  right: Head,
  winner: Head,
  dictionaries: Dictionaries,
): string {
  const other = winner === left ? right : left
  const won = describe(winner, dictionaries)
  const isTie = winner.timestamp === other.timestamp
  switch (policy.name) {
    case 'firstWriteWins':
      return `${won} wins: ${isTie ? TIE_TO_LOWER : 'it was made earlier'}.`
    case 'deleteWins':
      if (winner.op === 'delete') return `${won} wins: in this table a delete wins against anything concurrent.`
      break
    case 'updateWins':
      if (other.op === 'delete') return `${won} wins: in this table a write survives a concurrent delete.`
      break
    case 'causal':
      return `${won} is shown for now: ${isTie ? TIE_TO_HIGHER : 'it was made later'}. ${UNDECIDED}`
  }
  return `${won} wins: ${isTie ? TIE_TO_HIGHER : 'it was made later'}.`
}

const TIE_TO_HIGHER = 'both were made at the same time, and then the higher replica id prevails'
const TIE_TO_LOWER = 'both were made at the same time, and then the lower replica id prevails'
export const UNDECIDED = 'Neither side knew of the other, so somebody has to decide.'

/** A side may owe its win to changes beneath its head, so nothing is said here of when the head was made. */
export function explainSide(
  policy: Policy,
  winner: Head,
  names: readonly string[],
  dictionaries: Dictionaries,
): string {
  const won = describe(winner, dictionaries)
  const writes = `the ${policy.name === 'firstWriteWins' ? 'first' : 'last'} writes to ${names.join(', ')} are of that side`
  return policy.escalates ? `${won} is shown for now: ${writes}. ${UNDECIDED}` : `${won} wins: ${writes}.`
}

export function explainDecision(policy: Policy, winner: Head | undefined, dictionaries: Dictionaries): string {
  if (winner === undefined) return `Policy ${policy.name} made a value of its own from both sides.`
  return `${describe(winner, dictionaries)} wins: policy ${policy.name} decided so.`
}

/** Why a field shows what it shows; `shown` is undefined when the policy made a value of both. */
export function explainField(
  name: string,
  policy: FieldPolicy | Policy,
  versions: readonly Version[],
  shown: Version | undefined,
  dictionaries: Dictionaries,
): string {
  if (shown === undefined) return `Field ${name} is made of both sides by ${policy.name}.`
  const { replica, seq } = toDot(shown.stamp, dictionaries)
  const value = `Field ${name} shows the value of replica ${replica} (change ${seq})`
  if ('decideField' in policy) return `${value}: ${policy.name} chose it.`
  const isFirst = policy.name === 'firstWriteWins'
  const isTie = versions.some((other) => other !== shown && other.stamp.timestamp === shown.stamp.timestamp)
  if (isTie) return `${value}: ${isFirst ? TIE_TO_LOWER : TIE_TO_HIGHER}.`
  return `${value}: it was made ${isFirst ? 'earlier' : 'later'}.`
}

function describe(head: Head, dictionaries: Dictionaries): string {
  const { replica, seq } = toDot(head, dictionaries)
  return `The ${publicOp(head)} of replica ${replica} (change ${seq})`
}

/** Without what the policy's own code had to say, which may quote values. */
export function explainFallback(fallback: string): string {
  const text = withoutMessage(fallback)
  return `${text[0]?.toUpperCase()}${text.slice(1)}.`
}
