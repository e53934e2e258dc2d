/** A whole request as it goes over the wire. */
export interface Wire {
  readonly host: string
  readonly port: number
  readonly method: string
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array | null
}

export function requestBytes({ body = null, ...head }: Wire): Buffer {
  const bytes = headBytes(head, body?.length ?? null)
  return body === null ? bytes : Buffer.concat([bytes, body])
}

/** The same without its body, which is announced. */
export function headBytes({ host, port, method, path, headers = {} }: Omit<Wire, 'body'>, length: number | null): Buffer {
  const lines = Object.entries({ ...headers, ...length === null ? {} : { 'Content-Length': String(length) } }).map(([name, value]) => `${name}: ${value}\r\n`)
  return Buffer.from(`${method} ${path} HTTP/1.1\r\nHost: ${host}:${port}\r\n${lines.join('')}\r\n`, 'latin1')
}

export const stampBytes = 16

/** How a body begins that no other one is equal to: see `Load.stamp`. */
export function stampOf(stamp: string, index: number): string {
  return stamp + index.toString(16).padStart(8, '0')
}

export function stamped(body: Buffer, stamp: string, index: number): Buffer {
  const copy = Buffer.from(body)
  copy.write(stampOf(stamp, index), 'latin1')
  return copy
}
