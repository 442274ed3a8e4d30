/**
 * The memory store against the contract; handles share a disk object.
 *
 * Knows: how to make a disk. Must never know: the tree inside.
 */
import { createMemoryDisk } from '../../core/stores/memory.ts'
import { storeContract } from './store-contract.ts'

storeContract('the memory store', async () => {
  const disk = createMemoryDisk()
  return { open: async () => disk.open(), cleanup: async () => {} }
})
