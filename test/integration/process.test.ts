/** The server as a process of its own, started from the shell: it is killed, told to stop, and told wrong things. */

import type { ChildProcess } from 'node:child_process'
import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ended, launch, launchServer, type Started } from './shell.ts'
import {
  contentOf,
  createFolder,
  linkTo,
  type NoteReplica,
  openLinked,
  openNotes,
  openRawSocket,
  settleAll,
  stateOf,
  tcpOf,
  until,
} from './stage.ts'

/** Resolves when the server listens. */
function serve(dataDir: string, port = 0): Promise<Started> {
  return launchServer(['--dev', '--data', dataDir, '--port', String(port)])
}

function killed(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    child.removeAllListeners('exit')
    child.once('exit', () => resolve())
    child.kill('SIGKILL')
  })
}

/** Keeps ten writes under way until stopped. */
function load(replica: NoteReplica, name: string): { stop: () => Promise<void> } {
  let isStopped = false
  let count = 0
  const write = async (): Promise<void> => {
    while (!isStopped) {
      await replica.table('notes').insert({ id: `${name}-${count++}`, title: name, done: false })
      // A store in memory never waits for anything: the sockets would not get a turn.
      await new Promise((resolve) => setImmediate(resolve))
    }
  }
  const writers = Promise.all(Array.from({ length: 10 }, write))
  return {
    stop: async () => {
      isStopped = true
      await writers
    },
  }
}

/** The own changes that a server has answered. */
function answeredBy(replica: NoteReplica): number {
  return replica.clock.get(replica.id) - replica.pending
}

test('a server that is killed under load has everything that it ever acknowledged', async () => {
  const dataDir = createFolder()
  let server = await serve(dataDir)
  const { port, url } = server
  const [a, b] = [await openLinked(url), await openLinked(url)]
  await settleAll(a.link, b.link)
  for (let kill = 0; kill < 3; kill++) {
    const loads = [load(a.replica, `a${kill}`), load(b.replica, `b${kill}`)]
    const before = answeredBy(a.replica)
    await until(() => answeredBy(a.replica) > before + 200, 'changes are acknowledged')
    await killed(server.child)
    await Promise.all([stateOf(a.link, 'offline'), stateOf(b.link, 'offline')])
    await Promise.all(loads.map(({ stop }) => stop()))
    await Promise.all([a.link.close(), b.link.close()])
    const answered = [answeredBy(a.replica), answeredBy(b.replica)]

    server = await serve(dataDir, port)
    // Somebody who was never there sees what the store held after the kill, before the writers come back.
    const witness = await openLinked(url)
    await settleAll(witness.link)
    expect(witness.replica.clock.get(a.replica.id)).toBeGreaterThanOrEqual(answered[0] ?? 0)
    expect(witness.replica.clock.get(b.replica.id)).toBeGreaterThanOrEqual(answered[1] ?? 0)

    a.link = linkTo(a.replica, url)
    b.link = linkTo(b.replica, url)
    await settleAll(a.link, b.link, witness.link)
    expect(await contentOf(a.replica)).toEqual(await contentOf(b.replica))
    expect(await contentOf(witness.replica)).toEqual(await contentOf(a.replica))
  }
})

test('SIGTERM lets commits end, sends clients away for now, and exits with 0', async () => {
  const server = await serve(createFolder())
  server.child.removeAllListeners('exit')
  const { replica, link } = await openLinked(server.url)
  await settleAll(link)
  const writing = load(replica, 'a')
  await until(() => answeredBy(replica) > 50, 'changes are acknowledged')
  const exit = ended(server.child)
  server.child.kill('SIGTERM')
  const { lastError } = await stateOf(link, 'offline')
  expect(lastError).toMatchObject({ code: 'unavailable', retryable: true })
  expect(await exit).toMatchObject({ code: 0, signal: null, stderr: '' })
  await writing.stop()
  expect(server.lines.map(({ msg }) => msg)).toContain('closed')
})

test('a second signal ends it at once, whoever still has to be waited for', async () => {
  const server = await serve(createFolder())
  server.child.removeAllListeners('exit')
  const socket = await openRawSocket(server.url)
  tcpOf(socket).pause()
  const exit = ended(server.child)
  server.child.kill('SIGINT')
  await until(() => server.lines.some(({ msg }) => msg === 'draining'), 'it has begun to drain')
  server.child.kill('SIGTERM')
  expect(await exit).toMatchObject({ code: 1, signal: null })
})

describe('from the shell', () => {
  test('--help and --version answer, and a word that is none gets help', async () => {
    const [help, serveHelp, version, wrong] = await Promise.all([
      ended(launch(['--help'])),
      ended(launch(['serve', '--help'])),
      ended(launch(['--version'])),
      ended(launch(['sevre'])),
    ])
    expect(help).toMatchObject({ code: 0, stdout: expect.stringContaining('serve') })
    for (const word of ['--data', '--port', '--dev', 'TIDEMARK_PORT', '7300', 'Examples:', '/readyz']) {
      expect(serveHelp.stdout).toContain(word)
    }
    expect(version.stdout).toMatch(/^\d+\.\d+\.\d+\n$/)
    expect(wrong).toMatchObject({ code: 1, stderr: expect.stringContaining('Did you mean serve?') })
  })

  test('what is wrong is said in one line that tells what to do', async () => {
    const running = await serve(createFolder())
    const file = join(createFolder(), 'file')
    writeFileSync(file, '')
    const folder = createFolder()
    const [noDev, publicHost, badPort, noFolder, takenPort] = await Promise.all([
      ended(launch(['serve', '--data', folder])),
      ended(launch(['serve', '--dev', '--data', folder, '--host', '0.0.0.0'])),
      ended(launch(['serve', '--dev', '--data', folder, '--port', 'http'])),
      ended(launch(['serve', '--dev', '--data', file])),
      ended(launch(['serve', '--dev', '--data', folder, '--port', String(running.port)])),
    ])
    expect(noDev).toMatchObject({ code: 1, stderr: expect.stringContaining('Add --dev') })
    expect(publicHost).toMatchObject({ code: 1, stderr: expect.stringContaining('127.0.0.1') })
    expect(badPort).toMatchObject({ code: 1, stderr: expect.stringContaining('0 to 65535') })
    expect(noFolder).toMatchObject({ code: 1, stderr: expect.stringContaining('--data') })
    expect(takenPort).toMatchObject({ code: 1, stderr: expect.stringContaining(`port ${running.port}`) })
    for (const { stderr } of [noDev, publicHost, badPort, noFolder, takenPort]) {
      expect(stderr.trim().split('\n').length).toBeLessThanOrEqual(2)
      expect(stderr).not.toContain('    at ')
    }
  })

  test('options come from the environment as well, and --pretty says how to connect', async () => {
    const child = launch(['serve', '--dev', '--pretty'], {
      TIDEMARK_DATA: createFolder(),
      TIDEMARK_PORT: '0',
    })
    let stdout = ''
    child.stdout?.on('data', (text) => {
      stdout += text
    })
    await until(() => stdout.includes('Ctrl-C'), 'it says how to stop it')
    expect(stdout).toMatch(/connect\(replica, \{ url: 'http:\/\/127\.0\.0\.1:\d+' \}\)/)
    const [, url] = stdout.match(/(http:\/\/127\.0\.0\.1:\d+)/) ?? []
    await settleAll(linkTo(await openNotes(), String(url)))
  })
})
