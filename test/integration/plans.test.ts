/** Plans that change while the server runs: read anew, checked first, and in force at once for those who are connected. */
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { DEFAULT_PLANS, type QuotaName } from '../../tenant/index.ts'
import { openIntruder } from './intruder.ts'
import { ended, launch, launchServer } from './shell.ts'
import { sign } from './sign.ts'
import { createFolder, settleAll, stateOf, statusOf, until, writeNotes } from './stage.ts'
import { openTokenServer, openWithToken } from './tokens.ts'

const UNLIMITED = DEFAULT_PLANS.unlimited as { readonly features: readonly string[]; readonly quotas: object }

const TOKEN = 'the-token-of-the-operator-has-32-bytes-or-more'

const planWith = (quotas: Partial<Record<QuotaName, number>>, features: readonly string[] = ['sync']) => ({
  features,
  quotas: { ...UNLIMITED.quotas, ...quotas },
})

describe('plans that are renewed', () => {
  test('let a writer that was paused go on at once, hours before it would have asked again', async () => {
    const server = await openTokenServer({
      plans: { gold: planWith({ rows: 5 }) },
      defaultPlan: 'gold',
      pauseMs: 3_600_000,
    })
    const { replica, link } = await openWithToken(server.url)
    for (let n = 0; n < 8; n++) await replica.table('notes').insert({ id: `n${n}`, title: 'a note', done: false })
    const { pause } = await statusOf(link, (status) => status.pause !== undefined)
    expect(pause).toEqual({ resource: 'rows', limit: 5, used: 5, retryAfterMs: 3_600_000 })
    await server.renewPlans({ gold: planWith({ rows: 7 }) })
    // One more is too many under the new plan as well.
    const again = await statusOf(link, ({ pause: now }) => now?.limit === 7 && now.retryAfterMs > 0)
    expect(again.pause).toMatchObject({ resource: 'rows', used: 7 })
    await server.renewPlans({ gold: planWith({ rows: 8 }) })
    await until(() => replica.pending === 0, 'all is taken')
    await settleAll(link)
    expect(link.status.pause).toBeUndefined()
  })

  test('and a tenant that is moved to a larger one, too', async () => {
    const server = await openTokenServer({
      plans: { tiny: planWith({ storedBytes: 2_000 }) },
      defaultPlan: 'tiny',
      pauseMs: 3_600_000,
    })
    const { replica, link } = await openWithToken(server.url)
    for (let n = 0; n < 40; n++) await replica.table('notes').insert({ id: `n${n}`, title: 'a note', done: false })
    await statusOf(link, (status) => status.pause?.resource === 'storedBytes')
    await server.manager.setPlan('acme', 'pro')
    await until(() => replica.pending === 0, 'all is taken')
  })

  test('have other rates at once, also for frames that wait for the old ones', async () => {
    const server = await openTokenServer({ plans: { slow: planWith({ changesPerSecond: 1 }) }, defaultPlan: 'slow' })
    const { replica, link } = await openWithToken(server.url)
    await writeNotes(replica, 1_500)
    await until(() => replica.pending === 0, 'the burst is taken')
    await writeNotes(replica, 500, 'that wait')
    await expect(link.settled({ timeoutMs: 300 })).rejects.toMatchObject({ code: 'timeout' })
    expect(replica.pending).toBe(500)
    await server.renewPlans({ slow: planWith({}) })
    await until(() => replica.pending === 0, 'nothing waits for hours')
  })

  test('have fewer seats at once: as many leave as are too many, and the others stay', async () => {
    const server = await openTokenServer({ plans: { gold: planWith({}) }, defaultPlan: 'gold' })
    const sessionsOf = () => server.tenants.find(({ tenant }) => tenant === 'acme')?.connections
    const intruders = await Promise.all(
      Array.from({ length: 10 }, (_, at) => openIntruder(server, sign({ sub: `s${at % 2}` }))),
    )
    for (const intruder of intruders) await intruder.greet()
    expect(sessionsOf()).toBe(10)
    await server.renewPlans({ gold: planWith({ connections: 7 }) })
    expect(sessionsOf()).toBe(7)
    await server.renewPlans({ gold: planWith({ connections: 7, liveReplicasPerSubject: 2 }) })
    expect(sessionsOf()).toBe(4)
    await until(
      () => intruders.filter(({ heard }) => heard.some(({ type }) => type === 'refuse')).length === 6,
      'they hear why',
    )
    const reasons = intruders.flatMap(({ heard }) => heard.filter((frame) => frame.type === 'refuse'))
    expect(reasons.map(({ code, retryable }) => [code, retryable])).toEqual(
      Array.from({ length: 6 }, () => ['quota-exceeded', true]),
    )
  })

  test('end the sessions of tenants that may no more, and let nobody go whose plan would be gone', async () => {
    const server = await openTokenServer({ plans: { gold: planWith({}), other: planWith({}) }, defaultPlan: 'gold' })
    const { link } = await openWithToken(server.url)
    await settleAll(link)
    for (const wrong of [
      { other: planWith({}) },
      { gold: planWith({}, ['fly']) },
      { gold: {} },
      { 'G old': planWith({}) },
    ]) {
      await expect(server.renewPlans(wrong)).rejects.toMatchObject({ code: 'bad-option' })
      expect(server.manager.plans.names).toContain('other')
    }
    expect(link.status.state).toBe('live')
    await server.renewPlans({ gold: planWith({}, []) })
    expect(await stateOf(link, 'stopped')).toMatchObject({ lastError: { code: 'forbidden' } })
    expect(server.manager.plans.names).not.toContain('other')
  })

  test('are not refused for a tenant that was orphaned before', async () => {
    const server = await openTokenServer({ plans: { gold: planWith({}) } })
    await server.manager.setPlan('acme', 'gold')
    await expect(server.renewPlans({})).rejects.toThrow('tenant acme has the plan "gold"')
    await server.manager.setPlan('acme', 'free')
    await server.renewPlans({})
  })
})

