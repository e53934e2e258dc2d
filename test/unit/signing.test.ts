import { createHmac } from 'node:crypto'
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { createSigner } from '../../src/auth/signing.ts'

test('a signature is the HMAC of the text, whatever was signed before', () => {
  fc.assert(fc.property(fc.uint8Array({ maxLength: 64 }), fc.array(fc.string({ unit: 'grapheme', maxLength: 900 }), { maxLength: 5 }), (key, texts) => {
    const sign = createSigner(key)
    for (const text of texts) expect(sign(text)).toBe(createHmac('sha256', key).update(text).digest('hex'))
  }))
})
