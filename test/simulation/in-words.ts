/**
 * Events and rows in words, for people who read a failure.
 *
 * Must never know: whether what it puts into words is right.
 */
import { toText } from '../testing/as-code.ts'
import type { Bits, History, Recorded, RowHistory } from './history.ts'
import type { PlanEvent, PlannedOp } from './plan.ts'

/** In what a row as it is differs from what it should be, or from another one; both as they stand in the bytes. */
export function describeDifference(history: History, left: string, right: string, between: string): string {
  const [here, there] = [partsOf(left), partsOf(right)]
  if (here === undefined || there === undefined)
    return `${rowInWords(history, here)}${between}${rowInWords(history, there)}`
  const parts = (['heads', 'fields', 'clock'] as const).flatMap((part) => {
    const [mine, theirs] = [here[part], there[part]]
    return mine === theirs ? [] : [`${part} ${inWords(history, part, mine)}${between}${inWords(history, part, theirs)}`]
  })
  return parts.join('; ')
}

/** What a change says. */
export function describeChange(change: Recorded): string {
  const { op, row, values } = change
  const fields = [...values].map(([name, value]) => `${name}=${withoutFilling(value)}`)
  return [`${op} ${row.name}`, ...fields].join(' ')
}

/** The changes of a row that somebody holds. */
export function heldInWords(row: RowHistory, set: Bits): string {
  const held = row.list(set).map(({ op, replica, seq }) => `${op} ${row.history.dotName(replica, seq)}`)
  return held.join(', ') || 'nothing'
}

/** What values are filled up with says nothing. */
export function withoutFilling(text: string): string {
  return text.replaceAll(/\.{8,}/g, '…')
}

interface Parts {
  readonly heads: string
  readonly fields: string
  readonly clock: string
}

function partsOf(text: string): Parts | undefined {
  const [, heads = '', fields = '', clock = ''] = /^\[(.*?)\] \{(.*)\} <(.*)>$/s.exec(text) ?? []
  return text === '' ? undefined : { heads, fields, clock }
}

function rowInWords(history: History, parts: Parts | undefined): string {
  if (parts === undefined) return 'absent'
  return `a row with the heads ${inWords(history, 'heads', parts.heads)} and the fields ${inWords(history, 'fields', parts.fields)}`
}

function inWords(history: History, part: keyof Parts, text: string): string {
  if (text === '') return '(none)'
  const named = history.forPeople(text)
  return part === 'heads' ? `[${named.split(' ').map(headInWords).join(', ')}]` : `[${named}]`
}

/** A head reads `update(a,b)@red-0.3`. */
function headInWords(head: string): string {
  const [, op = head, fields = '', dot = ''] = /^(\w+)\(([^)]*)\)@(.+)$/.exec(head) ?? []
  return fields === '' ? `${op} ${dot}` : `${op} ${dot} (of ${fields})`
}

export function describeEvent(event: PlanEvent): string {
  switch (event.type) {
    case 'write':
    case 'rewrite':
    case 'sibling-write':
      return `${event.node}: ${event.type} ${describeOp(event.op)}`
    case 'transaction':
      return `${event.node}: transaction ${event.ops.map(describeOp).join('; ')}`
    case 'read':
      return `${event.node}: read ${event.table}/${event.row}`
    default: {
      const { at, type, ...rest } = event
      const { node, ...details } = { node: 'everybody', ...rest }
      const text = Object.entries(details).map(([name, value]) => `${name} ${JSON.stringify(value)}`)
      return [`${node}: ${type}`, ...text].join(', ')
    }
  }
}

function describeOp({ kind, table, row, values }: PlannedOp): string {
  const fields = Object.entries(values).map(([name, value]) => `${name}=${toText(value)}`)
  return [kind, `${table}/${row}`, ...fields].join(' ')
}
