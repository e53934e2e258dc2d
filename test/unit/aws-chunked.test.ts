import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { S3Error } from '../../src/domain/errors.ts'
import { createChunkedDecoder } from '../../src/protocol/aws-chunked.ts'

type Options = Partial<Pick<Parameters<typeof createChunkedDecoder>[0], 'signed' | 'trailer'>> & { decodedLength: number }

/** Decodes the pieces and writes down everything that the decoder says. */
function decode(pieces: readonly Uint8Array[], { signed = false, trailer = false, decodedLength }: Options) {
  const data: Buffer[] = []
  const events: string[] = []
  let run = 0
  const decoder = createChunkedDecoder({
    signed,
    trailer,
    decodedLength,
    onChunkStart: (signature, size) => events.push(`start ${size} ${signature}`),
    onData: (bytes) => {
      data.push(Buffer.from(bytes))
      run += bytes.length
    },
    onChunkEnd: (signature) => {
      events.push(`end ${run} ${signature}`)
      run = 0
    },
  })
  for (const piece of pieces) decoder.push(piece)
  return { end: decoder.finish(), data: Buffer.concat(data).toString('latin1'), events }
}

const wire = (text: string) => [Buffer.from(text, 'latin1')]

/** The code (and status, where it differs from the table) that decoding ends with. */
function failure(text: string, options: Options): string {
  try {
    decode(wire(text), options)
  } catch (error) {
    if (error instanceof S3Error) return error.code
    throw error
  }
  return 'none'
}

const signature = (digit: string) => digit.repeat(64)
const big = 'x'.repeat(8192)

describe('a well-formed body', () => {
  test('unsigned chunks without a trailer', () => {
    const { data, events } = decode(wire('5\r\nhello\r\nA\r\n0123456789\r\n0\r\n\r\n'), { decodedLength: 15 })
    expect(data).toBe('hello0123456789')
    expect(events).toEqual(['start 5 null', 'end 5 null', 'start 10 null', 'end 10 null', 'start 0 null', 'end 0 null'])
  })

  test('no data at all', () => {
    expect(decode(wire('0\r\n\r\n'), { decodedLength: 0 }).data).toBe('')
  })

  test('an unsigned trailer, as the SDKs send it', () => {
    const { end } = decode(wire('5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n'), { trailer: true, decodedLength: 5 })
    expect(end).toEqual({ trailers: [['x-amz-checksum-crc32', 'NhCmhg==']], trailerSignature: null, trailerText: 'x-amz-checksum-crc32:NhCmhg==\n' })
  })

  test('line feeds alone in the trailer and one empty line too many, as other clients send it', () => {
    const { end } = decode(wire('5\r\nhello\r\n0\r\nX-Amz-Checksum-Crc32: NhCmhg==\n\r\n\r\n'), { trailer: true, decodedLength: 5 })
    expect(end.trailers).toEqual([['x-amz-checksum-crc32', 'NhCmhg==']])
  })

  test('an announced trailer may be empty', () => {
    expect(decode(wire('0\r\n\r\n'), { trailer: true, decodedLength: 0 }).end.trailers).toEqual([])
  })

  test('signed chunks with their signatures in front of the data', () => {
    const header = (size: string, digit: string) => `${size};chunk-signature=${signature(digit)}\r\n`
    const body = `${header('2000', 'a')}${big}\r\n${header('3', 'b')}abc\r\n${header('0', 'c')}\r\n`
    const { data, events } = decode(wire(body), { signed: true, decodedLength: 8195 })
    expect(data).toBe(`${big}abc`)
    expect(events).toEqual([
      `start 8192 ${signature('a')}`, `end 8192 ${signature('a')}`, `start 3 ${signature('b')}`, `end 3 ${signature('b')}`,
      `start 0 ${signature('c')}`, `end 0 ${signature('c')}`,
    ])
  })

  for (const between of ['', '\r\n']) {
    test(`a signed trailer ${between === '' ? 'directly before' : 'and an empty line before'} its signature`, () => {
      const body = `3;chunk-signature=${signature('a')}\r\nabc\r\n0;chunk-signature=${signature('b')}\r\n`
        + `x-amz-checksum-crc32c:sOO8/Q==\n${between}x-amz-trailer-signature:${signature('c')}\r\n\r\n`
      expect(decode(wire(body), { signed: true, trailer: true, decodedLength: 3 }).end).toEqual({
        trailers: [['x-amz-checksum-crc32c', 'sOO8/Q==']],
        trailerSignature: signature('c'),
        trailerText: 'x-amz-checksum-crc32c:sOO8/Q==\n',
      })
    })
  }

  test('data is a view of what was pushed', () => {
    const piece = Buffer.from('5\r\nhello\r\n0\r\n\r\n')
    const seen: Uint8Array[] = []
    const decoder = createChunkedDecoder({ signed: false, trailer: false, decodedLength: 5, onData: (bytes) => seen.push(bytes) })
    decoder.push(piece)
    decoder.finish()
    expect(seen).toHaveLength(1)
    expect(seen[0]?.buffer).toBe(piece.buffer)
  })
})

