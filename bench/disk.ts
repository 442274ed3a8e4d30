/** What a directory takes on the disk: allocated blocks, so that holes in a preallocated file do not count. */
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'

export function diskBytesOf(directory: string): number {
  let bytes = 0
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    const entry = statSync(join(directory, name))
    if (entry.isFile()) bytes += entry.blocks * 512
  }
  return bytes
}
