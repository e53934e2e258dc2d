const headEnd = Buffer.from('\r\n\r\n')
const noBytes = Buffer.alloc(0)

export interface Answer {
  readonly status: number
  readonly bodyBytes: number
  /** The server closes the connection after this one. */
  readonly close: boolean
}

/** Takes the next bytes of a connection; gives the answer when its last byte is among them. `head`: the request was a HEAD. */
export type AnswerReader = (chunk: Buffer, head: boolean) => Answer | null

/** Reads answers off one connection that has one request at a time on the way. Bodies are counted, not kept. */
export function createAnswerReader(): AnswerReader {
  let kept = noBytes
  let answer: Answer | null = null
  let left = 0
  let chunks: ((bytes: Buffer) => boolean) | null = null
  return (chunk, head) => {
    let bytes = chunk
    if (answer === null) {
      if (kept.length > 0) bytes = Buffer.concat([kept, chunk])
      const end = bytes.indexOf(headEnd)
      if (end < 0) {
        kept = Buffer.from(bytes)
        return null
      }
      kept = noBytes
      const text = bytes.toString('latin1', 0, end + 2)
      const status = Number(text.slice(9, 12))
      const bodiless = head || status === 204 || status === 304
      chunks = !bodiless && /\r\ntransfer-encoding: *chunked\r\n/i.test(text) ? createChunks() : null
      left = bodiless || chunks !== null ? 0 : contentLength(text)
      answer = { status, bodyBytes: left, close: /\r\nconnection: *close\r\n/i.test(text) }
      bytes = bytes.subarray(end + 4)
    }
    if (chunks !== null) {
      answer = { ...answer, bodyBytes: answer.bodyBytes + bytes.length }
      if (!chunks(bytes)) return null
    } else {
      left -= bytes.length
      if (left > 0) return null
      if (left < 0) throw new Error('The server sent more than it announced.')
    }
    const whole = answer
    answer = null
    return whole
  }
}

function contentLength(head: string): number {
  const match = /\r\ncontent-length: *([0-9]+)\r\n/i.exec(head)
  if (match === null) throw new Error(`An answer without Content-Length cannot be counted:\n${head}`)
  return Number(match[1])
}

/** Finds the end of a chunked body (RFC 9112, 7.1); trailers are not expected. Gives true with the last byte. */
function createChunks(): (bytes: Buffer) => boolean {
  let skip = 0
  let line = ''
  let last = false
  return (bytes) => {
    for (let at = 0; at < bytes.length;) {
      if (skip > 0) {
        const taken = Math.min(skip, bytes.length - at)
        skip -= taken
        at += taken
        if (skip === 0 && last) return true
        continue
      }
      const end = bytes.indexOf(10, at)
      line += bytes.toString('latin1', at, end < 0 ? bytes.length : end)
      if (end < 0) return false
      at = end + 1
      const size = Number.parseInt(line, 16)
      if (Number.isNaN(size)) throw new Error(`Not the size of a chunk: ${line}`)
      line = ''
      last = size === 0
      skip = size + 2
    }
    return false
  }
}
