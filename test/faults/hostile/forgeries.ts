import type { SignedRequest } from './signers.ts'

/** Changes of a signed request, each of something that its signature covers, and the answer that each deserves. */

export interface Forgery {
  readonly what: string
  readonly request: SignedRequest
  /** S3's codes, any of which is right. */
  readonly codes: readonly string[]
}

const mismatch = ['SignatureDoesNotMatch']
const isQuery = ({ form }: SignedRequest): boolean => form.endsWith('-query')

/** All that apply. `pick` chooses places: the same number, the same place. */
export function forgeriesOf(request: SignedRequest, pick: (count: number) => number): Forgery[] {
  return [...common(request, pick), ...(request.form.startsWith('v4') ? version4(request, pick) : version2(request, pick)), ...bodies(request, pick)]
}

function common(request: SignedRequest, pick: (count: number) => number): Forgery[] {
  const { method, path, headers } = request
  const found: Forgery[] = []
  const add = (what: string, changed: Partial<SignedRequest>, codes: readonly string[] = mismatch): void => void found.push({ what, request: { ...request, ...changed }, codes })
  const others = ['GET', 'PUT', 'POST', 'DELETE', 'HEAD'].filter((each) => each !== method)
  add('another method', { method: others[pick(others.length)] ?? 'GET' })
  const mark = path.indexOf('?')
  const [place, query] = mark < 0 ? [path, ''] : [path.slice(0, mark), path.slice(mark)]
  add('a longer key', { path: `${place}${place.indexOf('/', 1) < 0 ? '/x' : 'x'}${query}` })
  add('another bucket', { path: `/x${path.slice(1)}` })
  add('a header of S3 that nobody signed', { headers: { ...headers, 'x-amz-meta-added': '1' } }, request.form.startsWith('v4') ? ['AccessDenied'] : mismatch)
  add('a copy that nobody signed', { headers: { ...headers, 'x-amz-copy-source': '/somewhere/else' } }, request.form.startsWith('v4') ? ['AccessDenied'] : mismatch)
  for (const name of Object.keys(headers).filter((each) => each.startsWith('x-amz-meta-'))) {
    add(`${name} changed`, { headers: { ...headers, [name]: `${headers[name]}x` } })
    // URLs of version 2 have such headers as parameters, too, and are obeyed without them.
    if ((headers[name] ?? '').trim() !== '' && request.form !== 'v2-query') add(`${name} gone`, { headers: Object.fromEntries(Object.entries(headers).filter(([each]) => each !== name)) })
    add(`${name} twice`, { headers: { ...headers, [name.toUpperCase()]: headers[name] ?? '' } })
  }
  return found
}

