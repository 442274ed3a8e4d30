/**
 * The law checker finds what is wrong with bad policies, tells it as code that shows it, and lets good ones pass.
 */
import assert from 'node:assert/strict'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type ConcurrentRow,
  type ConcurrentValue,
  causal,
  counter,
  custom,
  customField,
  type DecideField,
  type DecideRow,
  deleteWins,
  type FieldPolicy,
  firstWriteWins,
  lastWriteWins,
  longestText,
  max,
  min,
  type Policy,
  union,
  updateWins,
  type Value,
} from '../../core/index.ts'
import { checkPolicy, findPolicyFlaw, type PolicyFlaw, PolicyFlawError, type PolicyFlawKind } from '../testing.ts'

const number = fc.integer({ min: -3, max: 3 })
const text = fc.string({ maxLength: 3 })
const row = fc.record({ title: text, votes: number, tags: fc.array(text, { maxLength: 2 }) })

// ── Good policies ───────────────────────────────────────────────────────────────────────────────────────────────────

describe('a policy that keeps the laws passes', () => {
  test.each<[string, FieldPolicy, fc.Arbitrary<Value>]>([
    ['max of numbers', max(), number],
    ['max of texts', max(), text],
    ['min of dates', min(), fc.date({ noInvalidDate: true })],
    ['union', union(), fc.array(fc.oneof(text, number), { maxLength: 3 })],
    ['longestText', longestText(), text],
    ['counter', counter(), number],
    ['the first', customField('first', 1, (versions) => versions[0]?.value ?? null), row],
    [
      'the sum',
      customField('sum', 1, (versions) => versions.reduce((sum, { value }) => sum + Number(value), 0)),
      number,
    ],
    [
      'by replica',
      customField('author', 1, (versions) => versions.map(({ dot }) => dot.replica).sort()[0] ?? ''),
      text,
    ],
    ['all in one', customField('list', 1, (versions) => versions.map(({ value, time }) => ({ time, value }))), row],
  ])('%s, for a field', (_name, policy, values) => {
    checkPolicy(policy, values, { runs: 100 })
  })

  test.each<[string, Policy]>([
    ['lastWriteWins', lastWriteWins()],
    ['firstWriteWins', firstWriteWins()],
    ['causal', causal()],
    ['deleteWins', deleteWins()],
    ['updateWins', updateWins()],
    ['a policy that keeps the row of the most votes', custom('votes', 1, ofMostVotes)],
    ['a policy that deletes', custom('never', 1, () => null)],
    ['a policy by text', custom('text', 1, (versions) => rowsOf(versions).sort(byText).at(-1) ?? null)],
  ])('%s, for rows', (_name, policy) => {
    checkPolicy(policy, row, { runs: 100 })
    checkPolicy(policy, row, { granularity: 'row', runs: 50 })
  })

  test('also when each replica has one of its own, and when values nest as deep as they may', () => {
    let deep: Value = 'deep'
    for (let level = 0; level < 15; level++) deep = [deep]
    checkPolicy(() => customField('first', 1, (versions) => versions[0]?.value ?? null), fc.constant(deep), {
      runs: 20,
    })
    checkPolicy(
      custom('first', 1, (versions) => rowsOf(versions)[0] ?? null),
      fc.constant({ deep: [deep] }),
      { runs: 20 },
    )
  })
})

function rowsOf(versions: readonly ConcurrentRow[]): Readonly<Record<string, Value>>[] {
  return versions.flatMap((version) => (version.row === undefined ? [] : [version.row]))
}

function byText(left: unknown, right: unknown): number {
  return JSON.stringify(left) < JSON.stringify(right) ? -1 : 1
}

function ofMostVotes(versions: readonly ConcurrentRow[]): Readonly<Record<string, Value>> | null {
  return rowsOf(versions).reduce((best, each) => (Number(each.votes) > Number(best.votes) ? each : best), {
    votes: -9,
    title: '',
    tags: [],
  })
}

