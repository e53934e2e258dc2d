import { describe, expect, test } from 'vitest'
import { S3Error } from '../../src/domain/errors.ts'
import { compileRoutes } from '../../src/operations/routes.ts'
import { operations } from '../../src/operations/table.ts'
import { makeHeaders } from '../../src/protocol/headers.ts'
import { parseQuery } from '../../src/protocol/target.ts'
import model from './fixtures/s3-operations.json' with { type: 'json' }

/** The deprecated names share method, path and parameters with their successors. */
const deprecated = new Map([
  ['GetBucketLifecycle', 'GetBucketLifecycleConfiguration'], ['PutBucketLifecycle', 'PutBucketLifecycleConfiguration'],
  ['GetBucketNotification', 'GetBucketNotificationConfiguration'], ['PutBucketNotification', 'PutBucketNotificationConfiguration'],
])

const routes = compileRoutes(operations)

function route(method: string, path: string, headers: Record<string, string> = {}): string {
  const [bare = '', query = ''] = path.split('?')
  const [bucket, ...key] = bare.slice(1).split('/')
  const target = bucket === '' || bucket === undefined ? { scope: 'service' as const }
    : key.length === 0 ? { scope: 'bucket' as const, bucket } : { scope: 'object' as const, bucket, key: key.join('/') }
  return routes.match({ method, target, query: parseQuery(query), headers: makeHeaders(Object.entries(headers).flat()) }).name
}

function code(run: () => unknown): string {
  try {
    run()
  } catch (error) {
    if (error instanceof S3Error) return error.code
    throw error
  }
  return 'none'
}

describe('the table of operations', () => {
  test.each(model)('$name of the S3 model is reached by its method, path and required parameters', ({ name, method, uri, query, headers }) => {
    const [path = '', fixed = ''] = uri.replace('{Bucket}', 'bucket').replace('{Key+}', 'key').split('?')
    const params = [...fixed.split('&').filter(Boolean), ...query.map((param) => `${param}=1`)]
    // ListDirectoryBuckets has the request line of ListBuckets and differs by its endpoint; its own parameter tells them apart.
    if (name === 'ListDirectoryBuckets') params.push('max-directory-buckets=1')
    expect(route(method, `${path}?${params.join('&')}`, Object.fromEntries(headers.map((header) => [header, 'x'])))).toBe(deprecated.get(name) ?? name)
  })

  test('has each name once', () => {
    const names = operations.map((operation) => operation.name)
    expect(new Set(names).size).toBe(names.length)
  })

  test('an operation that stands twice stops the start', () => {
    const [first] = operations
    expect(() => compileRoutes([first, first].filter((entry) => entry !== undefined))).toThrow(/two operations have the route/)
  })
})

describe('matching', () => {
  test('optional and unknown parameters do not change the operation', () => {
    expect(route('GET', '/bucket/key?versionId=null&x-id=GetObject&partNumber=2')).toBe('GetObject')
    expect(route('GET', '/bucket?prefix=a&x-id=ListObjects')).toBe('ListObjects')
    expect(route('GET', '/bucket?prefix=a&list-type=2')).toBe('ListObjectsV2')
    expect(route('GET', '/?x-id=ListBuckets')).toBe('ListBuckets')
  })

  test('a copy is told from a put by its header', () => {
    expect(route('PUT', '/bucket/key', { 'x-amz-copy-source': '/a/b' })).toBe('CopyObject')
    expect(route('PUT', '/bucket/key?partNumber=1&uploadId=u', { 'x-amz-copy-source': '/a/b' })).toBe('UploadPartCopy')
  })

  test('a sub-resource that does not take the method is refused and never falls through', () => {
    expect(code(() => route('DELETE', '/bucket?acl'))).toBe('MethodNotAllowed')
    expect(code(() => route('DELETE', '/bucket?versions'))).toBe('MethodNotAllowed')
    expect(code(() => route('DELETE', '/bucket/key?acl'))).toBe('MethodNotAllowed')
    expect(code(() => route('PUT', '/bucket/key?uploads'))).toBe('MethodNotAllowed')
    expect(code(() => route('PATCH', '/bucket/key'))).toBe('MethodNotAllowed')
  })
})
