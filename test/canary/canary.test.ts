/** A short form of `npm run canary`: eighteen tenants of all isolation modes, two seconds of load, and one that is moved meanwhile. */
import { expect, test } from 'vitest'
import { ISOLATION_MODES, type IsolationMode } from '../../tenant/index.ts'
import { sign } from '../integration/sign.ts'
import { createFolder } from '../integration/stage.ts'
import { openTokenServer } from '../integration/tokens.ts'
import { watchCanaries } from './watch.ts'

test('no canary is ever seen outside of its cage', async () => {
  const unhurried = { perSecond: 1_000_000, burst: 1_000_000 }
  const server = await openTokenServer({
    dataDir: createFolder(),
    traffic: { connectionsPerAddress: unhurried },
    idleMs: 100,
  })
  const tenants = Array.from({ length: 18 }, (_, n) => `t${n}`)
  for (const [n, name] of tenants.entries()) {
    const mode = ISOLATION_MODES[n % ISOLATION_MODES.length] as IsolationMode
    await server.manager.register({ name, plan: 'unlimited', mode })
  }
  const watching = watchCanaries({
    url: server.url,
    tenants,
    tokenOf: (tenant, sub) => sign({ tenant, sub }),
    forMs: 2_000,
    seed: 'short',
  })
  await server.manager.move('t0', 'namespace')
  await server.manager.finishMove('t0')
  const figures = await watching
  expect(figures.strays).toEqual([])
  expect(figures.written).toBeGreaterThan(100)
  expect(figures.seen).toBeGreaterThan(figures.written)
})
