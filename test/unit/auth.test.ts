import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createAuth } from '../../src/auth/auth.ts'
import { parsePolicy } from '../../src/auth/policy.ts'
import { S3Error } from '../../src/domain/errors.ts'
import { accessKey, exampleKeyId, s3Request } from './fixtures/auth-request.ts'

const auth = createAuth({ region: 'us-east-1', signatureV2: 'on', publicHost: null, now: () => 0, accessKey: async () => accessKey() })
const request = (url: string, ...fields: [string, string][]) => s3Request('GET', url, [['Host', 'localhost'], ...fields])
const v4: [string, string] = ['Authorization', 'AWS4-HMAC-SHA256 Credential=a/b/c/d/e,SignedHeaders=host,Signature=f']

describe('authenticate', () => {
  test('refuses the anonymous', async () => {
    await expect(auth.authenticate(request('/bucket/key'))).rejects.toMatchObject({ code: 'AccessDenied' })
    await expect(auth.authenticate(request('/bucket/key?list-type=2'))).rejects.toMatchObject({ code: 'AccessDenied' })
  })

  test('refuses two forms at once', async () => {
    const both = [
      request('/?X-Amz-Signature=a', v4),
      request('/?X-Amz-Algorithm=AWS4-HMAC-SHA256', v4),
      request('/?Signature=a&AWSAccessKeyId=b', v4),
      request('/?X-Amz-Signature=a&Signature=b'),
      request('/?X-Amz-Signature=a', ['Authorization', 'AWS a:b']),
    ]
    for (const one of both) await expect(auth.authenticate(one)).rejects.toMatchObject({ code: 'InvalidArgument' })
  })

  test('refuses session tokens in every form', async () => {
    const tokens = [
      request('/', v4, ['x-amz-security-token', 't']),
      request('/?X-Amz-Signature=a&X-Amz-Security-Token=t'),
      request('/?AWSAccessKeyId=a&Signature=b&Expires=1&x-amz-security-token=t'),
      request('/', ['Authorization', 'AWS a:b'], ['x-amz-security-token', '']),
    ]
    for (const one of tokens) await expect(auth.authenticate(one)).rejects.toMatchObject({ code: 'InvalidToken' })
  })
})

test('whatever is sent ends in an S3 error', async () => {
  const piece = fc.oneof(
    fc.constantFrom('AWS4-HMAC-SHA256 ', 'AWS ', 'Credential=', 'SignedHeaders=', 'Signature=', 'a/19700101/us-east-1/s3/aws4_request', 'host'),
    fc.constantFrom(',', ':', ';', ' '),
    fc.string(),
  )
  const name = fc.constantFrom(
    'X-Amz-Algorithm', 'X-Amz-Credential', 'X-Amz-Date', 'X-Amz-Expires', 'X-Amz-SignedHeaders', 'X-Amz-Signature',
    'AWSAccessKeyId', 'Signature', 'Expires', 'acl',
  )
  const value = fc.constantFrom(
    'AWS4-HMAC-SHA256', 'a%2F19700101%2Fus-east-1%2Fs3%2Faws4_request', '19700101T000000Z', '60', 'host', 'a', '', '%20', '+',
  )
  const query = fc.array(fc.tuple(name, value), { maxLength: 9 }).map((pairs) => pairs.map((pair) => pair.join('=')).join('&'))
  const fields = fc.record({
    authorization: fc.option(fc.array(piece, { maxLength: 12 })),
    sha256: fc.option(fc.constantFrom('UNSIGNED-PAYLOAD', 'x')),
  })
  await fc.assert(fc.asyncProperty(query, fields, async (rawQuery, { authorization, sha256 }) => {
    const sent = request(
      `/?${rawQuery}`,
      ['x-amz-date', '19700101T000000Z'],
      ...authorization === null ? [] : [['authorization', authorization.join('')] as [string, string]],
      ...sha256 === null ? [] : [['x-amz-content-sha256', sha256] as [string, string]],
    )
    await expect(auth.authenticate(sent)).rejects.toBeInstanceOf(S3Error)
  }), { numRuns: 2000 })
})

describe('authorise', () => {
  const { account } = accessKey()
  const user = (...policies: unknown[]) => ({
    account, accessKeyId: exampleKeyId, user: { name: 'ann', path: '/team/', policies: policies.map(parsePolicy) },
  })
  const readOnly = { Version: '2012-10-17', Statement: { Effect: 'Allow', Action: 's3:Get*', Resource: 'arn:aws:s3:::bucket/*' } }

  test('lets root keys do all', () => {
    expect(() => auth.authorise({ account, accessKeyId: exampleKeyId, user: null }, 's3:DeleteBucket', 'arn:aws:s3:::bucket')).not.toThrow()
  })

  test('lets users do what their policies allow and names them when not', () => {
    expect(() => auth.authorise(user(readOnly), 's3:GetObject', 'arn:aws:s3:::bucket/key')).not.toThrow()
    expect(() => auth.authorise(user(readOnly), 's3:PutObject', 'arn:aws:s3:::bucket/key')).toThrow(expect.objectContaining({
      code: 'AccessDenied',
      message: 'User: arn:aws:iam::000000000001:user/team/ann is not authorized to perform: s3:PutObject on resource: "arn:aws:s3:::bucket/key"',
    }))
    expect(() => auth.authorise(user(), 's3:GetObject', 'arn:aws:s3:::bucket/key')).toThrow()
  })
})
