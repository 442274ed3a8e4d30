/**
 * The parent's side of the server under fire (server-child.ts): starts it, asks it, collects what it complains about.
 */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Limits } from '../../core/index.ts'
import type { RawAddress } from './raw-socket.ts'
import type { Audit, Report, Request } from './server-child.ts'

/** A machine may have other things to do than to start processes. */
const START_MS = 180_000
const ANSWER_MS = 60_000

export type StoreKind = 'memory' | 'lmdb'

/** What is kept of how a server fared. */
export interface Health {
  /** Errors that nobody caught, and errors in the log. */
  readonly troubles: string[]
  readonly stalls: { readonly ms: number; readonly busyMs: number }[]
  memoryBytesMax: number
  /** When it was measured last. */
  memoryBytes: number
  /** Open TCP connections then. */
  sockets: number
}

export class ServerProcess {
  readonly health: Health = { troubles: [], stalls: [], memoryBytesMax: 0, memoryBytes: 0, sockets: 0 }
  readonly #child: ChildProcess
  #address: RawAddress = { host: '127.0.0.1', port: 0 }
  readonly #audits: ((audit: Audit) => void)[] = []
  #onListening: () => void = () => {}

  private constructor(child: ChildProcess) {
    this.#child = child
    child.on('message', (report: Report) => this.#take(report))
    child.on('exit', (code, signal) => {
      if (code !== 0) this.health.troubles.push(`the server process ended: ${code ?? signal}`)
    })
  }

  static async start(store: StoreKind, limits: Partial<Limits> = {}): Promise<ServerProcess> {
    const path = fileURLToPath(new URL('server-child.ts', import.meta.url))
    const child = fork(path, [store, JSON.stringify(limits)], {
      execArgv: ['--import', 'tsx'],
      stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
    })
    const server = new ServerProcess(child)
    await within(START_MS, 'the server did not start', (resolve) => {
      server.#onListening = resolve
    })
    return server
  }

  get address(): RawAddress {
    return this.#address
  }

  get url(): string {
    return `http://${this.#address.host}:${this.#address.port}`
  }

  /** What the tenant's store holds now. */
  audit(tenant: string): Promise<Audit> {
    const answered = within<Audit>(ANSWER_MS, 'the server did not answer', (resolve) => this.#audits.push(resolve))
    this.#ask({ type: 'audit', tenant })
    return answered
  }

  async end(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const gone = once(this.#child, 'exit')
    this.#ask({ type: 'end' })
    const timer = setTimeout(() => this.#child.kill('SIGKILL'), ANSWER_MS)
    await gone
    clearTimeout(timer)
  }

  #ask(request: Request): void {
    this.#child.send(request)
  }

  #take(report: Report): void {
    switch (report.type) {
      case 'listening':
        this.#address = { host: report.host, port: report.port }
        return this.#onListening()
      case 'audit':
        return this.#audits.shift()?.(report.audit)
      case 'stall':
        this.health.stalls.push({ ms: report.ms, busyMs: report.busyMs })
        return
      case 'memory':
        this.health.memoryBytes = report.bytes
        this.health.sockets = report.sockets
        this.health.memoryBytesMax = Math.max(this.health.memoryBytesMax, report.bytes)
        return
      case 'trouble':
        this.health.troubles.push(report.what)
        return
    }
  }
}

function within<Answer = void>(
  ms: number,
  what: string,
  begin: (resolve: (answer: Answer) => void) => void,
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`${what} within ${ms} ms`)), ms)
    begin((answer) => {
      clearTimeout(timer)
      resolve(answer)
    })
  })
}
