/** What is left of somebody whose tenant is gone, for whoever has its name after it. */
import { expect, test } from 'vitest'
import { openIntruder } from './intruder.ts'
import { sign } from './sign.ts'
import { createFolder, openRawSocket, settleAll } from './stage.ts'
import { openTokenServer, openWithToken } from './tokens.ts'

const ADMIN = { token: 'an-admin-token-of-thirty-two-bytes', port: 0 }
const UNKNOWN = { message: 'this server does not serve that tenant', data: { code: 'forbidden' } }
const before = (claims: object = {}) => sign(claims, { nowMs: Date.now() - 10_000 })
const after = (claims: object = {}) => sign(claims, { nowMs: Date.now() + 2_000 })

test('a token of a tenant that was erased does not open the next one of its name, also after a restart', async () => {
  const dataDir = createFolder()
  const server = await openTokenServer({ dataDir, admin: ADMIN })
  const [old, oldAdmin] = [await before(), await before({ scope: 'admin' })]
  const intruder = await openIntruder(server, old)
  await intruder.greet()
  await server.manager.erase('acme')
  await intruder.gone
  await expect(openRawSocket(server.url, { token: old })).rejects.toMatchObject(UNKNOWN)
  await server.manager.register({ name: 'acme', plan: 'free', mode: 'shared' })

  const next = await openWithToken(server.url, {}, { connect: { token: await after() } })
  await next.replica.table('notes').insert({ id: 'n1', title: 'of the next one', done: false })
  await settleAll(next.link)
  await expect(openRawSocket(server.url, { token: old })).rejects.toMatchObject(UNKNOWN)
  const asked = await fetch(`${server.adminUrl}/tenants/acme/export`, {
    headers: { authorization: `Bearer ${oldAdmin}` },
  })
  expect(asked.status).toBe(401)
  // Others are as they were.
  await openRawSocket(server.url, { token: await before({ tenant: 'globex' }) })

  await next.link.close()
  await server.close()
  const again = await openTokenServer({ dataDir, defaultPlan: 'free' })
  await expect(openRawSocket(again.url, { token: old })).rejects.toMatchObject(UNKNOWN)
  await openRawSocket(again.url, { token: await after() })
})

test('a renewed token of the tenant before cannot keep a session of the next one', async () => {
  const server = await openTokenServer({ dataDir: createFolder() })
  const old = await before()
  await server.manager.erase('acme')
  await server.manager.register({ name: 'acme', plan: 'free', mode: 'shared' })
  const intruder = await openIntruder(server, after())
  await intruder.greet()
  intruder.bringToken({ token: old })
  await expect.poll(() => intruder.told).toMatchObject([{ code: 'revoked' }])
})
