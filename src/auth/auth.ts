import { S3Error } from '../domain/errors.ts'
import { isAllowed } from './policy.ts'
import { createSigningKeys } from './signing.ts'
import { parseHeaderV2, parseQueryV2, verifyV2 } from './sigv2.ts'
import { checkV4, verifyV4 } from './sigv4.ts'
import { parseHeaderV4, parseQueryV4 } from './sigv4-parse.ts'
import type { AccessKey } from '../metadata/store.ts'
import type { PayloadSignature } from '../blobs/blobs.ts'
import type { Principal } from '../domain/model.ts'
import type { S3Request } from '../protocol/request.ts'
import type { ParsedV2 } from './sigv2.ts'
import type { ParsedV4 } from './sigv4-parse.ts'

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

const onlyOneMechanism = 'Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string parameter '
  + 'or the Authorization header should be specified'
const versionTwoRefused = 'The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256.'

type Form = 'header-v4' | 'header-v2' | 'query-v4' | 'query-v2'

/**
 * Which form a request uses. Throws AccessDenied for none and InvalidArgument for several or an unknown scheme.
 * A HEAD without a signature is how SDKs look for a bucket's region: the refusal has it in a header.
 */
function formOf(request: S3Request, authorization: string | undefined, region: string): Form {
  const { query } = request
  const forms: Form[] = []
  if (authorization !== undefined) forms.push(authorization.startsWith('AWS ') ? 'header-v2' : 'header-v4')
  if (request.rawQuery !== '') {
    if (query.has('X-Amz-Signature') || query.has('X-Amz-Algorithm') || query.has('X-Amz-Credential')) forms.push('query-v4')
    if (query.has('AWSAccessKeyId') || query.has('Signature')) forms.push('query-v2')
  }
  const form = forms[0]
  if (form === undefined) throw new S3Error('AccessDenied', undefined, { headers: { 'x-amz-bucket-region': region } })
  if (forms.length > 1) {
    throw new S3Error('InvalidArgument', onlyOneMechanism, { fields: { ArgumentName: 'Authorization', ArgumentValue: authorization ?? '' } })
  }
  if (form === 'header-v4' && authorization !== undefined && !/^AWS4-(?:HMAC|ECDSA-P256)-SHA256 /.test(authorization)) {
    throw new S3Error('InvalidArgument', 'Unsupported Authorization Type', {
      fields: { ArgumentName: 'Authorization', ArgumentValue: authorization },
    })
  }
  return form
}

function principalOf(key: AccessKey): Principal {
  return { account: key.account, accessKeyId: key.accessKeyId, user: key.user }
}

/** There is no token service here, so a session token cannot be ours; ignoring it would lift the limits that it stands for. */
function assertNoSessionToken(request: S3Request): void {
  const token = request.headers.get('x-amz-security-token')
    ?? (request.rawQuery === '' ? undefined : request.query.get('X-Amz-Security-Token') ?? request.query.get('x-amz-security-token'))
  if (token !== undefined) throw new S3Error('InvalidToken', undefined, { fields: { 'Token-0': token } })
}

/** The auth room over a source of access keys. Holds no state but derived signing keys. */
export function createAuth(options: AuthOptions): Auth {
  const signingKeys = createSigningKeys()

  async function enabledKey(accessKeyId: string): Promise<AccessKey> {
    const key = await options.accessKey(accessKeyId)
    if (key === null || !key.enabled) throw new S3Error('InvalidAccessKeyId', undefined, { fields: { AWSAccessKeyId: accessKeyId } })
    return key
  }

  async function authenticateV4(request: S3Request, parsed: ParsedV4): Promise<Authenticated> {
    const checked = checkV4(request, parsed, options.now())
    const key = await enabledKey(parsed.accessKeyId)
    const payload = verifyV4(request, checked, signingKeys(key.secretAccessKey, parsed.date, parsed.region), options.publicHost)
    return { principal: principalOf(key), payload, signatureVersion: 4, presigned: parsed.presigned }
  }

  async function authenticateV2(request: S3Request, parse: () => ParsedV2): Promise<Authenticated> {
    if (options.signatureV2 === 'off') throw new S3Error('InvalidRequest', versionTwoRefused)
    const parsed = parse()
    const key = await enabledKey(parsed.accessKeyId)
    const payload = verifyV2(request, parsed, key.secretAccessKey)
    return { principal: principalOf(key), payload, signatureVersion: 2, presigned: parsed.presigned }
  }

  return {
    async authenticate(request) {
      const authorization = request.headers.get('authorization')
      const form = formOf(request, authorization, options.region)
      assertNoSessionToken(request)
      switch (form) {
        case 'header-v4': return authenticateV4(request, parseHeaderV4(request, authorization ?? '', options.region))
        case 'query-v4': return authenticateV4(request, parseQueryV4(request, options.region))
        case 'header-v2': return authenticateV2(request, () => parseHeaderV2(request, authorization ?? '', options.now()))
        case 'query-v2': return authenticateV2(request, () => parseQueryV2(request, options.now()))
      }
    },

    authorise(principal, action, resource) {
      const { user, account } = principal
      if (user === null || isAllowed(user.policies, action, resource)) return
      const arn = `arn:aws:iam::${account.id}:user${user.path === '' ? '/' : user.path}${user.name}`
      throw new S3Error('AccessDenied', `User: ${arn} is not authorized to perform: ${action} on resource: "${resource}"`)
    },
  }
}
