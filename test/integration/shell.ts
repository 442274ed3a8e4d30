/**
 * The command line as its user has it: a process of its own, with flags, environment, streams and an exit code.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { onTestFinished } from 'vitest'

const root = fileURLToPath(new URL('../..', import.meta.url))

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export interface Started {
  readonly child: ChildProcess
  readonly url: string
  readonly port: number
  /** Lines of its log so far. */
  readonly lines: Record<string, unknown>[]
}

/** `undefined` in the environment takes a variable away. */
export function launch(args: readonly string[], env: NodeJS.ProcessEnv = {}): ChildProcess {
  const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'sync-server/cli.ts'), ...args], {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  onTestFinished(() => {
    child.kill('SIGKILL')
  })
  return child
}

export function ended(child: ChildProcess): Promise<Ended> {
  let [stdout, stderr] = ['', '']
  child.stdout?.on('data', (text) => {
    stdout += text
  })
  child.stderr?.on('data', (text) => {
    stderr += text
  })
  return new Promise((resolve) => child.once('close', (code, signal) => resolve({ code, signal, stdout, stderr })))
}

/** Runs `tidemark serve` with these flags. Resolves when it listens. */
export function launchServer(args: readonly string[], env: NodeJS.ProcessEnv = {}): Promise<Started> {
  const child = launch(['serve', ...args], env)
  const lines: Record<string, unknown>[] = []
  let stderr = ''
  child.stderr?.on('data', (text) => {
    stderr += text
  })
  return new Promise((resolve, reject) => {
    child.once('exit', (code) => reject(new Error(`it ended with ${code}: ${stderr}`)))
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      const fields = JSON.parse(line) as Record<string, unknown>
      lines.push(fields)
      if (fields.msg === 'listening') resolve({ child, url: String(fields.url), port: Number(fields.port), lines })
    })
  })
}
