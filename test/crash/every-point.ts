/**
 * Every crash point of a recording, on one kind of disk.
 */
import type { Adapter } from './adapters.ts'
import { type CrashPoint, crashPointsOf, describePoint, sufferCrash } from './aftermath.ts'
import { PARTIES, type Recording } from './recording.ts'

export interface CrashReport {
  readonly points: number
  readonly wrong: readonly string[]
}

const WRONG_MAX = 10

export async function crashEverywhere(recording: Recording, adapter: Adapter): Promise<CrashReport> {
  const wrong: string[] = []
  let points = 0
  for (const party of PARTIES) {
    const disk = await adapter()
    const due = crashPointsOf(recording, party)
    for (const [index, commit] of recording.commitsOf(party).entries()) {
      await disk.play(commit)
      const here = due.filter(({ commits }) => commits === index + 1)
      for (const point of here) {
        points++
        if (wrong.length < WRONG_MAX) wrong.push(...(await crashAt(recording, point, await disk.copy())))
      }
    }
    await disk.end()
  }
  return { points, wrong }
}

async function crashAt(
  recording: Recording,
  point: CrashPoint,
  { store, end }: Awaited<ReturnType<Awaited<ReturnType<Adapter>>['copy']>>,
): Promise<string[]> {
  try {
    return (await sufferCrash(recording, point, store)).map((what) => `${describePoint(point)}: ${what}`)
  } finally {
    await end()
  }
}
