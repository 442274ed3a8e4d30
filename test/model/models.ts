/**
 * What is given to the model checker: each model as it is built, which has to hold, and with one condition taken away, which
 * has to fail. Two models of the same thing have to agree.
 */

export type ModelFile = 'merge.pml' | 'collection.pml' | 'collection-log.pml'

export type Expectation =
  /** Everything has to hold, and each of these events has to be met: a model in which nothing happens proves nothing. */
  | { readonly type: 'holds'; readonly meets: readonly string[] }
  /** Something has to fail: the shortest counterexample in words. */
  | { readonly type: 'fails'; readonly because: string }
  /** The states of nodes are those that another model of the same thing has. */
  | { readonly type: 'agrees'; readonly other: ModelFile; readonly otherDefines: readonly string[] }

export interface Model {
  readonly name: string
  readonly file: ModelFile
  /** What is switched on in the file. */
  readonly defines: readonly string[]
  readonly expected: Expectation
  /** True for those that take minutes and gigabytes. */
  readonly isLong: boolean
}

interface HoldOptions {
  readonly isLong?: boolean
  readonly meets?: readonly string[]
}

const holds = (
  name: string,
  file: ModelFile,
  defines: readonly string[],
  { isLong = false, meets = [] }: HoldOptions = {},
): Model => ({ name, file, defines, expected: { type: 'holds', meets }, isLong })

const fails = (name: string, file: ModelFile, defines: readonly string[], because: string): Model => ({
  name,
  file,
  defines,
  expected: { type: 'fails', because },
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
  holds('changes and joins of states: heads and fields, five writes', 'merge.pml', ['JOINS', 'TOTAL=5'], {
    isLong: true,
  }),
  holds('inserts that leave fields out, five writes', 'merge.pml', ['CLEARING', 'TOTAL=5'], { isLong: true }),
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

/** What has to happen for collection to be tried at all. */
const COLLECTION_EVENTS: readonly string[] = [
  'a cut covers a tombstone that does not stand alone',
  'the server forgets, all has been written',
  'a member forgets, all has been written',
  'a tombstone is forgotten that had seen all members',
  'a row is written anew after it was forgotten',
  'a write from before the cut comes after it',
  'a write on top of a tombstone comes to a server that has forgotten it',
  'three heads, a delete among them, after the cut',
]

/** A server and three members, each of which writes twice at most. */
const COLLECTION: readonly Model[] = [
  holds('the stable cut travels in the log: six writes', 'collection-log.pml', [], { meets: COLLECTION_EVENTS }),
  holds('six writes and three cuts', 'collection-log.pml', ['CUTS=3'], { meets: COLLECTION_EVENTS }),
  holds('three writes of each, eight in all', 'collection-log.pml', ['WRITES=3', 'TOTAL=8'], {
    isLong: true,
    meets: COLLECTION_EVENTS,
  }),
  holds('every push, pull and acknowledgement by itself: four writes', 'collection.pml', ['TOTAL=4']),
  holds('every push, pull and acknowledgement by itself: five writes', 'collection.pml', ['TOTAL=5'], { isLong: true }),
  agrees('told from the log and step by step are the same: four writes', ['TOTAL=4'], false),
  agrees('told from the log and step by step are the same: four writes, two cuts', ['TOTAL=4', 'CUTS=2'], true),
  agrees('told from the log and step by step are the same: five writes', ['TOTAL=5'], true),
  ...(['collection.pml', 'collection-log.pml'] as const).flatMap((file) => [
    fails(
      'without (a): every live member’s clock covers the tombstone',
      file,
      ['TOTAL=3', 'SKIP_A'],
      'The server forgets a delete that a member has not heard of. What that member wrote at the same time is then no conflict for the server, and one for everybody else.',
    ),
    fails(
      'without (b): the row has no other head',
      file,
      ['TOTAL=3', 'SKIP_B'],
      'A row is forgotten with the write that stands beside its delete: an edit is dropped.',
    ),
    fails(
      'without (c): the server holds what each member had issued before it acknowledged',
      file,
      ['TOTAL=3', 'SKIP_C'],
      'A member has written, acknowledges the delete, and only then pushes. The server has forgotten what that write is in conflict with; its writer has not.',
    ),
    fails(
      'without (d): who passes the cut forgets, and nobody before or after',
      file,
      ['TOTAL=3', 'SKIP_D'],
      'A member hears of the cut while it still lags behind in the log. It forgets the delete, and then writes or pulls what others keep beside the delete.',
    ),
  ]),
]

function agrees(name: string, defines: readonly string[], isLong: boolean): Model {
  const expected = { type: 'agrees', other: 'collection.pml', otherDefines: defines } as const
  return { name, file: 'collection-log.pml', defines: [...defines, 'WHOLE'], expected, isLong }
}

export const MODELS: readonly Model[] = [...MERGE, ...COLLECTION]
