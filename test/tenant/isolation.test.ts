/** Every mode against the isolation suite. */
import { isolationContract } from './isolation-contract.ts'
import { environmentPlace, lmdbPlace, memoryPlace, sharedLmdbPlace, sharedMemoryPlace } from './places.ts'

isolationContract('one shared store in memory', sharedMemoryPlace)
isolationContract('one shared LMDB store', sharedLmdbPlace)
isolationContract('one environment with a store for each', () => memoryPlace('namespace'))
isolationContract('one LMDB environment with a database for each', environmentPlace)
isolationContract('LMDB stores of their own', lmdbPlace)
