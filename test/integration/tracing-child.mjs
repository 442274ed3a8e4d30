/** Loaded into a server's process before anything else, as an operator would load an SDK: tells each span that ends. */
import { trace } from '@opentelemetry/api'

trace.setGlobalTracerProvider({
  getTracer: () => ({
    startSpan: (name) => ({
      spanContext: () => ({ traceId: '1'.repeat(32), spanId: '1'.repeat(16), traceFlags: 1 }),
      isRecording: () => true,
      setAttribute() {},
      setStatus() {},
      end: () => process.stderr.write(`span ${name}\n`),
    }),
  }),
})
