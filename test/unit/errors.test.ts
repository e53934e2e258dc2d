import { globSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { S3Error } from '../../src/domain/errors.ts'
import { errorMessage, errorStatus, messageOf, renderError } from '../../src/protocol/errors.ts'

const context = { resource: '/b/k', requestId: 'R', hostId: 'H' }

describe('error documents', () => {
  it('have S3\'s elements, the fields in their order', () => {
    const error = new S3Error('NoSuchKey', undefined, { fields: { Key: 'a&b', Extra: '1' } })
    expect(renderError(error, context)).toEqual({
      status: 404, code: 'NoSuchKey', headers: { 'content-type': 'application/xml' },
      body: '<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>NoSuchKey</Code><Message>The specified key does not exist.</Message><Key>a&amp;b</Key>'
        + '<Extra>1</Extra><Resource>/b/k</Resource><RequestId>R</RequestId><HostId>H</HostId></Error>',
    })
  })

  it('carry the message, status and headers of the throw', () => {
    const rendered = renderError(new S3Error('InvalidArgument', 'Because', { status: 418, headers: { 'retry-after': '1' } }), { ...context,
      resource: '' })
    expect(rendered).toMatchObject({ status: 418, headers: { 'content-type': 'application/xml', 'retry-after': '1' } })
    expect(rendered.body).toContain('<Message>Because</Message><RequestId>')
  })

  it('of an unknown code tell nothing', () => {
    const rendered = renderError(new S3Error('Whatever', 'secret', { fields: { Path: '/etc' }, status: 200 }), context)
    expect(rendered).toMatchObject({ status: 500, code: 'InternalError' })
    expect(rendered.body).not.toMatch(/secret|etc|Whatever/)
  })

  it('use the codes\' own statuses', () => {
    const statuses = { NotModified: 304, PreconditionFailed: 412, InvalidRange: 416, MissingContentLength: 411, SlowDown: 503,
      InsufficientStorage: 507, NotImplemented: 501, KeyTooLongError: 400 }
    for (const [code, status] of Object.entries(statuses)) expect(errorStatus(code)).toBe(status)
    for (const code of ['toString', '__proto__', 'constructor']) expect(errorStatus(code)).toBe(500)
  })

  it('know every code that the source throws', () => {
    const source = globSync('src/**/*.ts').map((file) => readFileSync(file, 'utf8')).join('\n')
    const thrown = new Set([...source.matchAll(/new S3Error\('(\w+)'/g)].map((match) => match[1] ?? ''))
    expect(thrown.size).toBeGreaterThan(20)
    thrown.delete('InternalError')
    expect([...thrown].filter((code) => errorMessage(code) === errorMessage('InternalError'))).toEqual([])
  })

  it('fall back to AWS\'s wording', () => {
    expect(messageOf(new S3Error('NoSuchBucket'))).toBe(errorMessage('NoSuchBucket'))
    expect(messageOf(new S3Error('NoSuchBucket', 'x'))).toBe('x')
    expect(messageOf(new S3Error('Whatever', 'secret'))).toBe(errorMessage('InternalError'))
  })
})
