/**
 * What the pure rooms take from outside: the globals that every runtime has, and msgpackr.
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

/** msgpackr's own declarations of this door do not resolve under `nodenext`: everything would silently be `any`. */
declare module 'msgpackr/pack' {
  export interface PackrOptions {
    readonly useRecords?: boolean
    readonly structures?: object[]
    readonly moreTypes?: boolean
    readonly mapsAsObjects?: boolean
    readonly variableMapSize?: boolean
    readonly copyBuffers?: boolean
    readonly useBigIntExtension?: boolean
    readonly largeBigIntToFloat?: boolean
    readonly largeBigIntToString?: boolean
    readonly int64AsType?: 'bigint' | 'number' | 'string'
    readonly encodeUndefinedAsNil?: boolean
    readonly useFloat32?: 0 | 1 | 3 | 4
  }
  export class Unpackr {
    constructor(options?: PackrOptions)
    /** Throws on bytes that are no MessagePack, and on bytes left over. */
    unpack(bytes: Uint8Array): unknown
    unpackMultiple(bytes: Uint8Array): unknown[]
  }
  export class Packr extends Unpackr {
    /** A view into a shared buffer that is never written again, unless `useBuffer` says otherwise. */
    pack(value: unknown): Uint8Array
    useBuffer(bytes: Uint8Array): void
  }
  export function pack(value: unknown): Uint8Array
  export function unpack(bytes: Uint8Array): unknown
  export function addExtension(extension: {
    readonly Class?: abstract new (...parts: never[]) => unknown
    readonly type: number
    readonly pack?: (value: never) => Uint8Array
    readonly unpack?: (bytes: Uint8Array) => unknown
    readonly read?: (value: unknown) => unknown
    readonly write?: (value: never) => unknown
  }): void
}
