import { limitedBy, readLimits, type LimitsDocument, type LimitsSource } from '../gateway/admission.ts'
import { AdminError, type AdminRoute, type Schema } from '../gateway/control.ts'
import type { Log } from '../telemetry/log.ts'

/** What the calls about limits need. */
export interface LimitsPart {
  /** What is in force, and where it comes from; source null: no file is named. */
  readonly show: () => { readonly document: LimitsDocument; readonly source: LimitsSource | null }
  /** Writes the document, which was found to be in order, to the file, durably. Rejects with what the file system says. */
  readonly replace: (file: string, document: object) => Promise<void>
}

const numberOr = (description: string): Schema => ({ type: 'number', nullable: true, description })
const server: Schema = {
  type: 'object', properties: {
    concurrent: numberOr('Requests at once; accounts take turns for what becomes free'), queue: { type: 'number', description: 'Requests of one account that may wait' },
    queueSeconds: { type: 'number', description: 'How long they wait' }, eventLoopDelayMs: numberOr('Nothing new is begun while the event loop comes this late'),
    memoryBytes: numberOr('Nothing new is begun while the process has more'),
  },
}
const limit: Schema = {
  type: 'object', required: ['by'], properties: {
    by: { type: 'string', enum: limitedBy }, name: { type: 'string', nullable: true, description: 'Null: each one that has no limit of its own' },
    requestsPerSecond: numberOr('Requests a second'), bytesPerSecond: numberOr('Of bodies in both directions'), burstSeconds: { type: 'number', description: 'What was not used for so long may be used at once' },
    concurrent: numberOr('Requests at once; of accounts only'),
  },
}
const document = { server, limits: { type: 'array', items: limit } } as const satisfies Record<string, Schema>
const shown: Schema = {
  type: 'object', properties: {
    file: { type: 'string', nullable: true, description: 'HOLDFAST_LIMITS_FILE' }, readAt: { type: 'string', nullable: true, description: 'When what is in force was read' },
    refusal: { type: 'object', nullable: true, description: 'What the file says now is not in force', properties: { at: { type: 'string' }, reason: { type: 'string' } } },
    ...document,
  },
}

export function limitsRoutes({ limits: part, log }: { readonly limits: LimitsPart; readonly log: Log }): readonly AdminRoute[] {
  const answer = (): object => {
    const { document: { server: ofServer, limits }, source } = part.show()
    const refusal = source?.refusal ?? null
    return {
      file: source?.file ?? null, readAt: source === null ? null : new Date(source.readAt).toISOString(),
      refusal: refusal === null ? null : { at: new Date(refusal.at).toISOString(), reason: refusal.reason }, server: ofServer, limits,
    }
  }
  return [
    { name: 'getLimits', method: 'GET', path: '/limits', summary: 'The limits in force, the file they come from, and why a newer one was refused', answer: shown, run: answer },
    {
      name: 'setLimits', method: 'PUT', path: '/limits', summary: 'Replaces all of them, in the file that HOLDFAST_LIMITS_FILE names: in force within a second wherever it is read, and after the next start',
      body: { type: 'object', properties: document, required: ['limits'] }, answer: shown,
      async run({ body, by }) {
        const file = part.show().source?.file
        if (file === undefined) throw new AdminError(409, 'The limits are kept in a file, and none is named: set HOLDFAST_LIMITS_FILE and start anew.')
        try {
          readLimits(body)
        } catch (error) {
          throw new AdminError(400, error instanceof Error ? error.message : String(error))
        }
        try {
          await part.replace(file, body)
        } catch (error) {
          log.error('The file of the limits cannot be replaced', { file, error })
          const reason = (error as NodeJS.ErrnoException).code ?? String(error)
          throw new AdminError(409, `${file} cannot be replaced (${reason}): change it where it comes from, a ConfigMap for instance, or mount its folder so that the server may write there.`)
        }
        log.warn('The limits were changed through the control port', { file, by: by.accessKeyId })
        return answer()
      },
    },
  ]
}
