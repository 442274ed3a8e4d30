/** Token buckets, against a plain account of what was granted when. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { addressKey, Buckets, type Rate, type RateAnswer, rateLimited, takeTokens } from '../../tenant/index.ts'

const rateArbitrary = fc.record({
  perSecond: fc.oneof(fc.integer({ min: 1, max: 1000 }), fc.double({ min: 0.01, max: 50, noNaN: true })),
  burst: fc.integer({ min: 1, max: 200 }),
})
const asksArbitrary = fc.array(
  fc.record({ afterMs: fc.nat({ max: 3_000 }), cost: fc.integer({ min: 1, max: 300 }), waits: fc.boolean() }),
  { maxLength: 60 },
)

function take(buckets: Buckets, key: string, rate: Rate, cost: number, nowMs: number): RateAnswer {
  return takeTokens([{ buckets, key, rate, cost }], nowMs)
}

describe('a token bucket', () => {
  test('TR1: grants at most burst + rate × time in any span, however it is asked', () => {
    fc.assert(
      fc.property(rateArbitrary, asksArbitrary, (rate, asks) => {
        const buckets = new Buckets('tenant')
        const granted: { readonly atMs: number; readonly cost: number }[] = []
        let nowMs = 0
        for (const { afterMs, cost, waits } of asks) {
          nowMs += afterMs
          const answer = take(buckets, 'k', rate, cost, nowMs)
          if (answer.type === 'granted') granted.push({ atMs: nowMs, cost })
          else if (waits) nowMs += answer.retryAfterMs
        }
        for (const [first, { atMs }] of granted.entries()) {
          let sum = 0
          for (const { atMs: lastMs, cost } of granted.slice(first)) {
            // The last one may be larger than the burst, once; everything before it has to fit.
            const allowed = rate.burst + (rate.perSecond * (lastMs - atMs)) / 1000
            expect(sum + Math.min(cost, rate.burst)).toBeLessThanOrEqual(allowed + 1e-6)
            sum += cost
          }
        }
      }),
    )
  })

  test('whoever waits as long as the answer says is granted, and not a moment before', () => {
    fc.assert(
      fc.property(rateArbitrary, asksArbitrary, (rate, asks) => {
        const buckets = new Buckets('tenant')
        let nowMs = 0
        for (const { afterMs, cost } of asks) {
          nowMs += afterMs
          const answer = take(buckets, 'k', rate, cost, nowMs)
          if (answer.type === 'granted') continue
          expect(answer.retryAfterMs).toBeGreaterThan(0)
          expect(take(buckets, 'k', rate, cost, nowMs + answer.retryAfterMs - 1).type).toBe('limited')
          nowMs += answer.retryAfterMs
          expect(take(buckets, 'k', rate, cost, nowMs).type).toBe('granted')
        }
      }),
    )
  })

  test('is full again after a pause, and no fuller than its burst', () => {
    const buckets = new Buckets('tenant')
    const rate = { perSecond: 10, burst: 5 }
    for (let time = 0; time < 5; time++) expect(take(buckets, 'k', rate, 1, 0).type).toBe('granted')
    expect(take(buckets, 'k', rate, 1, 0)).toEqual({ type: 'limited', by: 'tenant', retryAfterMs: 100 })
    for (let time = 0; time < 5; time++) expect(take(buckets, 'k', rate, 1, 3_600_000).type).toBe('granted')
    expect(take(buckets, 'k', rate, 1, 3_600_000).type).toBe('limited')
  })

  test('a time that goes backwards gives nothing away', () => {
    const buckets = new Buckets('tenant')
    const rate = { perSecond: 1, burst: 1 }
    expect(take(buckets, 'k', rate, 1, 1_000_000).type).toBe('granted')
    expect(take(buckets, 'k', rate, 1, 0)).toEqual({ type: 'limited', by: 'tenant', retryAfterMs: 1_001_000 - 0 })
    expect(take(buckets, 'k', rate, 1, 1_000_999).type).toBe('limited')
    expect(take(buckets, 'k', rate, 1, 1_001_000).type).toBe('granted')
  })

  test.each([0, 5])('a rate of 0 grants nothing, whatever its burst (%i)', (burst) => {
    const answer = take(new Buckets('tenant'), 'k', { perSecond: 0, burst }, 1, 0)
    expect(answer).toMatchObject({ type: 'limited', retryAfterMs: Number.POSITIVE_INFINITY })
    if (answer.type === 'limited') expect(rateLimited(answer)).toMatchObject({ code: 'rate-limited', retryable: false })
  })

  test('a rate without limit grants everything and remembers nobody', () => {
    const buckets = new Buckets('tenant')
    const rate = { perSecond: Number.POSITIVE_INFINITY, burst: Number.POSITIVE_INFINITY }
    for (let time = 0; time < 100; time++) expect(take(buckets, `${time}`, rate, 1e9, 0).type).toBe('granted')
    expect(buckets.size).toBe(0)
  })
})

describe('several buckets', () => {
  test('TR2: are charged together or not at all, and the longest wait is the answer', () => {
    const [addresses, tenants] = [new Buckets('address'), new Buckets('tenant')]
    const charges = [
      { buckets: addresses, key: 'a', rate: { perSecond: 10, burst: 100 }, cost: 1 },
      { buckets: tenants, key: 't', rate: { perSecond: 1, burst: 1 }, cost: 1 },
    ]
    expect(takeTokens(charges, 0).type).toBe('granted')
    for (let time = 0; time < 1_000; time++) {
      expect(takeTokens(charges, 0)).toEqual({ type: 'limited', by: 'tenant', retryAfterMs: 1000 })
    }
    expect(addresses.waitMs('a', { perSecond: 10, burst: 100 }, 99, 0)).toBe(0)
  })

  test('TR3: forget the key that was not used for longest, and hold no more than they may', () => {
    const buckets = new Buckets('address', 3)
    const rate = { perSecond: 0.001, burst: 1 }
    for (const key of ['a', 'b', 'c']) take(buckets, key, rate, 1, 0)
    expect(take(buckets, 'a', rate, 1, 1).type).toBe('limited')
    take(buckets, 'd', rate, 1, 2)
    expect(buckets.size).toBe(3)
    expect(take(buckets, 'b', rate, 1, 3).type).toBe('limited')
    take(buckets, 'e', rate, 1, 4)
    expect(buckets.size).toBe(3)
  })
})

describe('the key of an address', () => {
  test.each([
    ['127.0.0.1', '127.0.0.1'],
    ['::ffff:10.0.0.7', '10.0.0.7'],
    ['::FFFF:10.0.0.7', '10.0.0.7'],
    ['2001:db8:1:2:3:4:5:6', '2001:db8:1:2::/64'],
    ['2001:0db8:0001:0002::9', '2001:db8:1:2::/64'],
    ['2001:db8::9', '2001:db8:0:0::/64'],
    ['fe80::1%eth0', 'fe80:0:0:0::/64'],
    ['::1', '0:0:0:0::/64'],
    ['::', '0:0:0:0::/64'],
    ['1:2:3:4:5:6:7::', '1:2:3:4::/64'],
  ])('of %s is %s', (address, key) => {
    expect(addressKey(address)).toBe(key)
  })
})
