/**
 * The processes that are killed, as their parent sees them: what they have said, over all their lives.
 *
 * Knows: lines and lives. Must never know: when to kill, or what is right.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import type { Request } from './actor-child.ts'

/** A machine may have other things to do than to start processes. */
const START_MS = 300_000
const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const CHILD = fileURLToPath(new URL('actor-child.ts', import.meta.url))

/** One process, and what it has said since it was started. */
class Actor {
  readonly #args: readonly string[]
  #child: ChildProcess | undefined
  #lines: string[] = []
  #onLine: () => void = () => {}
  kills = 0

  constructor(...args: readonly string[]) {
    this.#args = args
  }

  async start(): Promise<void> {
    this.#spawn()
    await this.until('ready', START_MS)
  }

  /** A life that ends while it begins. */
  async startAndKill(afterMs: number): Promise<void> {
    this.#spawn()
    await new Promise((resolve) => setTimeout(resolve, afterMs))
    await this.kill()
  }

  send(request: Request): void {
    this.#child?.send(request)
  }

  /** Resolves when everything that it had said has been read. */
  async kill(): Promise<void> {
    this.kills++
    await this.end()
  }

  async end(): Promise<void> {
    const child = this.#child
    this.#child = undefined
    if (child === undefined) return
    const gone = once(child, 'close')
    child.kill('SIGKILL')
    await gone
  }

  /** Waits for a line that begins so, and answers with all lines since the last time. */
  until(wanted: string, ms: number): Promise<readonly string[]> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${this.#args.join(' ')} did not say "${wanted}" within ${ms} ms`)),
        ms,
      )
      const look = (): void => {
        if (!this.#lines.some((line) => line.startsWith(wanted))) return
        clearTimeout(timer)
        this.#onLine = () => {}
        resolve(this.#lines.splice(0))
      }
      this.#onLine = look
      look()
    })
  }

  /** What is not for `until` is taken here. */
  protected take(line: string): void {
    this.#lines.push(line)
  }

  #spawn(): void {
    this.#lines = []
    const child = spawn(process.execPath, ['--import', 'tsx', CHILD, ...this.#args], {
      cwd: ROOT,
      stdio: ['ignore', 'pipe', 'inherit', 'ipc'],
    })
    this.#child = child
    createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', (line) => {
      this.take(line)
      this.#onLine()
    })
  }
}

export class ServerActor extends Actor {
  /** Replica → seq: what its disk held when it started last, before anybody could push. */
  readonly held = new Map<string, number>()

  constructor(directory: string, port: number) {
    super('server', directory, `${port}`)
  }

  protected override take(line: string): void {
    const [word, replica = '', seq] = line.split(' ')
    if (word === 'holds') this.held.set(replica, Number(seq))
    else super.take(line)
  }
}

export class ReplicaActor extends Actor {
  readonly name: string
  /** Rows and increments that its app was told are kept. */
  readonly kept = new Set<string>()
  increments = 0
  /** Up to which of its own changes it had the server's answer. */
  answered = 0
  /** Every identity that it ever had. */
  readonly ids = new Set<string>()

  constructor(directory: string, url: string, name: string, pauseMs: number) {
    super('replica', directory, url, name, `${pauseMs}`)
    this.name = name
  }

  /** What it misses of what it was promised. */
  async check(): Promise<readonly string[]> {
    this.send({ type: 'check', rows: [...this.kept], increments: this.increments })
    const lines = await this.until('checked', START_MS)
    return lines.filter((line) => line.startsWith('missing')).map((line) => `${this.name}: ${line}`)
  }

  protected override take(line: string): void {
    const [word = '', text = '', seq] = line.split(' ')
    if (word === 'kept') this.kept.add(text)
    else if (word === 'counted') this.increments++
    else if (word === 'is') this.ids.add(text)
    else if (word === 'answered') this.answered = Math.max(this.answered, Number(seq))
    else super.take(line)
  }
}
