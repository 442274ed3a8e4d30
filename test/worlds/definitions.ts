/**
 * The ways in which a world's table can be settled: every policy that comes with the engine in both granularities, every
 * policy of fields, and code of an app's own that does what it must not, or may and is odd.
 */
import {
  type ConcurrentRow,
  causal,
  counter,
  custom,
  customField,
  deleteWins,
  firstWriteWins,
  lastWriteWins,
  longestText,
  max,
  min,
  type Policy,
  type TableDefinition,
  table,
  union,
  updateWins,
  type Value,
} from '../../core/index.ts'
import type { Cell } from './values.ts'

const BUILT_IN: readonly Policy[] = [lastWriteWins(), causal(), firstWriteWins(), deleteWins(), updateWins()]

const rowsOf = (versions: readonly ConcurrentRow[]): Readonly<Record<string, Value>>[] =>
  versions.flatMap(({ row }) => (row === undefined ? [] : [row]))

/** It goes by the order of properties. */
const byFirstKey = custom('byFirstKey', 1, (versions) => {
  const rows = rowsOf(versions)
  return rows.find((row) => JSON.stringify(row) === rows.map((each) => JSON.stringify(each)).sort()[0]) ?? null
})
/** It makes a row of both: a new object each time, with its keys turned round. */
const merging = custom('merging', 1, (versions) => {
  if (versions.some(({ op }) => op === 'delete')) return null
  return Object.fromEntries(
    rowsOf(versions)
      .flatMap((row) => Object.entries(row))
      .reverse(),
  )
})
const throwing = custom('throwing', 1, (versions) => {
  if (versions.length > 2) throw new Error(`${versions.length} are too many`)
  return versions.find(({ op }) => op !== 'delete')?.row ?? null
})
const endless = custom('endless', 1, (versions) => {
  while (versions.length > 1) if (versions[0]?.op === 'insert') return null
  return null
})
const unstorable = custom('unstorable', 1, (versions) => ({ a: versions.length > 2 ? Number.NaN : 2 ** 53 - 1 }))
/** It changes what it was given, where it can. */
const changing = custom('changing', 1, (versions) => {
  for (const { row } of versions) {
    if (row?.a instanceof Date) row.a.setTime(7)
    if (row?.b instanceof Uint8Array) row.b.fill(9)
  }
  const [first] = rowsOf(versions)
  if (versions.length > 2) Object.assign(first ?? {}, { a: 1 })
  return first ?? null
})
/** It looks for the versions that are not the best by identity. */
const byIdentity = custom('byIdentity', 1, (versions) => {
  const best = versions.reduce((one, other) => (other.written.length > one.written.length ? other : one))
  const rest = versions.filter((version) => version !== best)
  return rest.length === versions.length - 1 ? (best.row ?? null) : { a: 'identity is lost' }
})
const inventing = custom('inventing', 1, (versions) => ({ ...versions[0]?.row, [`f${versions.length}`]: 1 }))

const odd = customField('odd', 1, (versions) => {
  const value = versions.find((version) => Number(version.value) % 2 === 1)?.value
  if (value === undefined) throw new Error('none is odd')
  return value
})
const together = customField('together', 1, (versions) => versions.map(({ value }) => value))
const turning = customField('turning', 1, (versions) => {
  const [first] = versions
  return first !== undefined && Array.isArray(first.value) ? first.value.reverse() : { it: first?.value ?? null }
})

const OWN: readonly Policy[] = [byFirstKey, merging, throwing, endless, unstorable, changing, byIdentity, inventing]

const byName: [string, TableDefinition<Cell>][] = [...BUILT_IN, ...OWN].flatMap((policy) => [
  [`${policy.name} by fields`, table<Cell>({ policy })],
  [`${policy.name} by row`, table<Cell>({ policy, granularity: 'row' })],
])

export const DEFINITIONS: ReadonlyMap<string, TableDefinition<Cell>> = new Map([
  ...byName,
  ['max, min and a counter', table<Cell>({ fields: { a: max(), b: min(), n: counter() } })],
  ['union and longestText', table<Cell>({ fields: { a: union(), b: longestText(), c: firstWriteWins() } })],
  ['code for fields', table<Cell>({ fields: { a: odd, b: together, c: turning } })],
  ['a counter of causal rows', table<Cell>({ policy: causal(), fields: { n: counter(), a: causal() } })],
  ['a counter where deletes win', table<Cell>({ policy: deleteWins(), fields: { n: counter(), a: union() } })],
  ['a counter where updates win', table<Cell>({ policy: updateWins(), fields: { n: counter(), b: max() } })],
  ['a counter with code', table<Cell>({ policy: merging, fields: { n: counter() } })],
  ['counters only', table<Cell>({ fields: { a: counter(), b: counter(), c: counter(), n: counter() } })],
])
export const DEFINITION_NAMES: readonly string[] = [...DEFINITIONS.keys()]

export function definitionOf(name: string): TableDefinition<Cell> {
  const definition = DEFINITIONS.get(name)
  if (definition === undefined) throw new RangeError(`there is no definition ${name}`)
  return definition
}
