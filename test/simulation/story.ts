/**
 * A run in words: what was sent, flushed, and ended when. For reading a failure, never for judging it.
 */
import { blockCount } from '../../core/block.ts'
import { decodeFrame } from '../../core/frame.ts'
import { DEFAULT_LIMITS } from '../../core/limits.ts'
import type { Frame } from '../../core/message.ts'

export type Teller = (atMs: number, line: string) => void

export function describeFrame(bytes: Uint8Array): string {
  const frame = decodeFrame(bytes, DEFAULT_LIMITS)
  const detail = detailOf(frame)
  return detail === '' ? frame.type : `${frame.type} ${detail}`
}

function detailOf(frame: Frame): string {
  switch (frame.type) {
    case 'hello': {
      const { resume } = frame
      const place = resume.type === 'clock' ? `${resume.clock.length} entries` : `${resume.position}`
      return `own ${frame.ownSeq}, answered ${frame.ackedSeq}, resumes by ${resume.type} ${place}`
    }
    case 'welcome':
      return `yours ${frame.yourSeq}, refused ${listOf(frame.refusals)}, from ${frame.from.type === 'log' ? frame.from.position : 'a snapshot'}`
    case 'changes':
      return `${frame.from} to ${frame.to}, ${count(frame.blocks)} entries`
    case 'push':
      return `${count(frame.blocks)} entries`
    case 'ack':
      return `through ${frame.throughSeq}, refused ${listOf(frame.refusals)}`
    case 'credit':
      return `${frame.bytes}`
    case 'snapshot-begin':
      return `at ${frame.position}`
    case 'snapshot-rows':
      return `${frame.table} (${frame.after ?? ''}, ${frame.through ?? ''}]: ${frame.rows.length}`
    case 'mark':
    case 'marked':
      return `${frame.token}`
    case 'refuse':
      return `${frame.code}: ${frame.message}`
    case 'snapshot-end':
      return ''
    default:
      return ''
  }
}

function count(blocks: readonly Uint8Array[]): number {
  return blocks.reduce((sum, block) => sum + blockCount(block), 0)
}

function listOf(refusals: readonly (readonly [number, string])[]): string {
  return refusals.length === 0 ? 'none' : refusals.map(([seq]) => seq).join(' ')
}
