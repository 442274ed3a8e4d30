/**
 * Table definitions: what the app says about a table, and the types that flow from it.
 *
 * Knows: granularity, policy, validator. Must never know: rows, stores.
 */
import type { StandardSchemaV1 } from '@standard-schema/spec'
import type { Increment } from './counter.ts'
import { TidemarkError } from './errors.ts'
import { parseName, quote } from './names.ts'
import { FIELD_POLICIES, type FieldPolicy, type Granularity, lastWriteWins, POLICIES, type Policy } from './policy.ts'

/** What a row of a table must have: its id. Everything else is a field. */
export interface RowShape {
  readonly id: string
}

/** The fields that an update may change. */
export type RowPatch<Row extends RowShape> = {
  readonly [Field in Exclude<keyof Row, 'id'>]?:
    | Row[Field]
    | (Row[Field] extends number | undefined ? Increment : never)
}

export interface TableOptions<Row extends RowShape = RowShape> {
  /** `fields` (default): edits to different fields of a row both survive. `row`: the whole row of one writer wins. */
  readonly granularity?: Granularity
  /** How concurrent changes are settled; `lastWriteWins()` by default. */
  readonly policy?: Policy
  /** Fields that are settled in a way of their own: `{ price: max(), tags: union(), views: counter() }`. */
  readonly fields?: { readonly [Field in Exclude<keyof Row, 'id'>]?: FieldPolicy | Policy }
  /** What is remembered of conflicts that are settled. */
  readonly journal?: JournalOptions
  /** Any Standard Schema validator (zod, valibot, arktype …) of a whole row, checked at local writes. Must be synchronous. */
  readonly schema?: StandardSchemaV1<unknown, Row>
}

export interface JournalOptions {
  /** False: once it is settled, nothing is told of a conflict (losers may be personal data). True by default. */
  readonly isKept?: boolean
  /** True: reports and explanations of this table come without values that are not shown in the row. False by default. */
  readonly isRedacted?: boolean
  /** Settled conflicts are forgotten this many days after this replica learned of them. Without it, never. */
  readonly keptDays?: number
}

type ParsedJournal = Required<Pick<JournalOptions, 'isKept' | 'isRedacted'>> & Pick<JournalOptions, 'keptDays'>

export interface TableDefinition<Row extends RowShape = RowShape> {
  readonly granularity: Granularity
  readonly policy: Policy
  readonly fields: ReadonlyMap<string, FieldPolicy | Policy>
  readonly schema: StandardSchemaV1<unknown, Row> | undefined
  readonly journal: ParsedJournal
  /** Carries the type of a row; never there at run time. */
  readonly row?: Row
}

export type TableDefinitions = Readonly<Record<string, TableDefinition>>
export type RowOf<Definition> = Definition extends TableDefinition<infer Row> ? Row : never

export function table<Row extends RowShape>(options: TableOptions<Row> = {}): TableDefinition<Row> {
  const granularity = options.granularity ?? 'fields'
  if (granularity !== 'fields' && granularity !== 'row') {
    throw new TidemarkError('bad-option', `granularity must be 'fields' or 'row', not ${quote(granularity)}`)
  }
  const fields = parseFields(options.fields ?? {})
  if (fields.size > 0 && granularity === 'row') {
    throw new TidemarkError('bad-option', "fields have policies of their own only with granularity 'fields'")
  }
  return {
    granularity,
    policy: options.policy ?? lastWriteWins(),
    fields,
    schema: options.schema,
    journal: parseJournal(options.journal),
  }
}

function parseJournal(options: JournalOptions = {}): ParsedJournal {
  const { keptDays } = options
  if (keptDays !== undefined && !(Number.isFinite(keptDays) && keptDays > 0)) {
    throw new TidemarkError('bad-option', `keptDays must be a positive number, not ${quote(keptDays)}`)
  }
  return { isKept: true, isRedacted: false, ...options }
}

function parseFields(
  fields: Readonly<Record<string, FieldPolicy | Policy | undefined>>,
): Map<string, FieldPolicy | Policy> {
  const parsed = new Map<string, FieldPolicy | Policy>()
  for (const [name, policy] of Object.entries(fields)) {
    if (policy === undefined) continue
    if ('decide' in policy && policy.decide !== undefined) {
      throw new TidemarkError('bad-option', `policy ${policy.name} decides whole rows, not field ${name}`, {
        remedy: 'Use customField for a field',
      })
    }
    parsed.set(parseName(name, 'field'), policy)
  }
  return parsed
}

/** A definition as far as convergence depends on it: equal texts, equal values on every replica. */
export function tableFingerprint({ granularity, policy, fields }: TableDefinition): string {
  const own = [...fields].map(([name, each]) => `${name}:${each.name}@${each.version}`).sort()
  return [granularity, `${policy.name}@${policy.version}`, ...own].join(' ')
}

/** The definition behind a fingerprint; undefined where it names a policy of an app's own code, or a version of another engine. */
export function parseTableFingerprint(fingerprint: string): TableDefinition | undefined {
  const [granularity, policy, ...own] = fingerprint.split(' ')
  const rowPolicy = [...POLICIES.values()].find((each) => `${each.name}@${each.version}` === policy)
  if ((granularity !== 'fields' && granularity !== 'row') || rowPolicy === undefined) return undefined
  const fields: [string, FieldPolicy | Policy][] = []
  for (const text of own) {
    const [name = '', identity] = text.split(':')
    const known = [...POLICIES.values(), ...FIELD_POLICIES.values()]
    const found = known.find((each) => `${each.name}@${each.version}` === identity)
    if (found === undefined) return undefined
    fields.push([name, found])
  }
  return table({
    granularity,
    policy: rowPolicy,
    fields: Object.fromEntries(fields) as Readonly<Record<string, never>>,
  })
}

export function parseTables(tables: TableDefinitions): ReadonlyMap<string, TableDefinition> {
  const parsed = new Map<string, TableDefinition>()
  for (const [name, definition] of Object.entries(tables)) parsed.set(parseName(name, 'table'), definition)
  return parsed
}

/** Checks a whole row against the table's validator. Throws `invalid-row` with the validator's own words. */
export function validateRow(name: string, definition: TableDefinition, row: unknown): void {
  if (definition.schema === undefined) return
  const result = definition.schema['~standard'].validate(row)
  if (result instanceof Promise) {
    throw new TidemarkError('bad-option', `the validator of table ${name} is asynchronous`, {
      remedy: 'Use a synchronous schema: a write cannot wait for the outside',
    })
  }
  if (result.issues === undefined) return
  const issues = result.issues.map((issue) => {
    const path = (issue.path ?? []).map((part) => String(typeof part === 'object' ? part.key : part)).join('.')
    return path === '' ? issue.message : `${path}: ${issue.message}`
  })
  throw new TidemarkError('invalid-row', `the row does not fit table ${name}: ${issues.join('; ')}`, {
    details: { issues },
  })
}
