import { createHash, createHmac } from 'node:crypto'
import { S3Client, GetObjectCommand, PutObjectCommand } from '@aws-sdk/client-s3'
import { getSignedUrl } from '@aws-sdk/s3-request-presigner'
import aws4 from 'aws4'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createAuth } from '../../src/auth/auth.ts'
import { canonicalQuery } from '../../src/auth/canonical.ts'
import { accessKey, exampleKeyId, exampleSecret, s3Request } from './fixtures/auth-request.ts'
import type { Target } from '../../src/protocol/request.ts'

/** Requests signed by aws4 and by the AWS SDK: two other implementations of signature version 4. */
const signedAt = Date.UTC(2026, 0, 2, 3, 4, 5)
const timestamp = '20260102T030405Z'
const target: Target = { scope: 'object', bucket: 'bucket', key: 'key' }
const credentials = { accessKeyId: exampleKeyId, secretAccessKey: exampleSecret }

function authAt(now: number, publicHost: string | null = null) {
  return createAuth({
    region: 'us-east-1',
    signatureV2: 'on',
    publicHost,
    now: () => now,
    accessKey: async (id) => (id === exampleKeyId ? accessKey() : id === 'AKIADISABLED' ? accessKey({ accessKeyId: id, enabled: false }) : null),
  })
}
const auth = authAt(signedAt)

type Fields = [string, string][]
interface Sent { method: string; path: string; headers?: Record<string, string>; presign?: boolean; secret?: string; keyId?: string }
interface Signed { readonly method: string; readonly path: string; readonly headers: Fields }

function sign({ method, path, headers = {}, presign = false, secret = exampleSecret, keyId = exampleKeyId }: Sent): Signed {
  const given = presign ? headers : { 'X-Amz-Date': timestamp, 'X-Amz-Content-Sha256': 'UNSIGNED-PAYLOAD', ...headers }
  const dated = presign ? `${path}${path.includes('?') ? '&' : '?'}X-Amz-Date=${timestamp}` : path
  const signed = aws4.sign(
    { host: 'localhost:9000', service: 's3', region: 'us-east-1', method, path: dated, headers: given, signQuery: presign },
    { accessKeyId: keyId, secretAccessKey: secret },
  )
  const fields = Object.entries(signed.headers ?? {}).map(([name, value]): [string, string] => [name, String(value)])
  const hosted = fields.some(([name]) => name.toLowerCase() === 'host')
  return { method, path: signed.path ?? path, headers: hosted ? fields : [['Host', 'localhost:9000'], ...fields] }
}

const authenticate = ({ method, path, headers }: Signed, by = auth) => by.authenticate(s3Request(method, path, headers, target))

function withHeader(signed: Signed, name: string, value: string | null): Signed {
  const others = signed.headers.filter(([given]) => given.toLowerCase() !== name.toLowerCase())
  return { ...signed, headers: value === null ? others : [...others, [name, value]] }
}
const authorization = (signed: Signed) => signed.headers.find(([name]) => name.toLowerCase() === 'authorization')?.[1] ?? ''
const replaced = (signed: Signed, from: string | RegExp, to: string) => withHeader(signed, 'Authorization', authorization(signed).replace(from, to))
const code = (expected: string, more: Record<string, unknown> = {}) => expect.objectContaining({ code: expected, ...more })

const put = sign({ method: 'PUT', path: '/bucket/key' })
const url = sign({ method: 'PUT', path: '/bucket/key?X-Amz-Expires=3600', presign: true })

