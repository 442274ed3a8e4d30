/** A server whose data directory comes from a backup: real processes, sockets and LMDB, and clients that come back by themselves. */

import { cpSync, rmSync } from 'node:fs'
import { expect, test } from 'vitest'
import { ended, launch, launchServer, type Started } from './shell.ts'
import { contentOf, createFolder, linkTo, type NoteReplica, openLinked, settleAll, stateOf, until } from './stage.ts'

const TIMEOUT_MS = 60_000

const serve = (data: string, port = 0): Promise<Started> =>
  launchServer(['--dev', '--data', data, '--port', String(port)])

async function stop({ child }: Started, signal: NodeJS.Signals): Promise<void> {
  child.removeAllListeners('exit')
  const exit = ended(child)
  child.kill(signal)
  await exit
}

/** The directory as it was: everything that came since is gone. */
function rollBack(data: string, backup: string): void {
  rmSync(data, { recursive: true })
  cpSync(backup, data, { recursive: true })
}

async function write(replica: NoteReplica, id: string, title: string): Promise<void> {
  await replica.table('notes').upsert({ id, title, done: false })
}

async function titlesOf(replica: NoteReplica): Promise<readonly string[]> {
  const titles: string[] = []
  for await (const { title } of replica.table('notes').scan()) titles.push(title)
  return titles
}

test('what the backup has not comes back from its writers, and all are equal again', {
  timeout: TIMEOUT_MS,
}, async () => {
  const [data, backup] = [createFolder(), createFolder()]
  let server = await serve(data)
  const { port, url } = server
  const [a, b] = [await openLinked(url), await openLinked(url)]
  await write(a.replica, 'n1', 'before the backup')
  await settleAll(a.link, b.link)
  await stop(server, 'SIGTERM')
  cpSync(data, backup, { recursive: true })

  server = await serve(data, port)
  await write(a.replica, 'n1', 'after the backup')
  await write(a.replica, 'n2', 'only of a')
  await settleAll(a.link, b.link)
  await write(b.replica, 'n1', 'on top of it')
  await settleAll(b.link, a.link)
  await stop(server, 'SIGKILL')
  await write(b.replica, 'n3', 'while there was no server')
  await a.link.close()
  rollBack(data, backup)
  const told = await ended(launch(['restored', '--data', data, '--all']))
  expect(told).toMatchObject({ code: 0, stderr: '' })
  expect(told.stdout).toMatch(/^TENANT +EPOCH +WAITS UNTIL\nacme +\d{13} +\d{4}-\d\d-\d\dT/)

  server = await serve(data, port)
  await until(() => b.link.status.pause !== undefined, 'b waits for what a wrote')
  expect(b.link.status).toMatchObject({ state: 'live', pause: { resource: 'lost-changes' } })
  await expect(b.link.settled()).rejects.toMatchObject({ code: 'server-restored' })
  const link = linkTo(a.replica, url)
  await settleAll(link)
  await until(() => b.link.status.pause === undefined, 'b goes on')
  await settleAll(b.link, link)
  const witness = await openLinked(url)
  await settleAll(witness.link)
  const content = await contentOf(a.replica)
  expect(await titlesOf(a.replica)).toEqual(['on top of it', 'only of a', 'while there was no server'])
  expect(await contentOf(b.replica)).toEqual(content)
  expect(await contentOf(witness.replica)).toEqual(content)
  for (const { replica } of [a, b]) {
    expect(await replica.rejected()).toEqual([])
    expect(replica.clock.compare(witness.replica.clock)).toBe('equal')
  }
})

test('a loss that shows is found out without being told', { timeout: TIMEOUT_MS }, async () => {
  const [data, backup] = [createFolder(), createFolder()]
  let server = await serve(data)
  const { port, url } = server
  const a = await openLinked(url)
  await settleAll(a.link)
  await stop(server, 'SIGTERM')
  cpSync(data, backup, { recursive: true })
  server = await serve(data, port)
  await write(a.replica, 'n1', 'after the backup')
  await settleAll(a.link)
  await stop(server, 'SIGKILL')
  await stateOf(a.link, 'offline')
  rollBack(data, backup)
  server = await serve(data, port)
  await settleAll(a.link)
  const witness = await openLinked(url)
  await settleAll(witness.link)
  expect(await contentOf(witness.replica)).toEqual(await contentOf(a.replica))
  await stop(server, 'SIGTERM')
  const over = await ended(launch(['restored', '--data', data, '--tenant', 'acme', '--over']))
  expect(over.stdout).toMatch(/\nacme +1 +it does not wait\n/)
})

test('a directory or tenant that is not there, or both ways at once, is told and not made', async () => {
  const empty = createFolder()
  const [nowhere, both, neither] = await Promise.all([
    ended(launch(['restored', '--data', empty, '--all'])),
    ended(launch(['restored', '--data', empty, '--all', '--tenant', 'acme'])),
    ended(launch(['restored', '--data', empty])),
  ])
  expect(nowhere).toMatchObject({ code: 1, stderr: expect.stringContaining('no server’s data') })
  for (const { code, stderr } of [both, neither])
    expect({ code, stderr }).toMatchObject({ code: 1, stderr: expect.stringContaining('--all') })
})
