/**
 * Explanations: why a row has the value it has, field by field.
 */
import type { ChangeEntry } from './block.ts'
import { clockCovers, type Dot } from './clock.ts'
import { decodeField, isCounter } from './counter.ts'
import type { Ledger } from './ledger.ts'
import type { Op, RowState, Version } from './row.ts'
import { settleField, settleRow, toDot } from './settle.ts'
import type { TableDefinition } from './table.ts'
import { timestampToMs } from './timestamp.ts'
import type { Value } from './value.ts'

export interface ExplainedValue {
  readonly value: Value
  readonly dot: Dot
  /** Unix milliseconds, from the writer's hybrid clock. */
  readonly time: number
}

export interface ExplainedField {
  readonly name: string
  readonly value: Value
  /** The change that wrote the value; of several that a policy made one of, the newest. */
  readonly dot: Dot
  readonly time: number
  /** What the writer had seen there; undefined when there was nothing or the log does not reach back. */
  readonly overwrote: ExplainedValue | undefined
  /** Concurrent values that are not shown. */
  readonly competedWith: readonly ExplainedValue[]
  readonly reason: string
}

export interface Explanation {
  readonly table: string
  readonly id: string
  readonly exists: boolean
  /** The changes of the row that no other known change covers. */
  readonly heads: readonly { readonly dot: Dot; readonly op: Op; readonly time: number }[]
  readonly policy: string
  readonly reason: string
  readonly fallback: string | undefined
  readonly fields: readonly ExplainedField[]
}

export interface ExplainOptions {
  readonly ledger: Ledger
  readonly table: string
  readonly id: string
  readonly state: RowState
  readonly definition: TableDefinition
}

export async function explainRow(options: ExplainOptions): Promise<Explanation> {
  const { ledger, state, definition } = options
  const settled = settleRow(state, definition, ledger.state)
  const fields: ExplainedField[] = []
  const history = await readHistory(ledger, state)
  for (const version of settled.versions) fields.push(explainField(options, version, history))
  return {
    table: options.table,
    id: options.id,
    exists: settled.isAlive,
    heads: state.heads.map((head) => ({
      dot: toDot(head, ledger.state),
      op: head.op,
      time: timestampToMs(head.timestamp),
    })),
    policy: `${definition.policy.name}@${definition.policy.version}`,
    reason: explainExistence(state, settled.isAlive, definition),
    fallback: settled.fallback,
    fields,
  }
}

const HISTORY_MAX = 10_000

async function readHistory(ledger: Ledger, state: RowState): Promise<ChangeEntry[]> {
  const entries: ChangeEntry[] = []
  for await (const { entry } of ledger.log.rowHistory(state.position)) {
    if (entry.op !== 'void') entries.push(entry)
    if (entries.length === HISTORY_MAX) break
  }
  return entries
}

function explainField(
  { ledger, state, definition }: ExplainOptions,
  shown: Version,
  history: readonly ChangeEntry[],
): ExplainedField {
  const versions = state.versions.filter(({ name }) => name === shown.name)
  const others = versions.filter((version) => version !== shown)
  const name = ledger.state.names.textOf(shown.name)
  return {
    name,
    value: decodeField(shown),
    dot: toDot(shown.stamp, ledger.state),
    time: timestampToMs(shown.stamp.timestamp),
    overwrote: findOverwritten(ledger, shown, history),
    competedWith: versions.length > 1 ? others.map((version) => toExplained(ledger, version)) : [],
    reason: explainChoice(versions, shown, definition, ledger, name),
  }
}

function toExplained(ledger: Ledger, version: Version): ExplainedValue {
  const { stamp } = version
  return { value: decodeField(version), dot: toDot(stamp, ledger.state), time: timestampToMs(stamp.timestamp) }
}

/** The newest older change of the field that the writer of the shown one had seen. */
function findOverwritten(ledger: Ledger, shown: Version, history: readonly ChangeEntry[]): ExplainedValue | undefined {
  const writer = history.find(({ replica, seq }) => replica === shown.stamp.replica && seq === shown.stamp.seq)
  if (writer === undefined) return undefined
  for (const entry of history) {
    if (!clockCovers(writer.context, entry.replica, entry.seq)) continue
    const version = entry.versions.find(({ name }) => name === shown.name)
    if (version !== undefined) return toExplained(ledger, version)
  }
  return undefined
}

function explainChoice(
  versions: readonly Version[],
  shown: Version,
  definition: TableDefinition,
  ledger: Ledger,
  name: string,
): string {
  if (versions.some(isCounter)) return `The field counts: it shows the sum of ${versions.length} replicas' increments.`
  if (versions.length < 2) return 'It is the only value: whoever wrote it had seen every earlier one.'
  if (definition.granularity === 'row') return `The row is settled as a whole by ${definition.policy.name}.`
  const { isMade, fallback } = settleField(versions, definition, ledger.state)
  const policy = definition.fields.get(name) ?? definition.policy
  if (fallback !== undefined) return `The ${fallback}.`
  if (isMade) return `Policy ${policy.name} made it of ${versions.length} concurrent values.`
  const { replica, seq } = toDot(shown.stamp, ledger.state)
  return `Of ${versions.length} concurrent values, ${policy.name} chose that of replica ${replica} (change ${seq}).`
}

function explainExistence(state: RowState, isAlive: boolean, { policy }: TableDefinition): string {
  if (state.heads.length === 0) return 'Nobody ever wrote this row, or it was deleted and forgotten.'
  const shows = isAlive ? 'exists' : 'is deleted'
  if (state.heads.length === 1) return `The row ${shows}: its last change had seen all others.`
  return `The row ${shows}: of ${state.heads.length} concurrent changes, ${policy.name} decided.`
}