describe('a chunk header that is refused', () => {
  const cases: Record<string, string> = {
    'no number': 'hello\r\n',
    'empty': '\r\n',
    'negative': '-5\r\nhello\r\n0\r\n\r\n',
    'in 0x notation': '0x5\r\nhello\r\n0\r\n\r\n',
    'a space': '5 \r\nhello\r\n0\r\n\r\n',
    'a bare line feed': '5\nhello\r\n0\r\n\r\n',
    'seventeen digits': '00000000000000005\r\nhello\r\n0\r\n\r\n',
    'a signature in an unsigned body': `5;chunk-signature=${signature('a')}\r\nhello\r\n0\r\n\r\n`,
    'longer than a kibibyte': `${'0'.repeat(2000)}5\r\nhello\r\n0\r\n\r\n`,
    'never ending': '5'.repeat(100_000),
    'data longer than its size': '4\r\nhello\r\n0\r\n\r\n',
  }
  for (const [name, body] of Object.entries(cases)) {
    test(name, () => expect(failure(body, { decodedLength: 5 })).toBe('InvalidChunkSizeError'))
  }

  test('signed: no signature, a short one, an upper-case one, something behind it', () => {
    const extensions = [
      '', ';chunk-signature=abc', `;chunk-signature=${signature('A')}`, `;chunk-signature=${signature('a')};x=y`, `;x=${signature('a')}`,
    ]
    for (const extension of extensions) {
      expect(failure(`5${extension}\r\nhello\r\n`, { signed: true, decodedLength: 5 })).toBe('InvalidChunkSizeError')
    }
  })

  test('signed: a chunk below 8 KiB that is not the last', () => {
    const header = (size: string) => `${size};chunk-signature=${signature('a')}\r\n`
    const body = `${header('5')}hello\r\n${header('5')}world\r\n${header('0')}\r\n`
    expect(failure(body, { signed: true, decodedLength: 10 })).toBe('InvalidChunkSizeError')
  })

  test('its status is 400', () => {
    const decoder = createChunkedDecoder({ signed: false, trailer: false, decodedLength: 5, onData: () => undefined })
    expect(() => decoder.push(Buffer.from('zz\r\n'))).toThrow(expect.objectContaining({ status: 400 }))
  })
})

describe('a length that is wrong', () => {
  const cases: Record<string, string> = {
    'a chunk of more than the declared length': '6\r\nhello!\r\n0\r\n\r\n',
    'all ones': 'FFFFFFFFFFFFFFFF\r\nhello\r\n0\r\n\r\n',
    'less than declared': '4\r\nhell\r\n0\r\n\r\n',
    'no final chunk': '5\r\nhello\r\n',
    'cut in the data': '5\r\nhel',
    'cut in a header': '5\r\nhello\r\n0',
    'cut behind the final header': '5\r\nhello\r\n0\r\n',
    'nothing': '',
    'more behind the end': '5\r\nhello\r\n0\r\n\r\nGET / HTTP/1.1\r\n',
    'two more empty lines': '5\r\nhello\r\n0\r\n\r\n\r\n\r\n',
  }
  for (const [name, body] of Object.entries(cases)) {
    test(name, () => expect(failure(body, { decodedLength: 5 })).toBe('IncompleteBody'))
  }
})

