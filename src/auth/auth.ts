import type { AccessKey } from '../metadata/store.ts'
import type { PayloadSignature } from '../blobs/blobs.ts'
import type { Principal } from '../domain/model.ts'
import type { S3Request } from '../protocol/request.ts'

/**
 * Door of the auth room. It promises: denied by default; only a valid signature over everything that is obeyed passes
 * (each `x-amz-*` header of the request must be among the signed ones, in every form); comparison is constant-time.
 */
export interface Auth {
  /**
   * Verifies the request's signature (SigV4 header or query, signature version 2 header or query) without reading the body.
   * Rejects with the S3Error of `BAD_REQUESTS`: AccessDenied (anonymous, unsigned header, expired), InvalidAccessKeyId,
   * SignatureDoesNotMatch (with CanonicalRequest, StringToSign and their bytes as fields), RequestTimeTooSkewed,
   * AuthorizationHeaderMalformed, AuthorizationQueryParametersError, InvalidArgument, InvalidRequest.
   */
  authenticate(request: S3Request): Promise<Authenticated>
  /** Identity policies only, so far: root keys may all, users what their policies allow. Bucket ownership is checked by the operation's dispatch. */
  authorise(principal: Principal, action: string, resource: string): void
}

export interface Authenticated {
  readonly principal: Principal
  readonly payload: PayloadSignature
  readonly signatureVersion: 2 | 4
  /** True when the signature came in the query: response-header overrides are allowed in both, the log marks it. */
  readonly presigned: boolean
}

export interface AuthOptions {
  readonly region: string
  /** `off` refuses signature version 2 with InvalidRequest. */
  readonly signatureV2: 'on' | 'off'
  /** Host (and port) that clients signed behind a proxy, null to use the Host header alone. */
  readonly publicHost: string | null
  /** For virtual-host addressing: signature version 2 signs `/bucket/key`. */
  readonly accessKey: (id: string) => Promise<AccessKey | null>
  readonly now: () => number
}
