/**
 * Conflicts as they come about, by type and policy: for the statistics of a server, which defines no tables itself.
 *
 * Knows: what replicas said about their tables when they met. Must never know: values, who asks.
 *
 * Invariants:
 * CC1  Each pair of heads that a commit made concurrent is told once, after the commit. Agreement is not told.
 * CC2  A policy that is an app's own code is told as `custom`: its name is whatever a client made up.
 */
import { type ConflictType, relate } from './conflict.ts'
import { rememberedTables } from './definitions.ts'
import type { TouchedRow } from './draft.ts'
import { type Ledger, tell } from './ledger.ts'
import { type Head, sameStamp } from './row.ts'
import type { Slices } from './slices.ts'
import { parseTableFingerprint, type TableDefinition, table } from './table.ts'

export interface CountedConflict {
  readonly type: ConflictType | 'merged'
  /** Name and version, `custom`, or `undefined` for a table that no replica has defined. */
  readonly policy: string
}

interface KnownTable {
  readonly definition: TableDefinition
  readonly policy: string
}

/** Of one row that attracts writers without end, so many pairs of a commit are told: more says nothing more. */
const PAIRS_MAX = 64
/** Looking at a pair takes as long as the row has versions: of a row with many, fewer pairs. */
const VERSIONS_MAX = 16_384

/** Calls back with each conflict that comes about, some time after its commit. Answers with the way to stop. */
export function countConflicts(ledger: Ledger, count: (conflict: CountedConflict) => void): () => void {
  const known = new Map<string, KnownTable>()
  function* countRows(rows: readonly TouchedRow[]): Slices<undefined> {
    for (const row of rows) {
      const table = known.get(ledger.state.names.textOf(row.entry.table))
      if (table !== undefined) for (const conflict of conflictsOf(row, table, ledger)) tell(() => count(conflict))
      yield
    }
    return undefined
  }
  return ledger.onRows((rows) => {
    const contested = rows.filter(({ isConflicted }) => isConflicted)
    if (contested.length === 0) return
    const isKnown = contested.every(({ entry }) => known.has(ledger.state.names.textOf(entry.table)))
    if (isKnown) void ledger.inTurns(countRows(contested))
    else {
      const named = contested.map(({ entry }) => ledger.state.names.textOf(entry.table))
      learnTables(ledger, known, named).then(
        () => ledger.inTurns(countRows(contested)),
        // The store failed: whoever writes next hears of it.
        () => {},
      )
    }
  })
}

/** `named`: tables that are in use. What no replica has defined is not asked for again. */
async function learnTables(ledger: Ledger, known: Map<string, KnownTable>, named: readonly string[]): Promise<void> {
  for (const [name, fingerprint] of await rememberedTables(ledger)) {
    const definition = parseTableFingerprint(fingerprint)
    const policy = definition === undefined ? 'custom' : `${definition.policy.name}@${definition.policy.version}`
    known.set(name, { definition: definition ?? table(), policy })
  }
  for (const name of named) if (!known.has(name)) known.set(name, { definition: table(), policy: 'undefined' })
}

function* conflictsOf({ before, after }: TouchedRow, table: KnownTable, ledger: Ledger): Generator<CountedConflict> {
  const options = { state: after, dictionaries: ledger.state, rules: table.definition }
  let left = PAIRS_MAX
  let versions = 0
  for (const [one, other] of newPairs(before.heads, after.heads)) {
    if (left-- === 0 || versions > VERSIONS_MAX) return
    versions += after.versions.length
    const { relation } = relate(options, one, other)
    if (relation !== 'agreement') yield { type: relation, policy: table.policy }
  }
}

/** Pairs of heads of which one at least was not there before. */
function* newPairs(before: readonly Head[], after: readonly Head[]): Generator<readonly [Head, Head]> {
  const isOld = after.map((head) => before.some((other) => sameStamp(other, head)))
  for (const [right, rightHead] of after.entries()) {
    for (const [left, leftHead] of after.slice(0, right).entries()) {
      if (isOld[left] !== true || isOld[right] !== true) yield [leftHead, rightHead]
    }
  }
}