describe('a good signature', () => {
  const paths = [
    '/', '/bucket', '/bucket/', '/bucket/a/b', '/bucket/a%20b', '/bucket/%C3%A9%2B%28x%29', '/bucket?list-type=2&prefix=a%2Fb&max-keys=3',
    '/bucket?acl', '/bucket?versions&prefix=', '/bucket?b=2&a=1', '/bucket?a-b=1&a=1', '/bucket/~user/-._',
  ]
  for (const path of paths) {
    for (const presign of [false, true]) {
      test(`GET ${path}${presign ? ' (presigned)' : ''}`, async () => {
        const asked = presign ? `${path}${path.includes('?') ? '&' : '?'}X-Amz-Expires=60` : path
        await expect(authenticate(sign({ method: 'GET', path: asked, presign }))).resolves.toMatchObject({
          signatureVersion: 4, presigned: presign, payload: { kind: 'unsigned' }, principal: { accessKeyId: exampleKeyId, user: null },
        })
      })
    }
  }

  test('counts raw and escaped characters of the path the same', async () => {
    const signed = sign({ method: 'GET', path: '/bucket/a%2Bb%28c%29%27%2A%3D~' })
    for (const path of ["/bucket/a+b(c)'*=~", '/bucket/a%2bb%28c%29%27%2a%3d%7E', '/bucket/%61%2Bb(c)%27*=~']) {
      await expect(authenticate({ ...signed, path })).resolves.toBeDefined()
    }
    await expect(authenticate({ ...signed, path: '/bucket/a%20b%28c%29%27%2A%3D~' })).rejects.toEqual(code('SignatureDoesNotMatch'))
  })

  test('keeps every value of a parameter, in order of names and then values', () => {
    expect(canonicalQuery('b=2&a=1&a=0&a-b=x&a&&c=%7e%2f+%zz')).toBe('a=&a=0&a=1&a-b=x&b=2&c=~%2F%20%25zz')
  })

  test('sorts and encodes by the book, whatever the order of a query, its escapes and what is left out', () => {
    const text = fc.array(fc.constantFrom('a', 'B', '-', '.', '~', '7', '%41', '%2F', '%2f', '%', '+', '/', '=', 'X-Amz-'), { maxLength: 4 }).map((parts) => parts.join(''))
    const piece = fc.tuple(text.map((name) => name.replaceAll('=', '')), fc.option(text))
    fc.assert(fc.property(fc.array(piece, { maxLength: 6 }), fc.boolean(), (pieces, signature) => {
      const own = pieces.map(([name, value]) => (value === null ? name : `${name}=${value}`))
      const sent = [...own, ...signature ? ['X-Amz-Signature=0a'] : []].join('&')
      expect(canonicalQuery(sent, 'X-Amz-Signature')).toBe(byTheBook(own))
    }))
  })

  test('does not fold paths', async () => {
    const signed = sign({ method: 'GET', path: '/bucket/a' })
    for (const path of ['/bucket//a', '/bucket/./a', '/bucket/b/../a', '/bucket%2Fa']) {
      await expect(authenticate({ ...signed, path }), path).rejects.toEqual(code('SignatureDoesNotMatch'))
    }
  })

  test('may stand without spaces, in another order, with header values that have spaces and UTF-8 bytes', async () => {
    const tight = replaced(put, /, /g, ',')
    await expect(authenticate(tight)).resolves.toBeDefined()
    const turned = authorization(put).replace(/^(\S+) (Credential=\S+), (SignedHeaders=\S+), (Signature=\S+)$/, '$1 $4, $3, $2')
    await expect(authenticate(withHeader(put, 'Authorization', turned))).resolves.toBeDefined()
    const meta = sign({ method: 'PUT', path: '/bucket/key', headers: { 'x-amz-meta-a': 'a   b é' } })
    await expect(authenticate(withHeader(meta, 'x-amz-meta-a', Buffer.from(' a   b é ').toString('latin1')))).resolves.toBeDefined()
  })

  test('may be over the host that a proxy shows, when it is configured', async () => {
    const behind = withHeader(put, 'Host', '10.0.0.7:9000')
    await expect(authenticate(behind)).rejects.toEqual(code('SignatureDoesNotMatch'))
    await expect(authenticate(behind, authAt(signedAt, 'localhost:9000'))).resolves.toBeDefined()
    await expect(authenticate(put, authAt(signedAt, 's3.example.com'))).resolves.toBeDefined()
  })

  test('takes its time from Date, also in RFC 1123 form', async () => {
    // Made here by the book, since other signers always send X-Amz-Date.
    for (const date of ['Fri, 02 Jan 2026 03:04:05 GMT', 'Fri, 02 Jan 2026 04:04:05 +0100', timestamp]) {
      const names = 'date;host;x-amz-content-sha256'
      const fields = `date:${date}\nhost:localhost:9000\nx-amz-content-sha256:UNSIGNED-PAYLOAD\n`
      const canonical = `GET\n/bucket/key\n\n${fields}\n${names}\nUNSIGNED-PAYLOAD`
      const scope = '20260102/us-east-1/s3/aws4_request'
      const toSign = `AWS4-HMAC-SHA256\n${timestamp}\n${scope}\n${createHash('sha256').update(canonical).digest('hex')}`
      const hmac = (key: string | Buffer, text: string) => createHmac('sha256', key).update(text).digest()
      const key = ['20260102', 'us-east-1', 's3', 'aws4_request'].reduce(hmac, Buffer.from(`AWS4${exampleSecret}`))
      const signature = hmac(key, toSign).toString('hex')
      const headers: Fields = [
        ['Host', 'localhost:9000'], ['Date', date], ['X-Amz-Content-Sha256', 'UNSIGNED-PAYLOAD'],
        ['Authorization', `AWS4-HMAC-SHA256 Credential=${exampleKeyId}/${scope}, SignedHeaders=${names}, Signature=${signature}`],
      ]
      await expect(authenticate({ method: 'GET', path: '/bucket/key', headers }), date).resolves.toBeDefined()
    }
  })

  test('of the SDK’s presigner is accepted', async () => {
    const client = new S3Client({ region: 'us-east-1', endpoint: 'http://localhost:9000', forcePathStyle: true, credentials })
    const input = { Bucket: 'bucket', Key: "dir/a b+(c)'é.txt" }
    const options = { signingDate: new Date(signedAt), expiresIn: 60 }
    const gets = await getSignedUrl(client, new GetObjectCommand({ ...input, ResponseContentType: 'text/plain; a=b' }), options)
    const puts = await getSignedUrl(client, new PutObjectCommand({ ...input, StorageClass: 'STANDARD', Metadata: { a: 'b' } }), options)
    for (const [method, signed] of [['GET', gets], ['PUT', puts]] as const) {
      const path = signed.slice('http://localhost:9000'.length)
      await expect(authenticate({ method, path, headers: [['Host', 'localhost:9000']] })).resolves.toMatchObject({ presigned: true })
      const other = { method: method === 'GET' ? 'PUT' : 'GET', path, headers: [['Host', 'localhost:9000']] as Fields }
      await expect(authenticate(other)).rejects.toEqual(code('SignatureDoesNotMatch'))
    }
  })
})

