import { ofLast } from '../domain/of-last.ts'

const months = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']

/** `Fri, 02 Jan 2026 03:04:05 GMT` of epoch ms. */
export function httpDate(ms: number): string {
  const second = Math.floor(ms / 1000)
  const day = Math.floor(second / 86_400)
  return `${httpDay(day)}${timeOfDay(second - day * 86_400)} GMT`
}

const httpDay = ofLast((day: number) => new Date(day * 86_400_000).toUTCString().slice(0, -12))

/** `2026-01-02T03:04:05.000Z`: S3's documents have milliseconds that are always zero, as its versions have whole seconds. */
export function isoDate(ms: number): string {
  const second = Math.floor(ms / 1000)
  const day = Math.floor(second / 86_400)
  return `${isoDay(day)}${timeOfDay(second - day * 86_400)}.000Z`
}

const timeOfDay = (second: number): string => `${twoDigits[Math.floor(second / 3600)]}:${twoDigits[Math.floor(second / 60) % 60]}:${twoDigits[second % 60]}`

/** A page of a listing has a thousand dates of mostly one day, for which the calendar is asked once. */
const isoDay = ofLast((day: number) => new Date(day * 86_400_000).toISOString().slice(0, -13))
const twoDigits = Array.from({ length: 60 }, (_, value) => String(value).padStart(2, '0'))

/**
 * Epoch ms of an HTTP date in any of its three forms (RFC 9110, 5.6.7) or of an ISO 8601 time, which some SDKs send;
 * undefined for anything else, among it days that no calendar has.
 */
export function parseHttpDate(text: string): number | undefined {
  const trimmed = text.trim()
  const imf = /^[A-Za-z]{3,9}, (\d{1,2})[ -]([A-Z][a-z]{2})[ -](\d{4}|\d{2}) (\d{2}):(\d{2}):(\d{2}) (?:GMT|UTC|[+-]0000)$/.exec(trimmed)
  if (imf) return time(imf[3], imf[2], imf[1], imf[4], imf[5], imf[6])
  const asctime = /^[A-Z][a-z]{2} ([A-Z][a-z]{2}) +(\d{1,2}) (\d{2}):(\d{2}):(\d{2}) (\d{4})$/.exec(trimmed)
  if (asctime) return time(asctime[6], asctime[1], asctime[2], asctime[3], asctime[4], asctime[5])
  if (/^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(?:\.\d{1,9})?(?:Z|[+-]\d{2}:\d{2})$/.test(trimmed)) {
    const ms = Date.parse(trimmed)
    return Number.isNaN(ms) ? undefined : ms
  }
  return undefined
}

function time(year = '', month = '', day = '', hour = '', minute = '', second = ''): number | undefined {
  const monthIndex = months.indexOf(month)
  const short = Number(year)
  const fullYear = year.length > 2 ? short : short + (short < 70 ? 2000 : 1900)
  const ms = Date.UTC(fullYear, monthIndex, Number(day), Number(hour), Number(minute), Number(second))
  const back = new Date(ms)
  const exists = monthIndex >= 0 && back.getUTCDate() === Number(day) && Number(hour) < 24 && Number(minute) < 60 && Number(second) < 61
  return exists ? ms : undefined
}