// ── Bad policies ────────────────────────────────────────────────────────────────────────────────────────────────────

/** Keeps showing what it showed before, if that is still among the versions. */
function sticky(): DecideField {
  let shown: Value
  return (versions) => {
    shown = (versions.find(({ value }) => value === shown) ?? versions.at(-1))?.value ?? null
    return shown
  }
}

/** What came to this replica first. */
function firstToCome(): DecideRow {
  const order: string[] = []
  return (versions) => {
    for (const { dot } of versions) if (!order.includes(dot.replica)) order.push(dot.replica)
    const rank = ({ dot }: ConcurrentRow): number => order.indexOf(dot.replica)
    return [...versions].sort((a, b) => rank(a) - rank(b))[0]?.row ?? null
  }
}

let calls = 0
const STARTED_MS = Date.now()

const BAD: readonly (readonly [PolicyFlawKind, string, DecideField])[] = [
  ['order', 'shows what it showed before', sticky()],
  ['nondeterminism', 'throws dice', (versions) => versions[Math.floor(Math.random() * versions.length)]?.value ?? null],
  [
    'nondeterminism',
    'asks for the time',
    (versions) => (Date.now() > STARTED_MS + 86_400_000 ? 9 : (versions[0]?.value ?? null)),
  ],
  ['nondeterminism', 'makes a date of now', (versions) => new Date().getFullYear() - (versions[0]?.time ?? 0)],
  ['nondeterminism', 'shows the hour where it runs', () => new Date(1e12).getHours()],
  ['nondeterminism', 'measures time', () => Math.round(performance.now() / 1e9)],
  ['nondeterminism', 'counts its calls', () => calls++],
  ['nondeterminism', 'makes ids', () => crypto.randomUUID()],
  ['nondeterminism', 'sorts as the user’s language does', () => ['ä', 'z', 'a'].sort((a, b) => a.localeCompare(b))],
  [
    'throws',
    'throws for zero',
    (versions) => {
      if (versions.some(({ value }) => value === 0)) throw new RangeError('zero')
      return 1
    },
  ],
  [
    'throws',
    'throws what cannot be shown',
    () => {
      throw Object.create(null)
    },
  ],
  ['throws', 'clones what the engine gives', (versions) => structuredClone(versions)[0]?.value ?? null],
  [
    'mutation',
    'sorts in place',
    (versions) => (versions as ConcurrentValue[]).sort((a, b) => Number(a.value) - Number(b.value))[0]?.value ?? null,
  ],
  ['mutation', 'leaves a mark', (versions) => Object.assign(versions[0] ?? {}, { mark: true }).mark],
  [
    'unstorable',
    'answers nothing when values differ',
    (versions) => (versions[0]?.value === versions[1]?.value ? 1 : (undefined as unknown as Value)),
  ],
  ['unstorable', 'divides by zero', (versions) => 1 / Number(versions[0]?.value)],
  ['unstorable', 'answers later', (async () => 1) as unknown as DecideField],
  ['unstorable', 'answers with a function', (() => () => 1) as unknown as DecideField],
  [
    'endless',
    'loops',
    (versions) => {
      while (versions.length > 2);
      return 1
    },
  ],
  [
    'endless',
    'loops without looking',
    (versions) => {
      const [first] = versions
      const value = first?.value
      for (;;) if (value !== 1) return 1
    },
  ],
]

const OPTIONS = { timeoutMs: 100 }

