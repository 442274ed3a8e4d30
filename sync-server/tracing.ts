/**
 * Traces, for whoever has configured an OpenTelemetry SDK in this process. Without one nothing is recorded, and next to
 * nothing is done.
 *
 *   tidemark.connection   from admission to the end of the session
 *     tidemark.frame      one frame that came in: scanned, read, handed on
 *   tidemark.commit       one commit of a tenant's store, to its flush; many connections may share it
 *
 * Knows: the API of OpenTelemetry. Must never know: an SDK, where traces go; values of rows.
 */
import { context, type Span, SpanStatusCode, type Tracer, trace } from '@opentelemetry/api'
import type { TidemarkError } from '../core/index.ts'
import type { CommitOutcome } from './observed-stores.ts'

const NAME = 'tidemark'

export interface ConnectionTrace {
  /** Carries out what a frame asks for, within its span. */
  frame(bytes: number, work: () => void): void
  end(error: TidemarkError | undefined): void
}

export function traceConnection(tenant: string, transport: string): ConnectionTrace {
  const span = tracer().startSpan('tidemark.connection', {
    attributes: { 'tidemark.tenant': tenant, 'tidemark.transport': transport },
  })
  const inside = trace.setSpan(context.active(), span)
  return {
    frame: (bytes, work) => {
      if (!span.isRecording()) return work()
      const attributes = { 'tidemark.tenant': tenant, 'tidemark.bytes': bytes }
      const frame = tracer().startSpan('tidemark.frame', { attributes }, inside)
      try {
        context.with(trace.setSpan(inside, frame), work)
      } finally {
        frame.end()
      }
    },
    end: (error) => {
      if (error !== undefined) fail(span, error.code)
      span.end()
    },
  }
}

/** Answers with what is told how the commit ended. */
export function traceCommit(tenant: string): (outcome: CommitOutcome) => void {
  const span = tracer().startSpan('tidemark.commit', { attributes: { 'tidemark.tenant': tenant } })
  return (outcome) => {
    span.setAttribute('tidemark.outcome', outcome)
    if (outcome === 'failed') fail(span, outcome)
    span.end()
  }
}

function fail(span: Span, message: string): void {
  span.setStatus({ code: SpanStatusCode.ERROR, message })
}

/** Asked for each time: an SDK may be configured after the server was loaded. */
function tracer(): Tracer {
  return trace.getTracer(NAME)
}
