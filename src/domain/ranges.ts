import { S3Error } from './errors.ts'

/** Bytes `[start, end)`. */
export interface ByteRange {
  readonly start: number
  readonly end: number
}

/**
 * The Range header against an object of `size` bytes. Several ranges, another unit or a header that does not parse mean
 * the whole object (RFC 9110, 14.2: a server ignores what it does not understand; S3 answers several ranges so).
 * A range that starts behind the end, and any range of an empty object, is unsatisfiable.
 */
export function parseRange(header: string | undefined, size: number): 'whole' | 'unsatisfiable' | ByteRange {
  const match = header === undefined ? null : /^bytes[ \t]*=[ \t]*(\d*)[ \t]*-[ \t]*(\d*)[ \t]*$/i.exec(header)
  if (!match) return 'whole'
  const [, first = '', last = ''] = match
  if (first === '') return last === '' ? 'whole' : suffix(Number(last), size)
  const start = Number(first)
  if (last !== '' && Number(last) < start) return 'whole'
  if (start >= size) return 'unsatisfiable'
  return { start, end: last === '' ? size : Math.min(Number(last) + 1, size) }
}

function suffix(length: number, size: number): 'unsatisfiable' | ByteRange {
  if (length === 0 || size === 0) return 'unsatisfiable'
  return { start: Math.max(0, size - length), end: size }
}

/**
 * x-amz-copy-source-range: `bytes=first-last` only, inside the source.
 * Throws InvalidArgument for any other form, InvalidRequest for a range beyond the source. Source: UploadPartCopy's API reference.
 */
export function parseCopySourceRange(header: string, size: number): ByteRange {
  const match = /^bytes=(\d{1,15})-(\d{1,15})$/.exec(header)
  const start = Number(match?.[1])
  const end = Number(match?.[2]) + 1
  if (!match || end <= start) {
    throw new S3Error('InvalidArgument', 'The x-amz-copy-source-range value must be of the form bytes=first-last where first and last are the '
      + 'zero-based offsets of the first and last bytes to copy', { fields: { ArgumentName: 'x-amz-copy-source-range', ArgumentValue: header } })
  }
  if (end > size) {
    throw new S3Error('InvalidArgument', `Range specified is not valid for source object of size: ${size}`,
      { fields: { ArgumentName: 'x-amz-copy-source-range', ArgumentValue: header } })
  }
  return { start, end }
}