describe('a policy is found out that', () => {
  test.each(BAD)('has the flaw %s: it %s', (kind, _name, decide) => {
    const flaw = findPolicyFlaw(customField('bad', 1, decide), number, OPTIONS)
    expect(flaw?.kind).toBe(kind)
    expect(flaw?.reason).toMatch(/^Policy bad .*\.$/s)
    expect(flaw?.code).toMatch(/^const versions = \[|^\/\/ On one replica/)
  })

  test('asks who came first, when each replica has its own', () => {
    const flaw = findPolicyFlaw(() => custom('bad', 1, firstToCome()), row)
    expect(flaw?.kind).toBe('order')
    expect(flaw?.reason).toBe('Policy bad depends on the order in which changes arrive.')
  })

  test.each<[PolicyFlawKind, string, DecideRow]>([
    ['unstorable', 'answers with a field that the row does not have', () => ({ title: '', winner: 1 })],
    ['unstorable', 'answers with an array', (() => []) as unknown as DecideRow],
    ['unstorable', 'answers with nothing', (() => undefined) as unknown as DecideRow],
    ['unstorable', 'puts NaN into a field', (versions) => ({ ...versions[0]?.row, votes: Number.NaN })],
    ['throws', 'forgets deletes', ([first]) => ({ title: (first as unknown as { row: { title: string } }).row.title })],
    [
      'mutation',
      'takes something out of a row',
      (versions) => {
        for (const { row: each } of versions) delete (each as { title?: string } | undefined)?.title
        return null
      },
    ],
    ['nondeterminism', 'shows the time', (versions) => ({ ...versions.at(-1)?.row, votes: Date.now() })],
    [
      'endless',
      'waits for votes',
      (versions) => {
        while (versions.every(({ written }) => !written.includes('votes')));
        return null
      },
    ],
  ])('has the flaw %s: for rows, it %s', (kind, _name, decide) => {
    expect(findPolicyFlaw(custom('bad', 1, decide), row, OPTIONS)?.kind).toBe(kind)
  })

  test.each<[PolicyFlawKind, string, Policy['pickHead']]>([
    ['order', 'picks by chance', (heads) => heads[Math.floor(Math.random() * heads.length)] as (typeof heads)[number]],
    ['throws', 'picks what it was not given', (heads) => ({ ...(heads[0] as (typeof heads)[number]) })],
    ['throws', 'picks nothing', (heads) => heads.find(({ op }) => op === 'delete') as (typeof heads)[number]],
    [
      'endless',
      'goes on picking',
      (heads) => {
        while (heads.length > 2);
        return heads[0] as (typeof heads)[number]
      },
    ],
  ])('has the flaw %s: of a row’s changes, it %s', (kind, _name, pickHead) => {
    const flaw = findPolicyFlaw({ ...lastWriteWins(), name: 'bad', pickHead }, row, OPTIONS)
    expect(flaw?.kind).toBe(kind)
    expect(flaw?.reason).toMatch(/^Policy bad /)
  })
})

// ── What is told ────────────────────────────────────────────────────────────────────────────────────────────────────

describe('the smallest case', () => {
  test('is small, and is told with the sentence and the seed', () => {
    const noZero = customField('noZero', 1, (versions) => {
      if (versions.some(({ value }) => value === 0)) throw new RangeError('zero')
      return 1
    })
    let thrown: unknown
    try {
      checkPolicy(noZero, fc.integer({ min: 0, max: 1_000 }), { seed: 7 })
    } catch (error) {
      thrown = error
    }
    expect(thrown).toBeInstanceOf(PolicyFlawError)
    expect((thrown as PolicyFlawError).message).toBe(`Policy noZero throws RangeError: zero.

const versions = [
  { dot: { replica: '70000000-0000-4000-8000-000000000001', seq: 1 }, time: 0, value: 0 },
  { dot: { replica: 'e0000000-0000-4000-8000-000000000002', seq: 1 }, time: 0, value: 0 },
]
policy.decideField(versions)

To try the same cases again: { seed: 7 }`)
  })

  test('has two versions where two show it, whichever of those that were drawn they are', () => {
    const careless = custom('careless', 1, ([first, second]) => {
      const [one, other] = [first as ConcurrentRow, second as ConcurrentRow]
      if (Number(one.row?.votes) > Number(other.row?.votes)) return one.row ?? null
      return (other.row as { readonly [name: string]: Value }).votes === 7 ? null : (other.row ?? null)
    })
    for (let seed = 0; seed < 20; seed++) {
      const flaw = findPolicyFlaw(careless, row, { seed })
      expect(flaw?.kind).toBe('throws')
      expect(flaw?.code.match(/dot:/g)).toHaveLength(2)
    }
  })

  test('is found again by its seed', () => {
    const policy = customField('odd', 1, (versions) => {
      if (Number(versions[1]?.value) % 2 === 1) throw new Error('odd')
      return 1
    })
    const flaw = findPolicyFlaw(policy, fc.nat(99)) as PolicyFlaw
    expect(findPolicyFlaw(policy, fc.nat(99), { seed: flaw.seed })).toEqual(flaw)
  })

  test.each<[string, PolicyFlawKind, () => FieldPolicy]>([
    ['that depends on the order', 'order', () => customField('bad', 1, sticky())],
    ['that counts', 'nondeterminism', () => customField('bad', 1, () => calls++)],
    [
      'that sorts in place',
      'mutation',
      () => customField('bad', 1, (versions) => (versions as ConcurrentValue[]).reverse()[0]?.value ?? null),
    ],
    [
      'that throws',
      'throws',
      () =>
        customField('bad', 1, (versions) => {
          if (versions.some(({ value }) => value instanceof Date)) throw new Error('dates')
          return 1
        }),
    ],
  ])('of a policy %s fails when it is pasted', (_name, kind, create) => {
    const values = fc.oneof(number, fc.constantFrom<Value>(new Date(5), new Uint8Array([1, 2]), { "it's": ['\n'] }))
    const flaw = findPolicyFlaw(create, values) as PolicyFlaw
    expect(flaw.kind).toBe(kind)
    // One policy for the whole story is what a user pastes it against.
    const paste = new Function('policy', 'assert', flaw.code) as (policy: FieldPolicy, assertion: typeof assert) => void
    if (kind !== 'order') expect(() => paste(create(), assert)).toThrow()
    else {
      const [one = '', other = ''] = flaw.code.split('// On another')
      const runAlone = (code: string, name: string): unknown =>
        (new Function('policy', `${code}\nreturn ${name}`) as (policy: FieldPolicy) => unknown)(create())
      expect(runAlone(one, 'first')).not.toEqual(runAlone(`// On another${other.replace(/^assert.*$/m, '')}`, 'second'))
    }
  })

  test('of a row policy is told as the engine asks: rows, what was written, and deletes', () => {
    const flaw = findPolicyFlaw(
      custom('bad', 1, (versions) => {
        if (versions.some(({ op }) => op === 'delete')) throw new Error('deletes')
        return null
      }),
      fc.record({ title: fc.constant('x') }),
    )
    expect(flaw?.code).toMatch(/op: 'delete', time: 0, written: \[\], row: undefined \}/)
    expect(flaw?.code).toContain('policy.decide(versions)')
  })
})

test('what was looked at elsewhere is as it was', () => {
  const before = [globalThis.Date, Math.random, String.prototype.localeCompare, globalThis.performance, process.env.TZ]
  findPolicyFlaw(
    customField('endless', 1, () => {
      for (;;);
    }),
    number,
    OPTIONS,
  )
  findPolicyFlaw(
    customField('throws', 1, () => {
      throw new Error('x')
    }),
    number,
  )
  checkPolicy(max(), number, { runs: 10 })
  const after = [globalThis.Date, Math.random, String.prototype.localeCompare, globalThis.performance, process.env.TZ]
  expect(after).toEqual(before)
  expect(Math.abs(Date.now() - performance.timeOrigin - performance.now())).toBeLessThan(60_000)
})

test('a failure of the values is not the policy’s', () => {
  const broken = number.map((): Value => {
    throw new Error('of the arbitrary')
  })
  expect(() => findPolicyFlaw(max(), broken)).toThrow('of the arbitrary')
})
