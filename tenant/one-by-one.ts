/**
 * Work that is done one after the other for each of many: here, for each tenant.
 *
 * Invariant OB1: what failed does not keep what comes after it from beginning.
 */

export class OneByOne<Key> {
  /** Resolves, never rejects, when the last work is through. */
  readonly #last = new Map<Key, Promise<void>>()

  async run<Result>(key: Key, work: () => Promise<Result>): Promise<Result> {
    const running = (this.#last.get(key) ?? Promise.resolve()).then(work)
    const settled = running.then(
      () => {},
      () => {},
    )
    this.#last.set(key, settled)
    try {
      return await running
    } finally {
      if (this.#last.get(key) === settled) this.#last.delete(key)
    }
  }
}