test('from the shell: plans in the file are read anew on request, and what is wrong changes nothing', async () => {
  const folder = createFolder()
  const [file, secret, admin] = [join(folder, 'tidemark.json'), join(folder, 'secret'), join(folder, 'admin')]
  writeFileSync(secret, 'a secret of thirty-two bytes or more, for tokens')
  writeFileSync(admin, TOKEN)
  const put = (content: object): void => writeFileSync(file, JSON.stringify(content))
  const settings = {
    data: join(folder, 'data'),
    port: 0,
    auth: { secretFile: secret },
    admin: { port: 0, tokenFile: admin },
  }
  put({ ...settings, plans: { gold: planWith({ rows: 5 }) } })
  const { child, lines } = await launchServer(['--config', file])
  await until(() => lines.some(({ adminUrl }) => adminUrl !== undefined), 'the admin port listens')
  const url = String(lines.find(({ adminUrl }) => adminUrl !== undefined)?.adminUrl)
  const tidemark = (...args: readonly string[]) => ended(launch([...args, '--url', url, '--token-file', admin]))
  const ask = async (method: string, path: string, body?: object): Promise<unknown> => {
    const headers = { authorization: `Bearer ${TOKEN}` }
    const sent = body === undefined ? {} : { body: JSON.stringify(body) }
    return (await fetch(`${url}${path}`, { method, headers, ...sent })).json()
  }
  const rowsOfGold = async (): Promise<unknown> => {
    const plans = (await ask('GET', '/plans')) as { readonly name: string; readonly quotas: Record<string, unknown> }[]
    return plans.find(({ name }) => name === 'gold')?.quotas.rows
  }
  await ask('POST', '/tenants', { name: 'acme', plan: 'gold' })

  put({ ...settings, idleMs: '2m', plans: { gold: planWith({ rows: 7_000 }) } })
  const reloaded = await tidemark('reload')
  expect(reloaded.stdout).toMatch(/^The plans are .*gold\. These count with the next start: idleMs\.\n$/)
  const plans = await tidemark('plans')
  expect(plans.stdout).toMatch(/^gold +1 +7,000 +no limit .* sync$/m)
  expect(plans.stdout).toMatch(/^free +0 +10,000 /m)

  const refused = (message: string) => ({ error: { code: 'bad-option', message: expect.stringContaining(message) } })
  put({ ...settings, plans: { gold: planWith({ rows: -1 }) } })
  expect(await ask('POST', '/reload')).toMatchObject(refused('plans.gold.quotas.rows'))
  put({ ...settings, plans: {} })
  expect(await ask('POST', '/reload')).toMatchObject(refused('tenant acme has the plan'))
  const signalled = (message: string): Promise<void> => {
    const before = lines.length
    child.kill('SIGHUP')
    return until(() => lines.slice(before).some(({ msg }) => msg === message), message)
  }
  await signalled('plans not renewed')
  expect(await rowsOfGold()).toBe(7_000)
  put({ ...settings, plans: { gold: planWith({ rows: 8_000 }) } })
  await signalled('plans renewed')
  expect(await rowsOfGold()).toBe(8_000)
})

test('from the shell: what one process is told to read anew, another one on the same data reads as well', async () => {
  const folder = createFolder()
  const secret = join(folder, 'secret')
  const admin = join(folder, 'admin')
  writeFileSync(secret, 'a secret of thirty-two bytes or more, for tokens')
  writeFileSync(admin, TOKEN)
  const data = join(folder, 'data')
  const settings = { data, port: 0, auth: { secretFile: secret }, admin: { port: 0, tokenFile: admin } }
  const launchWith = async (name: string) => {
    const file = join(folder, name)
    const put = (rows: number): void =>
      writeFileSync(file, JSON.stringify({ ...settings, plans: { gold: planWith({ rows }) } }))
    put(5)
    const { lines } = await launchServer(['--config', file])
    await until(() => lines.some(({ adminUrl }) => adminUrl !== undefined), 'the admin port listens')
    const url = String(lines.find(({ adminUrl }) => adminUrl !== undefined)?.adminUrl)
    const tidemark = (...args: readonly string[]) => ended(launch([...args, '--url', url, '--token-file', admin]))
    return { put, lines, tidemark }
  }
  const [one, two] = [await launchWith('one.json'), await launchWith('two.json')]
  one.put(6)
  two.put(-1)
  expect(await one.tidemark('reload')).toMatchObject({ code: 0 })
  const [failure, success] = ['plans not renewed', 'plans renewed']
  await until(() => two.lines.some(({ msg }) => msg === failure), 'the other one tells that it cannot use its file')
  expect((await two.tidemark('plans')).stdout).toMatch(/^gold +0 +5 /m)
  two.put(7)
  expect(await one.tidemark('reload')).toMatchObject({ code: 0 })
  await until(() => two.lines.some(({ msg }) => msg === success), 'the other one has read its file')
  expect((await two.tidemark('plans')).stdout).toMatch(/^gold +0 +7 /m)
  expect(one.lines.filter(({ msg }) => msg === success)).toHaveLength(2)
})
