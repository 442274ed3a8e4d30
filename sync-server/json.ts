/**
 * JSON of what JSON has not: dates, bytes and clocks, as `{ "$date": … }`, `{ "$bytes": … }` and as they write themselves.
 *
 * Invariant JS1: what a terminal might obey is escaped, also where JSON leaves it as it is.
 */

/** Control characters, and those that turn the direction of writing. */
export const UNSEEN: RegExp = /[\p{Cc}\u2028-\u202e\u2066-\u2069]/gu

export function toJson(value: unknown, indent = 2): string {
  const text = JSON.stringify(tag(value), undefined, indent)
  return text.replace(UNSEEN, (character) =>
    character === '\n' ? character : `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

function tag(value: unknown): unknown {
  if (value instanceof Date) return { $date: value.toISOString() }
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString('base64') }
  if (Array.isArray(value)) return value.map(tag)
  if (typeof value !== 'object' || value === null) return value
  if ('toJSON' in value && typeof value.toJSON === 'function') return (value.toJSON as () => unknown)()
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, tag(each)]))
}
