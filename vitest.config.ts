/** How the tests run: from the sources, in processes of their own, with doors resolved by tsconfig.json "paths". */
import { defineConfig } from 'vitest/config'

export default defineConfig({
  resolve: { tsconfigPaths: true },
  test: {
    include: ['test/**/*.test.ts'],
    pool: 'forks',
    // Property and crash tests do real work; a hang is still found in half a minute.
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // An `.only` left behind would silently shrink the suite.
    allowOnly: false,
    reporters: ['default'],
  },
})
