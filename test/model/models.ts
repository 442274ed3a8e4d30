/**
 * What is given to the model checker: each model as it is built, which has to hold, and with one condition taken away, which
 * has to fail.
 */

export interface Model {
  readonly name: string
  readonly file: 'merge.pml' | 'collection.pml'
  /** What is switched on in the file. */
  readonly defines: readonly string[]
  /** Why it has to fail: the shortest counterexample in words. Undefined: it has to hold. */
  readonly failsBecause: string | undefined
  /** True for those that take minutes and gigabytes. */
  readonly isLong: boolean
}

const holds = (name: string, file: Model['file'], defines: readonly string[], isLong = false): Model => ({
  name,
  file,
  defines,
  failsBecause: undefined,
  isLong,
})

const fails = (name: string, file: Model['file'], defines: readonly string[], failsBecause: string): Model => ({
  name,
  file,
  defines,
  failsBecause,
  isLong: false,
})

/** Three replicas, each of which writes twice at most. */
const MERGE: readonly Model[] = [
  holds('changes in any causal order: heads and fields', 'merge.pml', []),
  holds('changes and joins of states: heads', 'merge.pml', ['JOINS', 'HEADS_ONLY']),
  holds('two rows', 'merge.pml', ['ROWS=2', 'HEADS_ONLY']),
  holds('without causal order heads still agree, because contexts are those of rows', 'merge.pml', [
    'NON_CAUSAL',
    'HEADS_ONLY',
  ]),
  holds('changes and joins of states: heads and fields', 'merge.pml', ['JOINS'], true),
  holds('inserts that leave fields out', 'merge.pml', ['CLEARING'], true),
  fails(
    'without causal order',
    'merge.pml',
    ['NON_CAUSAL'],
    'A change that leaves a field alone arrives before the one that wrote it. Its context covers that one, which is then taken for known: the field is lost on one replica.',
  ),
  fails(
    'with the clock of the replica as context, and without causal order',
    'merge.pml',
    ['NON_CAUSAL', 'HEADS_ONLY', 'REPLICA_CLOCK', 'ROWS=2'],
    'A change of one row arrives first, and its context names a change of another row. The receiver counts that as held, and its clock equals that of a replica whose other row has a head.',
  ),
]

/** A server and three members, each of which writes twice at most; all of them four times, in the long form five. */
const COLLECTION: readonly Model[] = [
  holds('the stable cut travels in the log', 'collection.pml', ['TOTAL=4']),
  holds('the stable cut travels in the log: one write more', 'collection.pml', ['TOTAL=5'], true),
  fails(
    'without (a): every live member’s clock covers the tombstone',
    'collection.pml',
    ['TOTAL=3', 'SKIP_A'],
    'The server forgets a delete that a member has not heard of. What that member wrote at the same time is then no conflict for the server, and one for everybody else.',
  ),
  fails(
    'without (b): the row has no other head',
    'collection.pml',
    ['TOTAL=3', 'SKIP_B'],
    'A row is forgotten with the write that stands beside its delete: an edit is dropped.',
  ),
  fails(
    'without (c): the server holds what each member had issued before it acknowledged',
    'collection.pml',
    ['TOTAL=3', 'SKIP_C'],
    'A member has written, acknowledges the delete, and only then pushes. The server has forgotten what that write is in conflict with; its writer has not.',
  ),
  fails(
    'without (d): who passes the cut forgets, and nobody before or after',
    'collection.pml',
    ['TOTAL=3', 'SKIP_D'],
    'A member hears of the cut while it still lags behind in the log. It forgets the delete, and then pulls a write that was made without knowing of it, and that others keep beside the delete.',
  ),
]

export const MODELS: readonly Model[] = [...MERGE, ...COLLECTION]
