/**
 * What each phase of the demo took: changes, time, bytes.
 */
import { formatCount, formatTable } from './text-table.ts'

export interface Figure {
  readonly phase: string
  readonly changes: number
  readonly ms: number
  /** What `bytes` counts: the log on disk, or the sockets. */
  readonly medium: 'log' | 'wire'
  readonly bytes: number
}

export class Figures {
  readonly #figures: Figure[] = []

  /** Runs a phase; `work` answers with its changes and bytes. */
  async measure(
    phase: string,
    medium: Figure['medium'],
    work: () => Promise<Pick<Figure, 'changes' | 'bytes'>>,
  ): Promise<void> {
    const startedAt = performance.now()
    const { changes, bytes } = await work()
    const figure = { phase, medium, changes, bytes, ms: performance.now() - startedAt }
    this.#figures.push(figure)
    console.log(`  ${describe(figure)}`)
  }

  toString(): string {
    return formatTable(
      [
        { title: 'phase' },
        { title: 'changes', isRight: true },
        { title: 'time', isRight: true },
        { title: 'changes/s', isRight: true },
        { title: 'bytes', isRight: true },
        { title: 'bytes/change', isRight: true },
        { title: '' },
      ],
      this.#figures.map(({ phase, changes, ms, bytes, medium }) => [
        phase,
        formatCount(changes),
        formatMs(ms),
        formatRate(changes, ms),
        formatCount(bytes),
        changes === 0 ? '' : (bytes / changes).toFixed(0),
        medium === 'log' ? 'in the log' : 'on the wire',
      ]),
    )
  }
}

function describe({ phase, changes, ms, bytes }: Figure): string {
  if (changes === 0) return `✓ ${phase}: nothing to do`
  const what = changes === 1 ? '1 change' : `${formatCount(changes)} changes`
  const isBulk = changes >= BULK_CHANGES
  const rate = isBulk ? ` (${formatRate(changes, ms)}/s)` : ''
  const size = isBulk ? `${(bytes / changes).toFixed(0)} bytes each` : `${formatCount(bytes)} bytes`
  return `✓ ${phase}: ${what} in ${formatMs(ms)}${rate}, ${size}`
}

function formatMs(ms: number): string {
  return ms < 1_000 ? `${ms.toFixed(0)} ms` : `${(ms / 1_000).toFixed(2)} s`
}

/** Of a handful of changes, connecting takes most of the time and bytes. */
const BULK_CHANGES = 100

function formatRate(changes: number, ms: number): string {
  return changes < BULK_CHANGES ? '' : formatCount((changes / ms) * 1_000)
}
