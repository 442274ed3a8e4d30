/**
 * Where the subjects are. Each file exports `subjects: readonly Subject[]` (see workloads.ts) and is loaded only in
 * the processes that measure it, so that no library weighs on the memory or the start of another.
 */
export const tidemarkFiles: readonly string[] = [
  './tidemark.ts',
  './tidemark-sync.ts',
  './tidemark-sockets.ts',
  './tidemark-clocks.ts',
  './tidemark-flushes.ts',
  './tidemark-conflicts.ts',
  './tidemark-plain.ts',
]

/** Need `npm ci --prefix bench`; run with `--peers`. */
export const peerFiles: readonly string[] = [
  './peers/socket-io.ts',
  './peers/raw-lmdb.ts',
  './peers/yjs.ts',
  './peers/yjs-sockets.ts',
  './peers/loro.ts',
  './peers/automerge.ts',
  './peers/rxdb.ts',
  './peers/pouchdb.ts',
  './peers/tinybase.ts',
]
