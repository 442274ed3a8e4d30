/**
 * The threshold: TCP connections before anybody has asked for anything. How many one address may have, and how long one
 * may stay silent.
 *
 * Knows: TCP sockets and HTTP requests. Must never know: who connects, or what for.
 *
 * Invariants:
 * TH1  No address has more than `perAddressMax` TCP connections at once; trusted proxies, which speak for many, may.
 * TH2  A connection that has sent no whole request in time is cut off: headers that drip in count as silence.
 */
import type { IncomingMessage } from 'node:http'
import type { Socket as TcpSocket } from 'node:net'
import { addressKey } from '../tenant/index.ts'
import type { Listener } from './listener.ts'

export interface ThresholdOptions {
  readonly perAddressMax: number
  readonly isTrusted: (address: string) => boolean
  /** How long a connection may take to its first request. */
  readonly silentMs: number
}

export class Threshold {
  readonly #options: ThresholdOptions
  readonly #sockets = new Set<TcpSocket>()
  readonly #countByAddress = new Map<string, number>()
  readonly #timers = new WeakMap<TcpSocket, ReturnType<typeof setTimeout>>()

  constructor(options: ThresholdOptions) {
    this.#options = options
  }

  /** TCP connections that are open now. */
  get size(): number {
    return this.#sockets.size
  }

  /** After everything else listens to requests: Engine.IO hands on only what was there before it. */
  watch({ http, isSecure }: Listener): void {
    http.on('connection', (socket: TcpSocket) => this.#enter(socket))
    // Under TLS, requests come on a socket around the first one; the handshake has a bound of its own.
    http.on(isSecure ? 'secureConnection' : 'connection', (socket: TcpSocket) => this.#expectRequest(socket))
    const onRequest = ({ socket }: IncomingMessage): void => clearTimeout(this.#timers.get(socket))
    http.prependListener('request', onRequest)
    http.prependListener('upgrade', onRequest)
  }

  /** Ends whatever is left. */
  cutOff(): void {
    for (const socket of this.#sockets) socket.destroy()
  }

  #enter(socket: TcpSocket): void {
    this.#sockets.add(socket)
    socket.once('close', () => this.#sockets.delete(socket))
    const { perAddressMax, isTrusted } = this.#options
    const { remoteAddress } = socket
    // It is gone already.
    if (remoteAddress === undefined) return void socket.destroy()
    if (isTrusted(remoteAddress)) return
    const key = addressKey(remoteAddress)
    const count = (this.#countByAddress.get(key) ?? 0) + 1
    if (count > perAddressMax) return void socket.destroy()
    this.#countByAddress.set(key, count)
    socket.once('close', () => {
      const left = (this.#countByAddress.get(key) ?? 1) - 1
      if (left > 0) this.#countByAddress.set(key, left)
      else this.#countByAddress.delete(key)
    })
  }

  #expectRequest(socket: TcpSocket): void {
    const timer = setTimeout(() => socket.destroy(), this.#options.silentMs)
    this.#timers.set(socket, timer)
    socket.once('close', () => clearTimeout(timer))
  }
}
