import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** Short-lived tokens that stand for a signature by the key that asked for them. They are valid at the process that gave them, until it ends. */
export interface AdminTokens {
  issue(accessKeyId: string): { readonly token: string; readonly expiresAt: string }
  /** The access key that it was given to, which may have lost its rights since; null: it is not, or no longer, valid. */
  holder(token: string): string | null
}

/** Long enough for a person at a terminal, too short to be worth stealing. */
const lifeMs = 15 * 60 * 1000
const form = /^hft_([0-9a-z]{1,12})_([0-9a-f]{16})_((?:[0-9a-f]{2}){1,256})_([0-9a-f]{64})$/

export function createAdminTokens(now: () => number = Date.now): AdminTokens {
  const key = randomBytes(32)
  const mac = (text: string): string => createHmac('sha256', key).update(text).digest('hex')
  return {
    issue(accessKeyId) {
      const expires = now() + lifeMs
      const text = `hft_${expires.toString(36)}_${randomBytes(8).toString('hex')}_${Buffer.from(accessKeyId).toString('hex')}`
      return { token: `${text}_${mac(text)}`, expiresAt: new Date(expires).toISOString() }
    },
    holder(token) {
      const [, expires = '', nonce = '', holder = '', given = ''] = form.exec(token) ?? []
      if (given === '') return null
      const valid = timingSafeEqual(Buffer.from(mac(`hft_${expires}_${nonce}_${holder}`)), Buffer.from(given)) && Number.parseInt(expires, 36) > now()
      return valid ? Buffer.from(holder, 'hex').toString() : null
    },
  }
}
