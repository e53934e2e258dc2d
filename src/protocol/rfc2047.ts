import { isUtf8 } from 'node:buffer'

/**
 * Encoded words (RFC 2047): how user metadata beyond ASCII travels in headers. S3 reads words in UTF-8, and answers values
 * that are not printable ASCII as one word. Source: Amazon S3 user guide, "User-defined object metadata".
 */

const word = /=\?(utf-8|us-ascii|iso-8859-1)(?:\*[^?]*)?\?([bq])\?([^? ]*)\?=/gi

/** Text with its encoded words decoded; a word that does not decode stays as it is. */
export function decodeWords(text: string): string {
  if (!text.includes('=?')) return text
  // White space between two words belongs to neither (RFC 2047, 6.2). Words are joined before decoding only when adjacent.
  return text.replace(/(\?=)[ \t]+(?==\?)/g, '$1').replace(word, (whole, charset: string, encoding: string, data: string) =>
    decodeWord(charset.toLowerCase(), encoding.toLowerCase(), data) ?? whole)
}

function decodeWord(charset: string, encoding: string, data: string): string | undefined {
  const bytes = encoding === 'b' ? fromBase64(data) : fromQ(data)
  if (!bytes) return undefined
  if (charset === 'iso-8859-1') return bytes.toString('latin1')
  return isUtf8(bytes) ? bytes.toString('utf8') : undefined
}

function fromBase64(data: string): Buffer | undefined {
  return /^[A-Za-z0-9+/]*={0,2}$/.test(data) ? Buffer.from(data, 'base64') : undefined
}

function fromQ(data: string): Buffer | undefined {
  if (/=(?![0-9A-Fa-f]{2})/.test(data) || /[^!-~]/.test(data)) return undefined
  const text = data.replaceAll('_', ' ').replace(/=([0-9A-Fa-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)))
  return Buffer.from(text, 'latin1')
}

/** A header value for any text: as it is when printable ASCII that would not be read as a word, else one base64 word. */
export function encodeWords(text: string): string {
  if (/^[\t\x20-\x7e]*$/.test(text) && !text.includes('=?')) return text
  return `=?UTF-8?B?${Buffer.from(text, 'utf8').toString('base64')}?=`
}
