/**
 * The questions that a link asks its peer, to find out where the rows of both differ.
 *
 * Knows: which question an answer is for. Must never know: streams, roles.
 */
import type { Ask } from './comparison.ts'
import { TidemarkError } from './errors.ts'
import { decodeFrame } from './frame.ts'
import type { Limits } from './limits.ts'
import type { Compare, Compared } from './message.ts'

interface Asking {
  readonly resolve: (answer: Awaited<ReturnType<Ask>>) => void
  readonly reject: (error: unknown) => void
}

export class LinkQuestions {
  readonly #limits: Limits
  readonly #asking = new Map<number, Asking>()

  constructor(limits: Limits) {
    this.#limits = limits
  }

  /** Says a question; resolves with what the peer answers. */
  ask(question: Omit<Compare, 'type'>, say: (frame: Compare) => void): ReturnType<Ask> {
    return new Promise((resolve, reject) => {
      this.#asking.set(question.token, { resolve, reject })
      say({ type: 'compare', ...question })
    })
  }

  /** An answer came. */
  take({ token, isSame, parts, chunk }: Compared): void {
    const asking = this.#asking.get(token)
    this.#asking.delete(token)
    const frame = chunk === undefined ? undefined : decodeFrame(chunk, this.#limits)
    if (frame !== undefined && frame.type !== 'snapshot-rows')
      throw new TidemarkError('bad-frame', 'rows were expected')
    asking?.resolve({ isSame, parts, chunk: frame })
  }

  /** Nobody answers any more. */
  giveUp(error: TidemarkError): void {
    for (const { reject } of this.#asking.values()) reject(error)
    this.#asking.clear()
  }
}
