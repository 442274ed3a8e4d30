/**
 * Notes: jobs that read nothing from the store. What they go by is in memory, and what they change is small.
 */
import type { Draft } from './draft.ts'
import type { Job } from './ledger.ts'

/** A job that does no more than `apply`: it changes the draft, whole or (by throwing) not at all. */
export function note<Result>(apply: (draft: Draft) => Result): Job<Result> {
  return { weight: 1, prepare: () => {}, apply }
}
