/**
 * The one error type that reaches a client. `code` is S3's; status and default message come from the table in
 * `protocol/errors.ts`. `fields` are the further elements that AWS writes into the error document (BucketName, Key,
 * ArgumentName ...), `headers` are added to the answer (Retry-After, Content-Range ...).
 */
export class S3Error extends Error {
  readonly code: string
  readonly fields: Readonly<Record<string, string>>
  readonly headers: Readonly<Record<string, string>>
  /** Overrides the status of the code's row: the same code has more than one status in a few places. */
  readonly status: number | undefined

  constructor(
    code: string,
    message?: string,
    more: { fields?: Record<string, string>; headers?: Record<string, string>; status?: number; cause?: unknown } = {},
  ) {
    super(message ?? '', more.cause === undefined ? undefined : { cause: more.cause })
    this.name = 'S3Error'
    this.code = code
    this.fields = more.fields ?? {}
    this.headers = more.headers ?? {}
    this.status = more.status
  }
}
