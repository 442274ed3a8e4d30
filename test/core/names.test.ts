/** Names and ids from outside: what is let pass, and what anything else gets. */

import { describe, expect, test } from 'vitest'
import { isTidemarkError } from '../../core/errors.ts'
import { createReplicaId, isName, parseName, parseReplicaId, parseTenantName, quote } from '../../core/names.ts'

function codeOf(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return isTidemarkError(error) ? error.code : error
  }
  return undefined
}

describe('a tenant name', () => {
  test.each(['a', '0', 'acme', 'a-b_c', `a${'b'.repeat(62)}`])('may be %s', (name) => {
    expect(parseTenantName(name)).toBe(name)
  })

  test.each(['', '-a', '_a', 'A', 'a.b', 'a/b', '..', 'a b', 'a\n', 'é', `a${'b'.repeat(63)}`])(
    'may not be %j',
    (name) => {
      expect(codeOf(() => parseTenantName(name))).toBe('bad-tenant')
    },
  )
})

describe('a table or field name', () => {
  test.each(['a', 'A1_', 'toString', 'x'.repeat(63)])('may be %s', (name) => {
    expect(isName(name)).toBe(true)
    expect(parseName(name, 'field')).toBe(name)
  })

  test.each(['', '_a', '1a', 'a-b', 'a.b', 'é', 'a\n', '__proto__', 'constructor', 'prototype', 'x'.repeat(64)])(
    'may not be %j',
    (name) => {
      expect(isName(name)).toBe(false)
      expect(codeOf(() => parseName(name, 'table'))).toBe('bad-name')
    },
  )
})

describe('a replica id', () => {
  test('is a UUID in lower case, and each new one is another', () => {
    const ids = new Set(Array.from({ length: 1_000 }, createReplicaId))
    expect(ids.size).toBe(1_000)
    for (const id of ids) expect(parseReplicaId(id)).toBe(id)
  })

  test.each(['', 'a', 'A0000000-0000-4000-8000-000000000000', 'a0000000-0000-4000-8000-000000000000\n'])(
    'may not be %j',
    (id) => {
      expect(codeOf(() => parseReplicaId(id))).toBe('bad-id')
    },
  )
})

describe('what is no text at all', () => {
  const NO_TEXTS: readonly (readonly [what: string, value: unknown])[] = [
    ['undefined', undefined],
    ['null', null],
    ['a number', 1],
    ['a symbol', Symbol('s')],
    ['an array', ['a']],
    ['an object', {}],
    ['an object without a prototype, as values decode to', Object.create(null)],
    [
      'an object whose toString throws',
      {
        toString() {
          throw new Error('hostile')
        },
      },
    ],
  ]

  test.each(NO_TEXTS)('is refused with the right code: %s', (_, value) => {
    expect(codeOf(() => parseTenantName(value))).toBe('bad-tenant')
    expect(codeOf(() => parseReplicaId(value))).toBe('bad-id')
    expect(codeOf(() => parseName(value, 'table'))).toBe('bad-name')
  })
})

test('text from outside is short and has no control characters when it is quoted', () => {
  expect(quote('a"b')).toBe('"a\\"b"')
  expect(quote('x'.repeat(1_000)).length).toBeLessThan(100)
  const hostile = quote('\n\r\0\u001b[31m\u007f\u0085\u009b\u2028\u2029\ud800')
  for (const character of hostile) {
    const code = character.codePointAt(0) as number
    expect(code < 0x20 || (code >= 0x7f && code <= 0x9f) || code === 0x2028 || code === 0x2029, hostile).toBe(false)
  }
})
