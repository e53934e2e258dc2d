import type { S3Error } from '../domain/errors.ts'
import { element, renderXml } from './xml.ts'

interface Row {
  readonly status: number
  readonly message: string
}

const row = (status: number, message: string): Row => ({ status, message })

/**
 * Code -> status and default message. Source: Amazon S3 API reference, "Error responses", with the wording that AWS sends.
 * Clients branch on code and status, never on the wording.
 */
const table: ReadonlyMap<string, Row> = new Map(Object.entries({
  AccessControlListNotSupported: row(400, 'The bucket does not allow ACLs'),
  AccessDenied: row(403, 'Access Denied'),
  AuthorizationHeaderMalformed: row(400, 'The authorization header is malformed.'),
  AuthorizationQueryParametersError: row(400, 'The authorization query parameters are malformed.'),
  BadDigest: row(400, 'The Content-MD5 or checksum value that you specified did not match what the server received.'),
  BadRequest: row(400, 'An error occurred when parsing the HTTP request.'),
  BucketAlreadyExists: row(409, 'The requested bucket name is not available. The bucket namespace is shared by all users of the system. '
    + 'Please select a different name and try again.'),
  BucketAlreadyOwnedByYou: row(409, 'Your previous request to create the named bucket succeeded and you already own it.'),
  BucketNotEmpty: row(409, 'The bucket you tried to delete is not empty'),
  ConditionalRequestConflict: row(409, 'The conditional request cannot succeed due to a conflicting operation against this resource.'),
  CredentialsNotSupported: row(400, 'This request does not support credentials.'),
  EntityTooLarge: row(400, 'Your proposed upload exceeds the maximum allowed size'),
  EntityTooSmall: row(400, 'Your proposed upload is smaller than the minimum allowed size'),
  ExpiredToken: row(400, 'The provided token has expired.'),
  IllegalLocationConstraintException: row(400, 'The specified location-constraint is not valid'),
  IllegalVersioningConfigurationException: row(400, 'The versioning configuration specified in the request is invalid.'),
  IncompleteBody: row(400, 'You did not provide the number of bytes specified by the Content-Length HTTP header.'),
  IncorrectEndpoint: row(400, 'The specified bucket exists in another Region. Direct requests to the correct endpoint.'),
  InsufficientStorage: row(507, 'There is not enough free space to complete the request.'),
  InternalError: row(500, 'We encountered an internal error. Please try again.'),
  InvalidAccessKeyId: row(403, 'The AWS Access Key Id you provided does not exist in our records.'),
  InvalidArgument: row(400, 'Invalid Argument'),
  InvalidBucketName: row(400, 'The specified bucket is not valid.'),
  InvalidBucketState: row(409, 'The request is not valid with the current state of the bucket.'),
  InvalidChunkSizeError: row(400, 'Only the last chunk is allowed to have a size less than 8192 bytes'),
  InvalidDigest: row(400, 'The Content-MD5 you specified was invalid.'),
  InvalidEncryptionAlgorithmError: row(400, 'The encryption request that you specified is not valid.'),
  InvalidHeader: row(400, 'A header in the request is not valid.'),
  InvalidLocationConstraint: row(400, 'The specified location-constraint is not valid'),
  InvalidObjectState: row(403, 'The operation is not valid for the current state of the object.'),
  InvalidPart: row(400, 'One or more of the specified parts could not be found.  The part may not have been uploaded, '
    + "or the specified entity tag may not match the part's entity tag."),
  InvalidPartNumber: row(416, 'The requested partnumber is not satisfiable'),
  InvalidPartOrder: row(400, 'The list of parts was not in ascending order. Parts must be ordered by part number.'),
  InvalidPolicyDocument: row(400, 'The content of the form does not meet the conditions specified in the policy document.'),
  InvalidRange: row(416, 'The requested range is not satisfiable'),
  InvalidRedirectLocation: row(400, 'The website redirect location must have a prefix of http:// or https:// or /.'),
  InvalidRegion: row(403, 'The Region is not valid.'),
  InvalidRequest: row(400, 'The request is not valid.'),
  InvalidSecurity: row(403, 'The provided security credentials are not valid.'),
  InvalidStorageClass: row(400, 'The storage class you specified is not valid'),
  InvalidTag: row(400, 'The tag provided was not a valid tag. This error can occur if the tag did not pass input validation.'),
  InvalidToken: row(400, 'The provided token is malformed or otherwise invalid.'),
  InvalidURI: row(400, "Couldn't parse the specified URI."),
  KeyTooLongError: row(400, 'Your key is too long'),
  MalformedACLError: row(400, 'The XML you provided was not well-formed or did not validate against our published schema'),
  MalformedPOSTRequest: row(400, 'The body of your POST request is not well-formed multipart/form-data.'),
  MalformedPolicy: row(400, 'Policies must be valid JSON.'),
  MalformedTrailerError: row(400, 'The request contained trailing data that was not well-formed or did not conform to our published schema.'),
  MalformedXML: row(400, 'The XML you provided was not well-formed or did not validate against our published schema'),
  MaxMessageLengthExceeded: row(400, 'Your request was too big.'),
  MaxPostPreDataLengthExceededError: row(400, 'Your POST request fields preceding the upload file were too large.'),
  MetadataTooLarge: row(400, 'Your metadata headers exceed the maximum allowed metadata size'),
  MethodNotAllowed: row(405, 'The specified method is not allowed against this resource.'),
  MissingContentLength: row(411, 'You must provide the Content-Length HTTP header.'),
  MissingRequestBodyError: row(400, 'Request body is empty.'),
  MissingSecurityHeader: row(400, 'Your request was missing a required header'),
  NoSuchAccessPoint: row(404, 'The specified accesspoint does not exist'),
  NoSuchBucket: row(404, 'The specified bucket does not exist'),
  NoSuchBucketPolicy: row(404, 'The bucket policy does not exist'),
  NoSuchConfiguration: row(404, 'The specified configuration does not exist.'),
  NoSuchCORSConfiguration: row(404, 'The CORS configuration does not exist'),
  NoSuchKey: row(404, 'The specified key does not exist.'),
  NoSuchLifecycleConfiguration: row(404, 'The lifecycle configuration does not exist'),
  NoSuchObjectLockConfiguration: row(404, 'The specified object does not have a ObjectLock configuration'),
  NoSuchPublicAccessBlockConfiguration: row(404, 'The public access block configuration was not found'),
  NoSuchTagSet: row(404, 'The TagSet does not exist'),
  NoSuchUpload: row(404, 'The specified upload does not exist. The upload ID may be invalid, or the upload may have been aborted or completed.'),
  NoSuchVersion: row(404, 'The specified version does not exist.'),
  NoSuchWebsiteConfiguration: row(404, 'The specified bucket does not have a website configuration'),
  NotFound: row(404, 'Not Found'),
  NotImplemented: row(501, 'A header you provided implies functionality that is not implemented'),
  NotModified: row(304, 'Not Modified'),
  ObjectLockConfigurationNotFoundError: row(404, 'Object Lock configuration does not exist for this bucket'),
  OperationAborted: row(409, 'A conflicting conditional operation is currently in progress against this resource. Please try again.'),
  OwnershipControlsNotFoundError: row(404, 'The bucket ownership controls were not found'),
  PermanentRedirect: row(301, 'The bucket you are attempting to access must be addressed using the specified endpoint. '
    + 'Please send all future requests to this endpoint.'),
  PreconditionFailed: row(412, 'At least one of the pre-conditions you specified did not hold'),
  ReplicationConfigurationNotFoundError: row(404, 'The replication configuration was not found'),
  RequestHeaderSectionTooLarge: row(400, 'Your request header section exceeds the maximum allowed size.'),
  RequestTimeout: row(400, 'Your socket connection to the server was not read from or written to within the timeout period. '
    + 'Idle connections will be closed.'),
  RequestTimeTooSkewed: row(403, 'The difference between the request time and the current time is too large.'),
  ServerSideEncryptionConfigurationNotFoundError: row(404, 'The server side encryption configuration was not found'),
  ServiceUnavailable: row(503, 'Please reduce your request rate.'),
  SignatureDoesNotMatch: row(403, 'The request signature we calculated does not match the signature you provided. '
    + 'Check your key and signing method.'),
  SlowDown: row(503, 'Please reduce your request rate.'),
  TooManyBuckets: row(400, 'You have attempted to create more buckets than allowed'),
  UnexpectedContent: row(400, 'This request does not support content'),
  UnsupportedArgument: row(400, 'The request contained an unsupported argument.'),
  UnsupportedSignature: row(400, 'The provided request is signed with an unsupported STS Token version or the signature version is not supported.'),
  XAmzContentSHA256Mismatch: row(400, "The provided 'x-amz-content-sha256' header does not match what was computed."),
  XNotImplemented: row(501, 'A header you provided implies functionality that is not implemented'),
}))

