/** Plans from configuration, and what is denied without one. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isTidemarkError } from '../../core/index.ts'
import {
  DEFAULT_PLANS,
  expectFeature,
  FEATURES,
  hasFeature,
  type Plan,
  Plans,
  parsePlan,
  QUOTA_CEILINGS,
  QUOTA_NAMES,
  weighGrowth,
} from '../../tenant/index.ts'

const quotas = Object.fromEntries(QUOTA_NAMES.map((name, index) => [name, index % 2 === 0 ? 1 : 'unlimited']))

function keyOf(run: () => unknown): unknown {
  try {
    run()
  } catch (error) {
    return isTidemarkError(error) ? `${error.code} ${error.details.key}` : error
  }
  return undefined
}

describe('a plan', () => {
  test('is read with every quota it names', () => {
    const plan = parsePlan('gold', { features: ['sync'], quotas })
    expect([...plan.features]).toEqual(['sync'])
    for (const name of QUOTA_NAMES)
      expect(plan.quotas[name]).toBe(quotas[name] === 'unlimited' ? QUOTA_CEILINGS[name] : 1)
  })

  const wrong: readonly (readonly [key: string, name: string, input: unknown])[] = [
    ['plans', 'Gold', {}],
    ['plans', '', {}],
    ['plans.gold', 'gold', null],
    ['plans.gold', 'gold', []],
    ['plans.gold', 'gold', { features: [], quotas, price: 1 }],
    ['plans.gold.features', 'gold', { quotas }],
    ['plans.gold.features', 'gold', { features: 'sync', quotas }],
    ['plans.gold.features', 'gold', { features: ['synch'], quotas }],
    ['plans.gold.features', 'gold', { features: [1], quotas }],
    ['plans.gold.quotas', 'gold', { features: [] }],
    ['plans.gold.quotas', 'gold', { features: [], quotas: { ...quotas, row: 1 } }],
    ['plans.gold.quotas.rows', 'gold', { features: [], quotas: { ...quotas, rows: -1 } }],
    ['plans.gold.quotas.rows', 'gold', { features: [], quotas: { ...quotas, rows: 1.5 } }],
    ['plans.gold.quotas.rows', 'gold', { features: [], quotas: { ...quotas, rows: '10' } }],
    ['plans.gold.quotas.rows', 'gold', { features: [], quotas: { ...quotas, rows: Number.POSITIVE_INFINITY } }],
    ['plans.gold.quotas.rows', 'gold', { features: [], quotas: { ...quotas, rows: null } }],
    ['plans.gold.quotas.snapshotBuilds', 'gold', { features: [], quotas: { ...quotas, snapshotBuilds: 3 } }],
  ]
  test.each(wrong)('that is wrong at %s is refused there', (key, name, input) => {
    expect(keyOf(() => parsePlan(name, input))).toBe(`bad-option ${key}`)
  })

  test.each(QUOTA_NAMES)('TP2: that leaves out %s is refused there', (name) => {
    const { [name]: _, ...others } = quotas
    expect(keyOf(() => parsePlan('gold', { features: [], quotas: others }))).toBe(
      `bad-option plans.gold.quotas.${name}`,
    )
  })

  test('may have a feature of the app’s own, once that is declared', () => {
    const gold = { features: ['sync', 'export'], quotas }
    expect(keyOf(() => new Plans({ plans: { gold } }))).toBe('bad-option plans.gold.features')
    expect(hasFeature(new Plans({ plans: { gold }, features: ['export'] }).get('gold'), 'export')).toBe(true)
  })
})

describe('the plans of a server', () => {
  test('are free without capture, starter, pro and unlimited by default', () => {
    const plans = new Plans()
    expect(plans.names).toEqual(['free', 'starter', 'pro', 'unlimited'])
    expect(FEATURES.filter((feature) => hasFeature(plans.get('free'), feature))).toEqual(['sync', 'journal'])
    for (const name of ['starter', 'pro', 'unlimited']) expect([...plans.get(name).features]).toEqual([...FEATURES])
    expect(plans.get('unlimited').quotas).toEqual(QUOTA_CEILINGS)
  })

  test('may stand in the place of the default ones', () => {
    expect(new Plans({ withDefaults: false, plans: { free: DEFAULT_PLANS.free } }).names).toEqual(['free'])
  })

  test('TP1, regression 27: a plan that is unknown or was deleted allows nothing at all', () => {
    fc.assert(
      fc.property(fc.oneof(fc.string(), fc.constantFrom('__proto__', 'constructor', 'Free', 'pro ')), (name) => {
        expectNothing(new Plans({ withDefaults: false }).get(name))
      }),
    )
  })

  test('TP1: a feature that nobody has heard of is denied, by every plan', () => {
    const plans = new Plans()
    for (const name of plans.names) {
      for (const feature of ['', 'synch', '__proto__', 'constructor', 'Sync']) {
        expect(hasFeature(plans.get(name), feature)).toBe(false)
        expect(() => expectFeature(plans.get(name), feature)).toThrow(/does not include/)
      }
    }
  })
})

function expectNothing(plan: Plan): void {
  for (const feature of FEATURES) expect(hasFeature(plan, feature)).toBe(false)
  for (const name of QUOTA_NAMES) expect(plan.quotas[name]).toBe(0)
  const nothing = { rows: 0, storedBytes: 0, replicas: 0 }
  for (const resource of ['rows', 'storedBytes', 'replicas'] as const) {
    for (const isRelief of [false, true]) {
      expect(weighGrowth(plan, nothing, { ...nothing, [resource]: 1, isRelief })).toMatchObject({ resource, limit: 0 })
    }
  }
}