describe('the payload', () => {
  const hex = createHash('sha256').update('hello').digest('hex')
  const kinds: Record<string, unknown> = {
    [hex]: { kind: 'sha256', hex },
    'UNSIGNED-PAYLOAD': { kind: 'unsigned' },
    'STREAMING-UNSIGNED-PAYLOAD-TRAILER': { kind: 'chunked-unsigned', trailer: true },
    'STREAMING-AWS4-HMAC-SHA256-PAYLOAD': { kind: 'chunked-signed', trailer: false },
    'STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER': {
      kind: 'chunked-signed', trailer: true, chain: { timestamp, scope: '20260102/us-east-1/s3/aws4_request' },
    },
  }
  for (const [value, payload] of Object.entries(kinds)) {
    test(value, async () => {
      const right = sign({ method: 'PUT', path: '/bucket/key', headers: { 'X-Amz-Content-Sha256': value } })
      await expect(authenticate(right)).resolves.toMatchObject({ payload })
      const wrong = sign({ method: 'PUT', path: '/bucket/key', headers: { 'X-Amz-Content-Sha256': value }, secret: 'wrong' })
      await expect(authenticate(wrong)).rejects.toEqual(code('SignatureDoesNotMatch'))
    })
  }

  test('of an unknown kind, of SigV4A, or left out is refused', async () => {
    const signed = (value: string) => sign({ method: 'PUT', path: '/bucket/key', headers: { 'X-Amz-Content-Sha256': value } })
    for (const value of ['hello', hex.slice(1), `${hex},${hex}`, 'unsigned-payload']) {
      await expect(authenticate(signed(value)), value).rejects.toEqual(code('InvalidArgument'))
    }
    await expect(authenticate(signed('STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD'))).rejects.toEqual(code('NotImplemented'))
    await expect(authenticate(withHeader(put, 'X-Amz-Content-Sha256', null))).rejects.toEqual(code('InvalidRequest'))
  })

  test('of a presigned URL is what its signed header says', async () => {
    const signed = sign({ method: 'PUT', path: '/bucket/key?X-Amz-Expires=60', presign: true, headers: { 'x-amz-content-sha256': hex } })
    await expect(authenticate(signed)).resolves.toMatchObject({ payload: { kind: 'sha256', hex } })
  })
})