function version4(request: SignedRequest, pick: (count: number) => number): Forgery[] {
  const { path, headers } = request
  const found: Forgery[] = []
  const query = isQuery(request)
  const malformed = [query ? 'AuthorizationQueryParametersError' : 'AuthorizationHeaderMalformed']
  /** Changes the place where the parts of the authorization stand. */
  const inAuthorization = (what: string, change: (text: string) => string, codes: readonly string[] = mismatch): void => {
    const before = query ? path : headers['authorization'] ?? ''
    const after = change(before)
    if (after === before) return
    found.push({ what, request: { ...request, ...(query ? { path: after } : { headers: { ...headers, authorization: after } }) }, codes })
  }
  const slash = query ? '%2F' : '/'
  inAuthorization('a digit of the signature', (text) => text.replace(/(Signature=)([0-9a-f]{64})/, (_all, name: string, signature: string) => name + changedDigit(signature, pick(64))))
  inAuthorization('a signature in upper case', (text) => text.replace(/(Signature=)([0-9a-f]{64})/, (_all, name: string, signature: string) => name + signature.toUpperCase()))
  inAuthorization('a shorter signature', (text) => text.replace(/(Signature=[0-9a-f]{63})[0-9a-f]/, '$1'))
  inAuthorization('another region', (text) => text.replace(`${slash}us-east-1${slash}`, `${slash}us-east-2${slash}`), malformed)
  inAuthorization('another service', (text) => text.replace(`${slash}s3${slash}`, `${slash}sts${slash}`), malformed)
  inAuthorization('another end of the scope', (text) => text.replace('aws4_request', 'aws5_request'), malformed)
  inAuthorization('another day in the scope', (text) => text.replace(/(Credential=[^/%]*(?:\/|%2F))\d{8}/, '$120200101'), malformed)
  inAuthorization('another access key', (text) => text.replace(/Credential=/, 'Credential=X'), ['InvalidAccessKeyId'])
  inAuthorization('host not signed', (text) => text.replace(/(SignedHeaders=(?:[a-z0-9-]+(?:;|%3B))*)host(?:;|%3B)/, '$1'), ['AccessDenied'])
  inAuthorization('a signed header more', (text) => text.replace(/SignedHeaders=/, `SignedHeaders=accept${query ? '%3B' : ';'}`))
  // A name of which nothing is known stands in the canonical query like any other.
  found.push({ what: 'a parameter more', request: { ...request, path: `${path}${path.includes('?') ? '&' : '?'}zz=1` }, codes: mismatch })
  found.push({ what: 'a sub-resource more', request: { ...request, path: `${path}${path.includes('?') ? '&' : '?'}acl` }, codes: mismatch })
  if (query) {
    found.push({ what: 'a longer life', request: { ...request, path: path.replace(/X-Amz-Expires=\d+/, 'X-Amz-Expires=604800') }, codes: mismatch })
    found.push({ what: 'a life without end', request: { ...request, path: path.replace(/X-Amz-Expires=\d+/, 'X-Amz-Expires=604801') }, codes: malformed })
    found.push({ what: 'two signatures', request: { ...request, path: `${path}&X-Amz-Signature=${'0'.repeat(64)}` }, codes: malformed })
    found.push({ what: 'another second', request: { ...request, path: path.replace(/X-Amz-Date=(\d{8}T\d{4})(\d\d)Z/, (_all, start: string, second: string) => `X-Amz-Date=${start}${String((Number(second) + 59) % 60).padStart(2, '0')}Z`) }, codes: [...mismatch, 'AccessDenied'] })
  } else {
    const time = headers['x-amz-date'] ?? ''
    const at = (date: string): SignedRequest => ({ ...request, headers: { ...headers, 'x-amz-date': date } })
    found.push({ what: 'another second', request: at(time.replace(/(\d\d)Z$/, (_all, second: string) => `${String((Number(second) + 1) % 60).padStart(2, '0')}Z`)), codes: mismatch })
    found.push({ what: 'another year', request: at(`2020${time.slice(4)}`), codes: [...malformed, 'RequestTimeTooSkewed'] })
    found.push({ what: 'another hash of the body', request: { ...request, headers: { ...headers, 'x-amz-content-sha256': 'a'.repeat(64) } }, codes: mismatch })
    found.push({ what: 'a body that is not signed after all', request: { ...request, headers: { ...headers, 'x-amz-content-sha256': headers['x-amz-content-sha256'] === 'UNSIGNED-PAYLOAD' ? 'STREAMING-UNSIGNED-PAYLOAD-TRAILER' : 'UNSIGNED-PAYLOAD' } }, codes: mismatch })
    found.push({ what: 'two authorizations', request: { ...request, path: `${path}${path.includes('?') ? '&' : '?'}X-Amz-Signature=00` }, codes: ['InvalidArgument'] })
  }
  const [, ...parameters] = path.split(/[?&]/).filter((piece) => piece !== '')
  const own = parameters.filter((piece) => !piece.startsWith('X-Amz-'))
  const victim = own[pick(Math.max(own.length, 1))]
  if (victim !== undefined) {
    found.push({ what: 'a parameter less', request: { ...request, path: path.replace(new RegExp(`[?&]${victim.replace(/[.*+?^${}()|[\]\\]/g, '\\$&')}(?=&|$)`), (text) => (text.startsWith('?') ? '?' : '')) }, codes: mismatch })
    found.push({ what: 'a longer parameter', request: { ...request, path: path.replace(victim, `${victim}${victim.includes('=') ? '' : '='}x`) }, codes: mismatch })
  }
  return found.filter(({ request: changed }) => changed.path !== path || changed.headers !== headers)
}