describe('a trailer that is refused', () => {
  const unsigned: Record<string, string> = {
    'no colon': 'x-amz-checksum-crc32\r\n\r\n',
    'no name': ':value\r\n\r\n',
    'a space in the name': 'x amz:value\r\n\r\n',
    'a control character': 'x-amz-checksum-crc32:a\x00b\r\n\r\n',
    'the same name twice': 'x-amz-checksum-crc32:a\r\nX-Amz-Checksum-Crc32:b\r\n\r\n',
    'cut in a line': 'x-amz-checksum-crc32:NhC',
    'cut behind a line': 'x-amz-checksum-crc32:NhCmhg==\r\n',
    'longer than four kibibytes': `x-amz-checksum-crc32:${'a'.repeat(5000)}\r\n\r\n`,
    'many lines': `${Array.from({ length: 500 }, (_, index) => `x-name-${index}:value\r\n`).join('')}\r\n`,
  }
  for (const [name, trailer] of Object.entries(unsigned)) {
    test(name, () => expect(failure(`0\r\n${trailer}`, { trailer: true, decodedLength: 0 })).toBe('MalformedTrailerError'))
  }

  test('one that was not announced', () => {
    expect(failure('0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n', { decodedLength: 0 })).toBe('MalformedTrailerError')
  })

  test('signed: no signature, or fields behind it', () => {
    const head = `0;chunk-signature=${signature('a')}\r\n`
    for (const trailer of ['x-a:1\r\n\r\n\r\n', '\r\n', `x-amz-trailer-signature:${signature('b')}\r\nx-a:1\r\n\r\n`]) {
      expect(failure(head + trailer, { signed: true, trailer: true, decodedLength: 0 })).toBe('MalformedTrailerError')
    }
  })
})

test('any split of any body decodes to the same', () => {
  const body = fc.record({
    signed: fc.boolean(),
    trailer: fc.boolean(),
    blocks: fc.array(fc.integer({ min: 8192, max: 9000 }), { maxLength: 3 }),
    last: fc.integer({ min: 1, max: 40 }),
    cuts: fc.array(fc.oneof(fc.nat(40_000), fc.nat(200)), { maxLength: 20 }),
    fromEnd: fc.array(fc.nat(300), { maxLength: 20 }),
  })
  fc.assert(fc.property(body, ({ signed, trailer, blocks, last, cuts, fromEnd }) => {
    const header = (size: number) => `${size.toString(16)}${signed ? `;chunk-signature=${signature('a')}` : ''}\r\n`
    const chunks = [...blocks, last].map((size, index) => `${header(size)}${String.fromCharCode(97 + index).repeat(size)}\r\n`)
    const fields = trailer ? `x-amz-checksum-crc32:NhCmhg==\r\n${signed ? `x-amz-trailer-signature:${signature('b')}\r\n` : ''}` : ''
    const whole = Buffer.from(`${chunks.join('')}${header(0)}${fields}\r\n`)
    const decodedLength = [...blocks, last].reduce((sum, size) => sum + size, 0)
    const at = [...cuts, ...fromEnd.map((bytes) => whole.length - bytes)].filter((cut) => cut > 0 && cut < whole.length).sort((a, b) => a - b)
    const pieces = [0, ...at].map((from, index) => whole.subarray(from, at[index] ?? whole.length))
    expect(decode(pieces, { signed, trailer, decodedLength })).toEqual(decode([whole], { signed, trailer, decodedLength }))
  }))
})

test('byte by byte', () => {
  const whole = Buffer.from('5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n')
  const pieces = Array.from(whole, (_, index) => whole.subarray(index, index + 1))
  expect(decode(pieces, { trailer: true, decodedLength: 5 })).toEqual(decode([whole], { trailer: true, decodedLength: 5 }))
})

test('arbitrary bytes end in an S3 error or decode', () => {
  const token = fc.oneof(fc.constantFrom('\r\n', '\n', '0', '5', 'f', ';chunk-signature=', ':', 'a', '\0', signature('a')), fc.string())
  fc.assert(fc.property(fc.array(token), fc.boolean(), fc.boolean(), fc.nat(20), (tokens, signed, trailer, decodedLength) => {
    expect(['none', 'InvalidChunkSizeError', 'IncompleteBody', 'MalformedTrailerError'])
      .toContain(failure(tokens.join(''), { signed, trailer, decodedLength }))
  }))
})
