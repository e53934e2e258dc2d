import { createHmac } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { canonicalHeaders, canonicalPath, canonicalQuery, canonicalRequest } from '../../src/auth/canonical.ts'
import { deriveSigningKey } from '../../src/auth/signing.ts'
import { stringToSign } from '../../src/auth/sigv4.ts'

/**
 * AWS's own signing test suite (awslabs/aws-c-auth). S3 neither normalises paths nor encodes twice, so the cases apply whose
 * context says normalize=false or whose path is the same either way. The committed copy holds the applicable ones.
 */
interface Case {
  readonly context: {
    readonly credentials: { readonly access_key_id: string; readonly secret_access_key: string }
    readonly normalize: boolean
    readonly region: string
    readonly service: string
    readonly timestamp: string
  }
  readonly [part: string]: unknown
}

const shared = new URL('../../../shared/facts/sigv4-vectors.json', import.meta.url)
const copy = new URL('./fixtures/sigv4-vectors.json', import.meta.url)
const { cases }: { cases: Record<string, Case> } = JSON.parse(readFileSync(existsSync(shared) ? shared : copy, 'utf8'))

const text = (part: unknown) => String(part)

/** Splits a request as the suite writes it; folded header lines are joined as a parser of such lines joins them. */
function parse(request: string) {
  const [head = ''] = request.split('\n\n', 1)
  const [line = '', ...fields] = head.replace(/\n +/g, ' ').split('\n').filter((part) => part !== '')
  const method = line.slice(0, line.indexOf(' '))
  const url = line.slice(method.length + 1, line.lastIndexOf(' HTTP/'))
  // The parser hands out one character a byte.
  const bytes = (part: string) => Buffer.from(part, 'utf8').toString('latin1')
  const mark = url.indexOf('?')
  return {
    method,
    rawPath: bytes(mark < 0 ? url : url.slice(0, mark)),
    rawQuery: bytes(mark < 0 ? '' : url.slice(mark + 1)),
    headers: fields.map((field) => {
      const colon = field.indexOf(':')
      return [field.slice(0, colon).toLowerCase(), field.slice(colon + 1)] as const
    }),
  }
}

function needsNormalising(path: string): boolean {
  return /\/\/|\/\.{1,2}(\/|$)/.test(path)
}

const applicable = Object.entries(cases).filter(([, one]) => !one.context.normalize || !needsNormalising(parse(text(one.request)).rawPath))

test('the applicable cases are there', () => {
  expect(applicable.length).toBeGreaterThanOrEqual(28)
})

for (const [name, one] of applicable) {
  for (const form of ['header', 'query']) {
    test(`${name}, ${form} form`, () => {
      const request = parse(text(one[`${form}-signed-request`]))
      const expected = text(one[`${form}-canonical-request`])
      const lines = expected.split('\n')
      const canonical = canonicalRequest({
        method: request.method,
        path: canonicalPath(request.rawPath),
        query: canonicalQuery(
          // This one case adds its token after signing.
          name === 'post-sts-header-after' ? request.rawQuery.replace(/&X-Amz-Security-Token=[^&]*/, '') : request.rawQuery,
          'X-Amz-Signature',
        ),
        headers: canonicalHeaders(request.headers),
        signedHeaders: (lines.at(-2) ?? '').split(';'),
        payloadHash: lines.at(-1) ?? '',
      })
      expect(canonical).toBe(expected)
      const { credentials, region, service, timestamp } = one.context
      const basic = timestamp.replace(/[-:]/g, '')
      const date = basic.slice(0, 8)
      const toSign = stringToSign(canonical, basic, `${date}/${region}/${service}/aws4_request`)
      expect(toSign).toBe(one[`${form}-string-to-sign`])
      const key = deriveSigningKey(credentials.secret_access_key, date, region, service)
      expect(createHmac('sha256', key).update(toSign).digest('hex')).toBe(one[`${form}-signature`])
    })
  }
}
