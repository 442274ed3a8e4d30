/**
 * What the pure rooms take from outside: the globals that every runtime has.
 *
 * Knows: the parts of them that core and tenant use. Must never know: timers, sockets, files, the page, the process.
 * Only the pure rooms see this file. The others read built declarations, so their DOM and Node types never meet it.
 */

interface TextEncoder {
  encode(input?: string): Uint8Array<ArrayBuffer>
  encodeInto(source: string, destination: Uint8Array): { readonly read: number; readonly written: number }
}
declare var TextEncoder: { new (): TextEncoder }

interface TextDecoder {
  decode(input?: ArrayBuffer | ArrayBufferView): string
}
declare var TextDecoder: {
  new (label?: 'utf-8', options?: { readonly fatal?: boolean; readonly ignoreBOM?: boolean }): TextDecoder
}

declare var crypto: { getRandomValues<Bytes extends ArrayBufferView>(bytes: Bytes): Bytes }

declare var performance: { now(): number }

declare function queueMicrotask(callback: () => void): void
