/**
 * A broken promise: what a simulation ends with when the engine did what it must never do.
 */

/** The promises, each as the sentence that a failure is reported with. */
export const PROMISES = {
  'equal-state': 'Replicas with equal clocks have equal state',
  answers: 'A policy decides whatever it is asked about',
  one: 'Replicas that hold the same changes of a row show the same, whatever their clocks say and the way those came',
  exact: 'A row is what the changes that a replica holds make of it, and its conflicts are exact',
  kept: 'No acknowledged write is lost: it is present, covered by a later change, or void with a reason',
  causal: 'A replica holds a change only with everything that the change builds on',
  once: 'Each dot is applied once and with one content',
  gapless: 'Clocks grow without holes, and the log has none',
  durable: 'Nothing is acknowledged, shown or sent before it is flushed',
  session: 'A replica reads its own writes, and never an older state than it has shown',
  converge: 'Healed replicas converge within a minute, and then fall silent',
  stored: 'A store holds what it has acknowledged, whatever happens, and answers with nothing else',
  apart: 'Tenants never meet',
  bounded: 'What waits for a slow reader is bounded by its credit',
  honest: 'Between honest replicas no session ends but by faults of network, disk and process',
  harmless: 'Restored, cloned and half-lost replicas do no harm',
  sound: 'The engine throws nothing at its host but typed errors',
  ends: 'The engine never works without end on something that has an end',
  repeatable: 'A schedule that runs twice does the same twice',
} as const

export type PromiseName = keyof typeof PROMISES

export class BrokenPromise extends Error {
  override readonly name: string = 'BrokenPromise'
  readonly promise: PromiseName
  readonly detail: string
  /** The row that it is about, where it is about one. */
  readonly row: string | undefined

  constructor(promise: PromiseName, detail: string, row?: string) {
    super(`${PROMISES[promise]}. ${detail}`)
    this.promise = promise
    this.detail = detail
    this.row = row
  }
}
