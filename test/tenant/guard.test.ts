/** A session in mid-life: warned, renewed, expired, revoked. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { parseTenantName } from '../../core/index.ts'
import { type Principal, type Revocation, Revocations, SessionGuard } from '../../tenant/index.ts'

const HOUR_MS = 3_600_000

function principal(changed: Partial<Principal> = {}): Principal {
  return {
    tenant: parseTenantName('acme'),
    subject: 'ada',
    scopes: new Set(['read']),
    tables: undefined,
    writeTables: undefined,
    issuedAtMs: 0,
    expiresAtMs: HOUR_MS,
    tokenId: 'first',
    ...changed,
  }
}

function typesAt(guard: SessionGuard, ...timesMs: readonly number[]): readonly string[] {
  return timesMs.map((timeMs) => guard.check(timeMs).type)
}

function codeOf(run: () => void): string {
  try {
    run()
    return 'no error'
  } catch (error) {
    return (error as { readonly code: string }).code
  }
}

describe('a session guard', () => {
  const nobody = (): boolean => false

  test('TG1: warns once 60 s before the end, and lets nothing pass from 5 s after it', () => {
    const guard = new SessionGuard(principal(), nobody)
    expect(guard.dueAtMs).toBe(HOUR_MS - 60_000)
    expect(typesAt(guard, 0, HOUR_MS - 60_001, HOUR_MS - 60_000, HOUR_MS - 59_999)).toEqual([
      'pass',
      'pass',
      'warn',
      'pass',
    ])
    expect([guard.state, guard.dueAtMs]).toEqual(['warned', HOUR_MS + 5_000])
    expect(typesAt(guard, HOUR_MS, HOUR_MS + 4_999, HOUR_MS + 5_000)).toEqual(['pass', 'pass', 'end'])
    expect([guard.state, guard.dueAtMs]).toEqual(['expired', Number.POSITIVE_INFINITY])
    expect(guard.check(0)).toMatchObject({ type: 'end', error: { code: 'auth-expired' } })
  })

  test('TG1: a session that was silent beyond the end is not let through by its first frame', () => {
    const guard = new SessionGuard(principal(), nobody)
    expect(guard.check(HOUR_MS * 24)).toMatchObject({ type: 'end', error: { code: 'auth-expired' } })
  })

  test('TG2: goes on under a new token of the same tenant and subject, and warns anew', () => {
    const guard = new SessionGuard(principal(), nobody)
    guard.check(HOUR_MS)
    guard.renew(principal({ expiresAtMs: 2 * HOUR_MS, scopes: new Set(['write']), tokenId: 'second' }), HOUR_MS)
    expect([guard.state, guard.dueAtMs]).toEqual(['fresh', 2 * HOUR_MS - 60_000])
    expect([...guard.principal.scopes]).toEqual(['write'])
    expect(typesAt(guard, HOUR_MS + 5_000, 2 * HOUR_MS - 60_000)).toEqual(['pass', 'warn'])
  })

  test.each([
    ['another tenant', 'forbidden', { tenant: parseTenantName('evil') }],
    ['another subject', 'forbidden', { subject: 'eve' }],
    ['a time that is over', 'auth-expired', { expiresAtMs: HOUR_MS / 2 }],
  ])('TG2: refuses a new token with %s, and goes on with the old one', (_what, code, changed) => {
    const guard = new SessionGuard(principal(), nobody)
    expect(codeOf(() => guard.renew(principal({ expiresAtMs: 2 * HOUR_MS, ...changed }), HOUR_MS / 2))).toBe(code)
    expect(guard.principal).toEqual(principal())
    expect(guard.check(HOUR_MS / 2).type).toBe('pass')
  })

  test('TG3: is not renewed once it has expired', () => {
    const guard = new SessionGuard(principal(), nobody)
    const renewal = principal({ expiresAtMs: 9 * HOUR_MS })
    expect(codeOf(() => guard.renew(renewal, HOUR_MS + 5_000))).toBe('auth-expired')
    expect(guard.check(0).type).toBe('end')
  })

  test('TG3: ends with the frame after its token was revoked, whatever is revoked or renewed then', () => {
    const revocations = new Revocations()
    const guard = new SessionGuard(principal(), (whom) => revocations.has(whom))
    expect(guard.check(1).type).toBe('pass')
    revocations.add(byToken('first'))
    expect(guard.check(2)).toMatchObject({ type: 'end', error: { code: 'revoked' } })
    expect(codeOf(() => guard.renew(principal({ tokenId: 'second' }), 2))).toBe('revoked')
    expect(guard.state).toBe('revoked')
  })

  test('TG3: takes no new token that was revoked before it was used', () => {
    const revocations = new Revocations()
    revocations.add(byToken('second'))
    const guard = new SessionGuard(principal(), (whom) => revocations.has(whom))
    expect(codeOf(() => guard.renew(principal({ tokenId: 'second' }), 1))).toBe('revoked')
    expect(guard.check(1).type).toBe('pass')
  })

  test('TG1: over any times and renewals, nothing passes after an end and no token is warned of twice', () => {
    const step = fc.record({ afterMs: fc.nat({ max: HOUR_MS / 4 }), renews: fc.boolean() })
    fc.assert(
      fc.property(fc.array(step, { maxLength: 30 }), (steps) => {
        const guard = new SessionGuard(principal({ expiresAtMs: HOUR_MS / 2 }), nobody)
        let nowMs = 0
        let hasEnded = false
        let warnings = 0
        for (const { afterMs, renews } of steps) {
          nowMs += afterMs
          const { expiresAtMs } = guard.principal
          const { type } = guard.check(nowMs)
          expect(type === 'end').toBe(hasEnded || nowMs >= expiresAtMs + 5_000)
          hasEnded ||= type === 'end'
          if (type === 'warn') expect(++warnings).toBe(1)
          if (!renews || hasEnded) continue
          guard.renew(principal({ expiresAtMs: nowMs + HOUR_MS / 2 }), nowMs)
          warnings = 0
        }
      }),
    )
  })
})

describe('a list of revocations', () => {
  test('knows tokens by their id, of their tenant alone', () => {
    const revocations = new Revocations()
    revocations.add(byToken('first'))
    expect(revocations.has(principal())).toBe(true)
    expect(revocations.has(principal({ tokenId: 'second' }))).toBe(false)
    expect(revocations.has(principal({ tokenId: undefined }))).toBe(false)
    expect(revocations.has(principal({ tenant: parseTenantName('other') }))).toBe(false)
  })

  test('of a subject voids what was issued until then, and nothing later', () => {
    const revocations = new Revocations()
    revocations.add(bySubject('ada', 1000))
    expect([0, 1000, 1001].map((issuedAtMs) => revocations.has(principal({ issuedAtMs })))).toEqual([true, true, false])
    expect(revocations.has(principal({ subject: 'bob' }))).toBe(false)
    revocations.add(bySubject('ada', 500))
    expect(revocations.has(principal({ issuedAtMs: 900 }))).toBe(true)
  })

  test('does not take a token for a subject, or the other way round', () => {
    const revocations = new Revocations()
    revocations.add(byToken('ada'))
    revocations.add(bySubject('first', 1000))
    expect(revocations.has(principal())).toBe(false)
  })

  test('TV1, TV2: forgets what counts no more, and is full rather than forgetful', () => {
    const revocations = new Revocations(2)
    const take = (entry: Revocation, nowMs: number): void => {
      revocations.expectRoom(entry, nowMs)
      revocations.add(entry)
    }
    take({ ...byToken('a'), untilMs: 10 }, 0)
    take({ ...byToken('b'), untilMs: 20 }, 0)
    expect(codeOf(() => take(byToken('c'), 5))).toBe('too-large')
    expect(codeOf(() => take(byToken('b'), 5))).toBe('no error')
    take(byToken('c'), 10)
    expect(revocations.size).toBe(2)
    expect(revocations.has(principal({ tokenId: 'a' }))).toBe(false)
    expect(revocations.has(principal({ tokenId: 'c' }))).toBe(true)
  })

  test('TV3: is full for one tenant while it has room for others', () => {
    const revocations = new Revocations(10, 2)
    for (const name of ['a', 'b']) revocations.add(byToken(name))
    expect(codeOf(() => revocations.expectRoom(byToken('c'), 0))).toBe('too-large')
    expect(codeOf(() => revocations.expectRoom({ ...byToken('c'), tenant: 'globex' }, 0))).toBe('no error')
  })
})

function byToken(name: string): Revocation {
  return { type: 'token', tenant: 'acme', name, issuedThroughMs: 0, untilMs: HOUR_MS }
}

function bySubject(name: string, issuedThroughMs: number): Revocation {
  return { type: 'subject', tenant: 'acme', name, issuedThroughMs, untilMs: HOUR_MS }
}
