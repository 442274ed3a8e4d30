/**
 * Slices: work that is done in one go, or with pauses in which others have their turn.
 *
 * Work in slices is a generator that yields where it may pause. It reads nothing between two slices that others may change,
 * so that its outcome does not depend on where it paused, or whether.
 *
 * Knows: that work may pause. Must never know: who else there is, or what time it is.
 */

/** Work that may pause wherever it yields. */
export type Slices<Result> = Generator<undefined, Result>

/** Asked before a piece of work. Undefined: go on; else what to wait for. */
export type AskForTurn = () => Promise<void> | undefined

/** Does the work in one go. */
export function runSlices<Result>(slices: Slices<Result>): Result {
  for (;;) {
    const step = slices.next()
    if (step.done === true) return step.value
  }
}

/** Does the work, asking before each slice but the first. */
export async function runInTurns<Result>(slices: Slices<Result>, ask: AskForTurn): Promise<Result> {
  for (;;) {
    const step = slices.next()
    if (step.done === true) return step.value
    const turn = ask()
    if (turn !== undefined) await turn
  }
}
