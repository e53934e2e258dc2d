import { randomBytes, randomFillSync } from 'node:crypto'

/** Names the server process that answered, as AWS's HostId does; the same for every answer until the next start. */
export const hostId = randomBytes(48).toString('base64')

const pool = Buffer.alloc(8 * 1024)
let used = pool.length

/** 16 upper-case hex digits. Random bytes are drawn by the kilobyte, because a draw costs more than the request id is worth. */
export function nextRequestId(): string {
  if (used === pool.length) {
    randomFillSync(pool)
    used = 0
  }
  used += 8
  return pool.toString('hex', used - 8, used).toUpperCase()
}
