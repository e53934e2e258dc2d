/** Dates of signed requests. Times are milliseconds since the epoch; NaN stands for text that is no date. */

function digits(text: string, start: number, end: number): number {
  let value = 0
  for (let index = start; index < end; index++) {
    const digit = text.charCodeAt(index) - 48
    if (!(digit >= 0 && digit <= 9)) return NaN
    value = value * 10 + digit
  }
  return value
}

/** `20260102T030405Z`, as X-Amz-Date has it; parsed by hand because every request passes here. */
export function parseIsoBasic(text: string): number {
  if (text.length !== 16 || text[8] !== 'T' || text[15] !== 'Z') return NaN
  const month = digits(text, 4, 6)
  const day = digits(text, 6, 8)
  const hour = digits(text, 9, 11)
  const minute = digits(text, 11, 13)
  const second = digits(text, 13, 15)
  if (!(month >= 1 && month <= 12 && day >= 1 && day <= 31 && hour <= 23 && minute <= 59 && second <= 59)) return NaN
  return Date.UTC(digits(text, 0, 4), month - 1, day, hour, minute, second)
}

const rfc1123 = /^(?:[A-Z][a-z]{2}, )?\d{1,2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} (?:GMT|UTC|[+-]\d{4})$/

/** A Date header (RFC 1123, also with a numeric zone) or the basic ISO form: clients send either in `x-amz-date` and `date`. */
export function parseRequestDate(text: string): number {
  const iso = parseIsoBasic(text)
  if (!Number.isNaN(iso)) return iso
  return rfc1123.test(text) ? Date.parse(text) : NaN
}

/** Epoch ms as `20260102T030405Z`. */
export function isoBasic(time: number): string {
  return new Date(time).toISOString().replace(/[-:]|\.\d{3}/g, '')
}

/** Epoch ms as `2026-01-02T03:04:05Z`, as S3's error documents write it. */
export function isoSeconds(time: number): string {
  return new Date(time).toISOString().replace(/\.\d{3}/, '')
}
