/**
 * Explanations: why a row has the value it has, field by field, in the order of their names.
 */
import type { Dot } from './clock.ts'
import { decodeField, isCounter } from './counter.ts'
import type { Ledger } from './ledger.ts'
import { type ChangeOp, publicOp, type RowState, sameValue, type Version } from './row.ts'
import { fieldsNeeded, RowHistory, readPast, replayChanges } from './row-past.ts'
import { type SettledRow, settleField, settleRow, toDot, withoutMessage } from './settle.ts'
import type { TableDefinition } from './table.ts'
import { timestampToMs } from './timestamp.ts'
import type { Value } from './value.ts'

export interface ExplainedValue {
  /** Undefined where the table's journal is redacted. */
  readonly value: Value | undefined
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
  readonly heads: readonly { readonly dot: Dot; readonly op: ChangeOp; readonly time: number }[]
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
  const history = new RowHistory(ledger.log, state.position)
  for (const version of settled.versions) fields.push(await explainField(options, history, version))
  return {
    table: options.table,
    id: options.id,
    exists: settled.isAlive,
    heads: state.heads.map((head) => ({
      dot: toDot(head, ledger.state),
      op: publicOp(head),
      time: timestampToMs(head.timestamp),
    })),
    policy: `${definition.policy.name}@${definition.policy.version}`,
    reason: explainExistence(options, settled),
    fallback: shownFallback(settled.fallback, definition),
    fields: fields.sort((a, b) => (a.name < b.name ? -1 : 1)),
  }
}

async function explainField(options: ExplainOptions, history: RowHistory, shown: Version): Promise<ExplainedField> {
  const { ledger, state } = options
  const versions = state.versions.filter(({ name }) => name === shown.name)
  // A policy's own code answers with a version of its own; one that was written may say the same.
  const source = versions.filter((version) => sameValue(version, shown)).pop() ?? shown
  return {
    name: ledger.state.names.textOf(shown.name),
    value: decodeField(shown),
    dot: toDot(source.stamp, ledger.state),
    time: timestampToMs(source.stamp.timestamp),
    overwrote: await findOverwritten(options, history, source),
    competedWith: versions.filter((version) => version !== source).map((version) => toExplained(options, version)),
    reason: explainChoice(options, versions, source),
  }
}

/** Of a value that is not shown in the row. */
function toExplained({ ledger, definition }: ExplainOptions, version: Version): ExplainedValue {
  const { stamp } = version
  const value = definition.journal.isRedacted ? undefined : decodeField(version)
  return { value, dot: toDot(stamp, ledger.state), time: timestampToMs(stamp.timestamp) }
}

function shownFallback(fallback: string | undefined, { journal }: TableDefinition): string | undefined {
  return fallback === undefined || !journal.isRedacted ? fallback : withoutMessage(fallback)
}

/** What the field showed to the writer of a version. */
async function findOverwritten(
  options: ExplainOptions,
  history: RowHistory,
  { stamp, name }: Version,
): Promise<ExplainedValue | undefined> {
  const { ledger, table, id, definition } = options
  const writer = await ledger.log.entryOf(stamp.replica, stamp.seq)
  if (writer === undefined || writer.entry.op === 'void' || writer.entry.id !== id) return undefined
  if (ledger.state.names.textOf(writer.entry.table) !== table) return undefined
  const past = await readPast({ history, tips: [writer.entry], fields: fieldsNeeded(definition, [name]) })
  if (!past.hasShared) return undefined
  const before = settleRow(replayChanges(past.shared, ledger.state.replicas), definition, ledger.state)
  const version = before.versions.find((each) => each.name === name)
  return version && toExplained(options, version)
}

function explainChoice(
  { state, definition, ledger }: ExplainOptions,
  versions: readonly Version[],
  shown: Version,
): string {
  const { policy } = definition
  const dot = toDot(shown.stamp, ledger.state)
  const author = `replica ${dot.replica} (change ${dot.seq})`
  if (state.heads.length > 1 && policy.decide !== undefined) {
    const fallback = shownFallback(settleRow(state, definition, ledger.state).fallback, definition)
    if (fallback !== undefined) return `The ${fallback}.`
    if (!versions.includes(shown)) return `Policy ${policy.name} made it of ${state.heads.length} concurrent changes.`
    return `Of ${state.heads.length} concurrent changes, ${policy.name} kept the value of ${author}.`
  }
  const parts = versions.filter(isCounter).length
  if (parts > 0) return `The field counts: it shows the sum of ${parts} replicas' increments.`
  if (versions.length < 2) return 'It is the only value: whoever wrote it had seen every earlier one.'
  if (definition.granularity === 'row')
    return `The row is shown as ${author} left it: ${policy.name} settles it as a whole.`
  const { isMade, ...settled } = settleField(versions, definition, ledger.state)
  const fallback = shownFallback(settled.fallback, definition)
  const own = definition.fields.get(ledger.state.names.textOf(shown.name)) ?? policy
  if (fallback !== undefined) return `The ${fallback}.`
  if (isMade) return `Policy ${own.name} made it of ${versions.length} concurrent values.`
  return `Of ${versions.length} concurrent values, ${own.name} chose that of ${author}.`
}

function explainExistence({ ledger, state, definition }: ExplainOptions, { isAlive, winner }: SettledRow): string {
  if (state.heads.length === 0) return 'Nobody ever wrote this row, or it was deleted and forgotten.'
  const shows = isAlive ? 'exists' : 'is deleted'
  if (state.heads.length === 1) return `The row ${shows}: its last change had seen all others.`
  const among = `The row ${shows}: of ${state.heads.length} concurrent changes, ${definition.policy.name}`
  if (winner === undefined) return `${among} decided.`
  const { replica, seq } = toDot(winner, ledger.state)
  return `${among} chose the ${publicOp(winner)} of replica ${replica} (change ${seq}).`
}
