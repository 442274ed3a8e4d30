/** The sessions in docs/operations.md that begin with nothing, by making a secret: typed in as they stand. */

import { spawn } from 'node:child_process'
import { chmodSync, readFileSync, writeFileSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, onTestFinished, test } from 'vitest'
import { freePort } from '../free-port.ts'
import { createFolder } from './stage.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))
const text = readFileSync(join(root, 'docs/operations.md'), 'utf8')
const sessions = [...text.matchAll(/^```sh\n([\s\S]*?)^```$/gm)]
  .map((match) => match[1] ?? '')
  .filter((session) => session.startsWith('tidemark secret'))

test('there are sessions', () => {
  expect(sessions.length).toBeGreaterThanOrEqual(2)
})

test.each(sessions)('this one runs: %s', { timeout: 120_000 }, async (session) => {
  const folder = createFolder()
  const command = join(folder, 'tidemark')
  writeFileSync(
    command,
    `#!/bin/sh\nexec '${process.execPath}' --import '${root}node_modules/tsx/dist/esm/index.mjs' '${root}sync-server/cli.ts' "$@"\n`,
  )
  chmodSync(command, 0o755)
  const adminPort = await freePort()
  const shell = spawn('sh', [], {
    cwd: folder,
    env: {
      ...process.env,
      PATH: `${folder}${delimiter}${process.env.PATH}`,
      TIDEMARK_PORT: String(await freePort()),
      TIDEMARK_ADMIN_PORT: String(adminPort),
      TIDEMARK_ADMIN_URL: `http://127.0.0.1:${adminPort}`,
    },
    detached: true,
  })
  onTestFinished(() => {
    // With what it has put into the background.
    if (shell.pid !== undefined) process.kill(-shell.pid, 'SIGKILL')
  })
  let output = ''
  let notice = (): void => {}
  for (const stream of [shell.stdout, shell.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      output += chunk
      notice()
    })
  }
  shell.once('exit', () => notice())
  const saying = (words: string): Promise<void> =>
    new Promise((resolve) => {
      notice = () => {
        if (output.includes(words) || shell.exitCode !== null) resolve()
      }
      notice()
    })
  const lines = session.trim().split('\n')
  for (const [index, line] of lines.entries()) {
    const isBackground = /&\s*$/.test(line)
    shell.stdin.write(isBackground ? `${line}\n` : `${line}\necho "line ${index}: $?"\n`)
    const done = isBackground ? '"msg":"listening"' : `line ${index}: `
    await saying(done)
    if (!isBackground) expect(output, output).toContain(`line ${index}: 0`)
  }
  expect(output).not.toContain('tidemark: ')
})