describe('a bad signature', () => {
  test('by one digit, another secret, method, path, query or signed header', async () => {
    const last = authorization(put).at(-1) === '0' ? '1' : '0'
    const bad = [
      replaced(put, /.$/, last), replaced(put, /..$/, ''), replaced(put, /.$/, 'é'), sign({ method: 'PUT', path: '/bucket/key', secret: 'wrong' }),
      { ...put, method: 'GET' }, { ...put, path: '/bucket/kez' }, { ...put, path: '/bucket/key?acl' }, withHeader(put, 'Host', 'other'),
      { ...url, method: 'DELETE' }, { ...url, path: url.path.replace('Expires=3600', 'Expires=3601') }, { ...url, path: `${url.path}&acl` },
    ]
    for (const request of bad) await expect(authenticate(request)).rejects.toEqual(code('SignatureDoesNotMatch'))
  })

  test('tells what was to be signed', async () => {
    const canonical = 'PUT\n/bucket/key\n\nhost:localhost:9000\nx-amz-content-sha256:UNSIGNED-PAYLOAD\nx-amz-date:20260102T030405Z\n\n'
      + 'host;x-amz-content-sha256;x-amz-date\nUNSIGNED-PAYLOAD'
    const digest = createHash('sha256').update(canonical).digest('hex')
    const toSign = `AWS4-HMAC-SHA256\n${timestamp}\n20260102/us-east-1/s3/aws4_request\n${digest}`
    await expect(authenticate(replaced(put, /Signature=.*/, 'Signature=abc'))).rejects.toMatchObject({
      fields: {
        AWSAccessKeyId: exampleKeyId,
        CanonicalRequest: canonical,
        CanonicalRequestBytes: (Buffer.from(canonical).toString('hex').match(/../g) ?? []).join(' '),
        StringToSign: toSign,
        StringToSignBytes: (Buffer.from(toSign).toString('hex').match(/../g) ?? []).join(' '),
        SignatureProvided: 'abc',
      },
    })
  })

  test('an unknown or disabled key', async () => {
    for (const keyId of ['AKIAUNKNOWN', 'AKIADISABLED']) {
      const signed = sign({ method: 'GET', path: '/', keyId })
      await expect(authenticate(signed)).rejects.toEqual(code('InvalidAccessKeyId', { fields: { AWSAccessKeyId: keyId } }))
    }
  })
})

describe('a header that is obeyed but not signed', () => {
  for (const name of ['x-amz-copy-source', 'x-amz-tagging', 'x-amz-acl', 'x-amz-meta-a']) {
    test(name, async () => {
      for (const request of [put, url]) {
        await expect(authenticate(withHeader(request, name, 'x'))).rejects.toEqual(code('AccessDenied', {
          message: 'There were headers present in the request which were not signed', fields: { HeadersNotSigned: name },
        }))
      }
    })
  }

  test('the host', async () => {
    const unsigned = replaced(put, 'SignedHeaders=host;', 'SignedHeaders=')
    await expect(authenticate(unsigned)).rejects.toEqual(code('AccessDenied', { fields: { HeadersNotSigned: 'host' } }))
  })

  test('a second field of a signed name changes the signature', async () => {
    const twice = { ...put, headers: [...put.headers, ['X-Amz-Content-Sha256', 'UNSIGNED-PAYLOAD'] as [string, string]] }
    await expect(authenticate(twice)).rejects.toEqual(code('InvalidArgument'))
    const signed = sign({ method: 'PUT', path: '/bucket/key', headers: { 'x-amz-tagging': 'a=b' } })
    await expect(authenticate({ ...signed, headers: [...signed.headers, ['x-amz-tagging', 'c=d']] })).rejects.toEqual(code('SignatureDoesNotMatch'))
  })
})

describe('time', () => {
  test('a header is good for 15 minutes around its date', async () => {
    for (const minutes of [-14, 14]) await expect(authenticate(put, authAt(signedAt + minutes * 60_000))).resolves.toBeDefined()
    for (const minutes of [-16, 16]) {
      await expect(authenticate(put, authAt(signedAt + minutes * 60_000))).rejects.toMatchObject({
        code: 'RequestTimeTooSkewed', fields: { RequestTime: timestamp, MaxAllowedSkewMilliseconds: '900000' },
      })
    }
  })

  test('a URL from its date on until it expires', async () => {
    await expect(authenticate(url, authAt(signedAt + 3_600_000))).resolves.toBeDefined()
    await expect(authenticate(url, authAt(signedAt + 3_601_000))).rejects.toEqual(code('AccessDenied', { message: 'Request has expired' }))
    await expect(authenticate(url, authAt(signedAt - 20 * 60_000))).rejects.toEqual(code('AccessDenied', { message: 'Request is not valid yet' }))
  })

  test('a date that is none is refused', async () => {
    for (const date of ['20261302T030405Z', '20260102T250405Z', '2026-01-02T03:04:05Z', 'yesterday', '']) {
      await expect(authenticate(withHeader(put, 'X-Amz-Date', date)), date).rejects.toEqual(code('AccessDenied'))
      const path = url.path.replace(`X-Amz-Date=${timestamp}`, `X-Amz-Date=${date}`)
      await expect(authenticate({ ...url, path }), date).rejects.toEqual(code('AuthorizationQueryParametersError'))
    }
  })
})

