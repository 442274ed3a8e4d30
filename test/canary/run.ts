/**
 * `npm run canary`: a hundred tenants of all isolation modes under load on one server with LMDB, for ten minutes or as long as
 * it is told (`npm run canary -- 2` for two). Prints what was written and looked at, and every canary that was seen where it
 * should not be. Fails when there is one.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { createSyncServer } from '../../sync-server/index.ts'
import { ISOLATION_MODES, type IsolationMode } from '../../tenant/index.ts'
import { AUTH, sign } from '../integration/sign.ts'
import { type CanaryFigures, watchCanaries } from './watch.ts'

const MINUTES = Number(process.argv[2] ?? 10)
const TENANTS = Number(process.argv[3] ?? 100)

const dataDir = mkdtempSync(join(tmpdir(), 'tidemark-canary-'))
const unhurried = { perSecond: 1_000_000, burst: 1_000_000 }
const server = await createSyncServer({
  dataDir,
  port: 0,
  auth: AUTH,
  traffic: { connectionsPerAddress: unhurried },
  logger: pino({ level: 'error' }),
  idleMs: 2_000,
})
const tenants = Array.from({ length: TENANTS }, (_, n) => `t${n}`)
for (const [n, name] of tenants.entries()) {
  const mode = ISOLATION_MODES[n % ISOLATION_MODES.length] as IsolationMode
  await server.manager.register({ name, plan: 'unlimited', mode })
}

const show = ({ written, seen, reconnects, begun, strays }: CanaryFigures): string =>
  `${written} written, ${seen} rows looked at, ${reconnects} reconnects, ${begun} new replicas, ${strays.length} strays`
const startedAtMs = performance.now()
const figures = await watchCanaries({
  url: server.url,
  tenants,
  tokenOf: (tenant, sub) => sign({ tenant, sub, lifetimeMs: 3_600_000 }),
  forMs: MINUTES * 60_000,
  seed: 'canary',
  onProgress: (now) => {
    const seconds = Math.round((performance.now() - startedAtMs) / 1_000)
    process.stdout.write(`\r${seconds} s: ${show(now)}   `)
  },
})
await server.close()
rmSync(dataDir, { recursive: true, force: true })
console.log(`\n${TENANTS} tenants for ${MINUTES} minutes: ${show(figures)}`)
for (const stray of figures.strays.slice(0, 20)) console.log(stray)
process.exit(figures.strays.length === 0 ? 0 : 1)
