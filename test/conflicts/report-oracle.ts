/**
 * What has to be reported about a row, by set logic: from the changes that are known, each with the explicit set of those
 * that its writer had seen.
 *
 * Knows: the oracle of the merge, and what the documents say a conflict is. Must never know: clocks, heads or reports of the
 * code that it judges.
 */
import type { Conflict } from '../../core/index.ts'
import {
  broughtBy,
  fieldsOf,
  headsOf,
  inCanonicalOrder,
  isPart,
  type Known,
  type News,
  newsOf,
  numberOf,
  type OracleChange,
  type OraclePolicy,
  pickOf,
} from '../core/merge-oracle.ts'

/** A report without words and times. */
export interface ReportForm {
  readonly id: string
  readonly type: string
  readonly sides: readonly [SideForm, SideForm]
  /** Winners by field. */
  readonly fields: Readonly<Record<string, string | undefined>>
  readonly winner: string | undefined
}

export interface SideForm {
  readonly dot: string
  readonly op: string
  readonly values: Readonly<Record<string, number>>
}

export interface OracleRules {
  readonly policy: OraclePolicy
  readonly granularity: 'fields' | 'row'
}

/** The reports about a row, by id. */
export function expectedReports(known: Known, rules: OracleRules): ReportForm[] {
  const heads = headsOf(known)
  const reports: ReportForm[] = []
  for (const [at, right] of heads.entries()) {
    for (const left of heads.slice(0, at)) {
      const report = expectedReport(known, left, right, rules)
      if (report !== undefined) reports.push(report)
    }
  }
  return reports.sort(byId)
}

/** The report about two changes after one of them was overwritten: as if only what the two writers knew had happened. */
export function settledReport(known: Known, dots: readonly string[], rules: OracleRules): ReportForm | undefined {
  const tips = known.filter(({ dot }) => dots.includes(dot))
  const past = known.filter((change) => tips.some((tip) => tip === change || tip.seen.has(change.dot)))
  return expectedReports(past, rules)[0]
}

function expectedReport(
  known: Known,
  left: OracleChange,
  right: OracleChange,
  rules: OracleRules,
): ReportForm | undefined {
  const news = [newsOf(known, left, right), newsOf(known, right, left)] as const
  const contested = fieldsOf(known).filter((field) => news.every((part) => writersOf(part, field).length > 0))
  const type = typeOf(opAgainst(left, right), opAgainst(right, left), news, contested.length > 0, rules)
  if (type === 'agreement') return undefined
  const isByField = rules.granularity === 'fields' && left.op !== 'delete' && right.op !== 'delete'
  const decider = pickOf([left, right], rules.policy)?.dot
  const fields: Record<string, string | undefined> = {}
  for (const field of type === 'merged' ? [] : contested) {
    const writers = inCanonicalOrder([...writersOf(news[0], field), ...writersOf(news[1], field)])
    const shown = rules.policy === 'firstWriteWins' ? writers[0] : writers.at(-1)
    fields[field] = isByField ? (writersOf(news[1], field).includes(shown as OracleChange) ? right : left).dot : decider
  }
  const winners = new Set(isByField ? Object.values(fields) : [decider])
  const side = (head: OracleChange, other: OracleChange): SideForm => {
    const part = broughtBy(known, head, other, rules.granularity)
    const values = part.map(({ field }) => [field, shownOf(part, field, rules)] as const)
    return { dot: head.dot, op: opAgainst(head, other), values: Object.fromEntries(values) }
  }
  return {
    id: `${left.dot}~${right.dot}`,
    type,
    sides: [side(left, right), side(right, left)],
    fields,
    winner: type === 'merged' || winners.size !== 1 ? undefined : [...winners][0],
  }
}

/** Those that wrote a value to the field, and not a part of a counter. */
function writersOf(news: readonly News[], field: string): OracleChange[] {
  return news.filter((part) => part.field === field && !isPart(part.change, field)).map(({ change }) => change)
}

/** Two sides without a common past both inserted the row, whatever they call it. */
function opAgainst(head: OracleChange, other: OracleChange): string {
  if (head.op === 'insert' || head.op === 'delete') return head.op
  return [...head.seen].some((dot) => other.seen.has(dot)) ? 'update' : 'insert'
}

function typeOf(
  left: string,
  right: string,
  [leftNews, rightNews]: readonly [readonly News[], readonly News[]],
  isContested: boolean,
  { granularity }: OracleRules,
): string {
  if (left === 'delete' && right === 'delete') return 'agreement'
  if (left === 'delete') return 'delete-update'
  if (right === 'delete') return 'update-delete'
  if (contentOf(leftNews) === contentOf(rightNews)) return 'agreement'
  if (left === 'insert' && right === 'insert') return 'insert-insert'
  return isContested || granularity === 'row' ? 'update-update' : 'merged'
}

/** Equal texts, equal content. Parts of counters are equal to nothing: they add up. */
function contentOf(news: readonly News[]): string {
  const parts = news.map(
    ({ field, change }) => `${field} ${isPart(change, field) ? change.dot : numberOf(change, field)}`,
  )
  return parts.join()
}

/** What a side shows of its own in a field. A counter starts from one of the plain values that it has beside its parts. */
function shownOf(news: readonly News[], field: string, { policy }: OracleRules): number {
  const changes = news.filter((part) => part.field === field).map(({ change }) => change)
  const plain = changes.filter((change) => !isPart(change, field))
  const shown = policy === 'firstWriteWins' ? plain[0] : plain.at(-1)
  const parts = changes.filter((change) => isPart(change, field))
  return parts.reduce((sum, change) => sum + numberOf(change, field), shown === undefined ? 0 : numberOf(shown, field))
}

/** A report in the oracle's form. The ids are those of one row. */
export function toForm({ id, type, sides, fields, winner }: Conflict): ReportForm {
  const dotOf = (dot: { readonly replica: string; readonly seq: number }): string => `${dot.replica}:${dot.seq}`
  const [left, right] = sides.map(({ dot, op, values }) => ({
    dot: dotOf(dot),
    op,
    values: { ...values } as Record<string, number>,
  }))
  return {
    id: id.slice(0, id.indexOf('@')),
    type,
    sides: [left as SideForm, right as SideForm],
    fields: Object.fromEntries(fields.map((field) => [field.name, field.winner && dotOf(field.winner)])),
    winner: winner && dotOf(winner),
  }
}

export function byId(left: { readonly id: string }, right: { readonly id: string }): number {
  return left.id < right.id ? -1 : 1
}
