/** Scopes, tables, and the app's own rule. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Proposal, parseReplicaId, parseTenantName } from '../../core/index.ts'
import {
  createJudge,
  expectScope,
  hasScope,
  mayRead,
  mayReadLog,
  mayWrite,
  type Principal,
  SCOPES,
  type Scope,
} from '../../tenant/index.ts'

function principal(scopes: readonly Scope[], tables?: readonly string[]): Principal {
  return {
    tenant: parseTenantName('acme'),
    subject: 'ada',
    scopes: new Set(scopes),
    tables: tables === undefined ? undefined : new Set(tables),
    writeTables: undefined,
    issuedAtMs: 0,
    expiresAtMs: 1,
    tokenId: undefined,
  }
}

const DOT = { replica: parseReplicaId('00000000-0000-4000-8000-000000000000'), seq: 1 }
const CHANGE: Proposal = { dot: DOT, table: 'notes', id: '1', op: 'update', values: { text: 'b' }, row: { text: 'a' } }

describe('a scope', () => {
  test.each(SCOPES)('TA1: %s grants itself and nothing else', (scope) => {
    const alone = principal([scope])
    expect(SCOPES.filter((other) => hasScope(alone, other))).toEqual([scope])
    for (const other of SCOPES) {
      if (other === scope) expect(() => expectScope(alone, other)).not.toThrow()
      else expect(() => expectScope(alone, other)).toThrow(`no ${other} scope`)
    }
    expect(mayRead(alone, 'notes')).toBe(scope === 'read')
    expect(mayWrite(alone, 'notes')).toBe(scope === 'write')
    expect(mayReadLog(alone)).toBe(scope === 'read')
  })

  test('regression 28: a read scope is never enough to push', () => {
    expect(createJudge({ principal: () => principal(['read', 'relay', 'admin']), authorize: () => true })(CHANGE)).toBe(
      'forbidden',
    )
  })
})

describe('a list of tables', () => {
  test('lets its tables through and no other, and never the log as a whole', () => {
    const few = principal(['read', 'write'], ['notes', 'tags'])
    for (const table of ['notes', 'tags']) expect([mayRead(few, table), mayWrite(few, table)]).toEqual([true, true])
    for (const table of ['note', 'Notes', '', '__proto__', 'users'])
      expect([mayRead(few, table), mayWrite(few, table)]).toEqual([false, false])
    expect(mayReadLog(few)).toBe(false)
  })

  test('to write leaves reading as it is', () => {
    const editor = { ...principal(['read', 'write']), writeTables: new Set(['notes', 'tags']) }
    expect(mayReadLog(editor)).toBe(true)
    for (const table of ['notes', 'tags', 'users']) expect(mayRead(editor, table)).toBe(true)
    expect(['notes', 'tags', 'users', 'Notes', ''].map((table) => mayWrite(editor, table))).toEqual([
      true,
      true,
      false,
      false,
      false,
    ])
    expect(mayWrite({ ...editor, tables: new Set(['users']) }, 'notes')).toBe(false)
    expect(mayWrite({ ...editor, writeTables: new Set() }, 'notes')).toBe(false)
    expect(mayWrite({ ...principal(['read']), writeTables: new Set(['notes']) }, 'notes')).toBe(false)
  })

  test('that is empty lets nothing through', () => {
    expect(mayWrite(principal(['write'], []), 'notes')).toBe(false)
  })
})

describe('a judge', () => {
  const writer = principal(['write'], ['notes'])

  test('lets pass what scope, table and the app’s rule all allow', () => {
    const asked: unknown[] = []
    const authorize = (...args: unknown[]): boolean => asked.push(args) > 0
    expect(createJudge({ principal: () => writer, authorize })(CHANGE)).toBeUndefined()
    expect(asked).toEqual([[CHANGE, writer, CHANGE.row]])
    expect(createJudge({ principal: () => writer })(CHANGE)).toBeUndefined()
  })

  test('asks the app’s rule only about what it may allow', () => {
    const authorize = (): boolean => {
      throw new Error('asked')
    }
    const faults: unknown[] = []
    const judge = createJudge({ principal: () => writer, authorize, onFault: (error) => faults.push(error) })
    expect(judge({ ...CHANGE, table: 'users' })).toBe('forbidden')
    expect(faults).toEqual([])
    expect(judge(CHANGE)).toBe('forbidden')
    expect(faults).toEqual([new Error('asked')])
  })

  test('TA2: refuses on any other answer than true, a promise of it included', () => {
    const answers = fc.oneof(fc.anything(), fc.constantFrom(1, 'true', {}, [], Promise.resolve(true), undefined))
    fc.assert(
      fc.property(
        answers.filter((answer) => answer !== true),
        (answer) => {
          const judge = createJudge({ principal: () => writer, authorize: () => answer as boolean })
          expect(judge(CHANGE)).toBe('forbidden')
        },
      ),
    )
  })

  test('goes by the principal of now, not of when the session began', () => {
    let current = writer
    const judge = createJudge({ principal: () => current })
    expect(judge(CHANGE)).toBeUndefined()
    current = principal(['read'])
    expect(judge(CHANGE)).toBe('forbidden')
  })
})