describe('the form of the header', () => {
  const malformed: Record<string, [string | RegExp, string]> = {
    'another region': ['us-east-1', 'eu-west-1'],
    'another service': ['/s3/', '/ec2/'],
    'another date': ['/20260102/', '/20260103/'],
    'another terminator': ['aws4_request', 'aws5_request'],
    'a credential without scope': [/Credential=[^,]*/, 'Credential=key'],
    'no credential': [/Credential=[^,]*, /, ''],
    'no signed headers': [/SignedHeaders=[^,]*, /, ''],
    'empty signed headers': [/SignedHeaders=[^,]*/, 'SignedHeaders='],
    'no signature': [/, Signature=.*/, ''],
    'a field twice': [/$/, ', Signature=abc'],
    'an unknown field': [/$/, ', Extra=1'],
    'a second header': [/$/, ',AWS4-HMAC-SHA256 Credential=a/b/c/d/e'],
  }
  for (const [name, [from, to]] of Object.entries(malformed)) {
    test(`with ${name} is malformed`, () => expect(authenticate(replaced(put, from, to))).rejects.toEqual(code('AuthorizationHeaderMalformed')))
  }

  test('names the right region', async () => {
    await expect(authenticate(replaced(put, 'us-east-1', 'eu-west-1'))).rejects.toMatchObject({
      message: "The authorization header is malformed; the region 'eu-west-1' is wrong; expecting 'us-east-1'", fields: { Region: 'us-east-1' },
    })
  })

  test('of an unknown scheme, or without a space, is an invalid argument', async () => {
    for (const value of ['Bearer abc', 'AWS2 a:b', 'AWS4-HMAC-SHA256', 'AWS4-HMAC-SHA256Credential=a', 'nonsense', '']) {
      await expect(authenticate(withHeader(put, 'Authorization', value)), value).rejects.toEqual(code('InvalidArgument'))
    }
    await expect(authenticate(replaced(put, 'AWS4-HMAC-SHA256', 'AWS4-ECDSA-P256-SHA256'))).rejects.toEqual(code('NotImplemented'))
  })
})

describe('the form of the query', () => {
  const scopes: Record<string, [string, string]> = {
    'another region': ['us-east-1', 'eu-west-1'],
    'another service': ['%2Fs3%2F', '%2Fec2%2F'],
    'another date': ['%2F20260102%2F', '%2F20260103%2F'],
    'another terminator': ['aws4_request', 'aws5_request'],
    'another algorithm': ['AWS4-HMAC-SHA256', 'AWS4-HMAC-SHA1'],
  }
  for (const [name, [from, to]] of Object.entries(scopes)) {
    test(`with ${name} is refused`, async () => {
      expect(url.path).toContain(from)
      await expect(authenticate({ ...url, path: url.path.replace(from, to) })).rejects.toEqual(code('AuthorizationQueryParametersError'))
    })
  }

  test('with an expiry out of range is refused', async () => {
    for (const expires of ['604801', '-1', 'abc', '', '1e3', '99999999999999999999']) {
      const path = url.path.replace('X-Amz-Expires=3600', `X-Amz-Expires=${expires}`)
      await expect(authenticate({ ...url, path }), expires).rejects.toEqual(code('AuthorizationQueryParametersError'))
    }
  })

  test('with a parameter missing or twice is refused', async () => {
    for (const name of ['X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Date', 'X-Amz-Expires', 'X-Amz-SignedHeaders', 'X-Amz-Signature']) {
      const less = url.path.replace(new RegExp(`${name}=[^&]*&?`), '')
      await expect(authenticate({ ...url, path: less }), name).rejects.toEqual(code('AuthorizationQueryParametersError'))
      await expect(authenticate({ ...url, path: `${url.path}&${name}=1` }), name).rejects.toEqual(code('AuthorizationQueryParametersError'))
    }
  })
})

/** A canonical query by its description: decoded, encoded, sorted by name and then value. */
function byTheBook(pieces: readonly string[]): string {
  const encode = (text: string): string => text.replaceAll('+', ' ').replaceAll(/%[0-9A-Fa-f]{2}|[^]/g, (found) => {
    const code = found.length === 3 ? parseInt(found.slice(1), 16) : found.charCodeAt(0)
    return /[\w.~-]/.test(String.fromCharCode(code)) ? String.fromCharCode(code) : `%${code.toString(16).toUpperCase().padStart(2, '0')}`
  })
  const pairs = pieces.filter((piece) => piece !== '').map((piece) => [piece.split('=')[0] ?? '', piece.split('=').slice(1).join('=')].map(encode))
  return pairs.toSorted(([a = '', x = ''], [b = '', y = '']) => (a < b ? -1 : a > b ? 1 : x < y ? -1 : x > y ? 1 : 0)).map((pair) => pair.join('=')).join('&')
}