function version2(request: SignedRequest, pick: (count: number) => number): Forgery[] {
  const { path, headers } = request
  const found: Forgery[] = []
  const with2 = (what: string, changed: Partial<SignedRequest>, codes: readonly string[] = mismatch): void => void found.push({ what, request: { ...request, ...changed }, codes })
  const more = (text: string): string => `${path}${path.includes('?') ? '&' : '?'}${text}`
  with2('a sub-resource more', { path: more('acl') })
  with2('an answer of another type', { path: more('response-content-type=text%2Fhtml') })
  with2('a version more', { path: more('versionId=null') })
  with2('a header of S3 in the query', { path: more('x-amz-acl=public-read') })
  with2('another type', { headers: { ...headers, 'content-type': `${headers['content-type'] ?? ''}x/y` } })
  with2('another digest', { headers: { ...headers, 'content-md5': 'AAAAAAAAAAAAAAAAAAAAAA==' } })
  if (isQuery(request)) {
    with2('a longer life', { path: path.replace(/Expires=(\d+)/, (_all, end: string) => `Expires=${Number(end) + 1}`) })
    with2('a life that is over', { path: path.replace(/Expires=\d+/, 'Expires=1000000000') }, ['AccessDenied'])
    with2('another access key', { path: path.replace('AWSAccessKeyId=', 'AWSAccessKeyId=X') }, ['InvalidAccessKeyId'])
    with2('another signature', { path: path.replace(/([?&]Signature=)(.)/, (_all, name: string, first: string) => `${name}${first === 'A' ? 'B' : 'A'}`) })
  } else {
    const authorization = headers['authorization'] ?? ''
    with2('another access key', { headers: { ...headers, authorization: authorization.replace('AWS ', 'AWS X') } }, ['InvalidAccessKeyId'])
    const colon = authorization.lastIndexOf(':') + 1 + pick(20)
    with2('another signature', { headers: { ...headers, authorization: authorization.slice(0, colon) + (authorization[colon] === 'A' ? 'B' : 'A') + authorization.slice(colon + 1) } })
    const date = new Date(Date.parse(headers['date'] ?? '') + 1000).toUTCString()
    with2('another second', { headers: { ...headers, date } })
  }
  return found
}

/** A body whose digest was signed, or comes with it. */
function bodies(request: SignedRequest, pick: (count: number) => number): Forgery[] {
  const { body, headers, form, method, path } = request
  if (method !== 'PUT' || body.length === 0 || form === 'v4-query' || form.startsWith('v2') || /[?&]/.test(path) || headers['x-amz-decoded-content-length'] === '0') return []
  const changed = Buffer.from(body)
  const at = form === 'v4-trailer' ? body.indexOf('\r\n') + 2 + pick(4) : pick(body.length)
  changed[at] = (changed[at] ?? 0) ^ 1
  const codes = form === 'v4-trailer' ? ['BadDigest'] : headers['x-amz-content-sha256'] === 'UNSIGNED-PAYLOAD' ? ['BadDigest'] : ['XAmzContentSHA256Mismatch']
  return [{ what: 'a changed byte of the body', request: { ...request, body: changed }, codes }]
}

function changedDigit(signature: string, at: number): string {
  return signature.slice(0, at) + (signature[at] === '0' ? '1' : '0') + signature.slice(at + 1)
}