const internal = row(500, 'We encountered an internal error. Please try again.')

export interface RenderedError {
  readonly status: number
  readonly headers: Record<string, string>
  /** The XML error document. The caller leaves it out for HEAD, 304 and 204. */
  readonly body: string
  /** What the document says: an unknown code is shown as InternalError. */
  readonly code: string
}

/**
 * The error document of S3: Code, Message, the error's own fields in their order, Resource, RequestId, HostId. A code that
 * is not in the table answers 500 InternalError without its message, because that message was not written for clients.
 * `resource` is the path that was asked for; '' leaves the element out.
 */
export function renderError(error: S3Error, context: { resource: string; requestId: string; hostId: string }): RenderedError {
  const known = table.get(error.code)
  const { status } = known ?? internal
  const code = known ? error.code : 'InternalError'
  const body = renderXml('Error', [
    element('Code', code),
    element('Message', messageOf(error)),
    ...known ? Object.entries(error.fields).map(([name, value]) => element(name, value)) : [],
    ...context.resource === '' ? [] : [element('Resource', context.resource)],
    element('RequestId', context.requestId),
    element('HostId', context.hostId),
  ], { namespace: false })
  return { status: known ? error.status ?? status : status, headers: { 'content-type': 'application/xml', ...error.headers }, body, code }
}

/** Status of a code, 500 when it is unknown. For DeleteObjects' per-key errors and for logs. */
export function errorStatus(code: string): number {
  return (table.get(code) ?? internal).status
}

/** AWS's default wording for a code. */
export function errorMessage(code: string): string {
  return (table.get(code) ?? internal).message
}

/** What a client reads: the wording of the throw, else of the table. */
export function messageOf(error: S3Error): string {
  return error.message !== '' && table.has(error.code) ? error.message : errorMessage(error.code)
}
