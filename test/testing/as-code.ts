/**
 * Values as TypeScript that a user can paste.
 */
import type { Value } from '../../core/index.ts'

/** An expression for a value, on one line. What is no value is shown as a comment says. */
export function toCode(value: unknown): string {
  if (value === undefined) return 'undefined'
  if (typeof value === 'string') return quoteText(value)
  if (typeof value === 'number') return Object.is(value, -0) ? '-0' : String(value)
  if (typeof value !== 'object' || value === null)
    return typeof value === 'boolean' || value === null ? String(value) : comment(value)
  if (value instanceof Date) return `new Date(${value.getTime()})`
  if (value instanceof Uint8Array) return `new Uint8Array([${value.join(', ')}])`
  if (Array.isArray(value)) return `[${value.map(toCode).join(', ')}]`
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== null && prototype !== Object.prototype) return comment(value)
  const entries = Object.entries(value as Readonly<Record<string, Value>>)
  return entries.length === 0
    ? '{}'
    : `{ ${entries.map(([key, each]) => `${keyToCode(key)}: ${toCode(each)}`).join(', ')} }`
}

/** A text as it stands, and anything else as an expression. */
export function toText(value: unknown): string {
  return typeof value === 'string' ? value : toCode(value)
}

function quoteText(text: string): string {
  const inner = JSON.stringify(text).slice(1, -1).replaceAll('\\"', '"').replaceAll("'", "\\'")
  return `'${inner}'`
}

function keyToCode(key: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(key) ? key : quoteText(key)
}

function comment(value: unknown): string {
  const what = typeof value === 'function' ? 'a function' : Object.prototype.toString.call(value).slice(1, -1)
  return `undefined /* ${what} */`
}
