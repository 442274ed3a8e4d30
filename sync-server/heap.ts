/**
 * The heap of a server's process: how far it may grow before all of it is collected.
 *
 * Knows: V8. Must never know: what is in the heap.
 *
 * A server keeps little and lets much pass through. V8 sets the next full collection by what is left after the last, and sets
 * it the lower the faster a program allocates: with 20 MB left and a client that pushes without a pause it collects everything
 * four to twelve times a second, a few milliseconds each, in which nobody is served, and takes what is just passing through for
 * old. V8's own largest factor is 4; here it is 4 however fast clients push. Its bound (`--max-old-space-size`) still holds, and
 * it goes half of the rest of the way to it at most.
 */
import { setFlagsFromString } from 'node:v8'

const GROWING_PERCENT = 300

/** For programs that are a server and nothing else: it counts for the whole process. */
export function growHeapFreely(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWING_PERCENT}`)
}
