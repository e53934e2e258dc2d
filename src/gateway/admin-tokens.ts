import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** Short-lived tokens that stand for a signature by root keys. They are valid at the process that gave them, until it ends. */
export interface AdminTokens {
  issue(): { readonly token: string; readonly expiresAt: string }
  valid(token: string): boolean
}

/** Long enough for a person at a terminal, too short to be worth stealing. */
const lifeMs = 15 * 60 * 1000
const form = /^hft_([0-9a-z]{1,12})_([0-9a-f]{16})_([0-9a-f]{64})$/

export function createAdminTokens(now: () => number = Date.now): AdminTokens {
  const key = randomBytes(32)
  const mac = (text: string): string => createHmac('sha256', key).update(text).digest('hex')
  return {
    issue() {
      const expires = now() + lifeMs
      const text = `hft_${expires.toString(36)}_${randomBytes(8).toString('hex')}`
      return { token: `${text}_${mac(text)}`, expiresAt: new Date(expires).toISOString() }
    },
    valid(token) {
      const [, expires = '', nonce = '', given = ''] = form.exec(token) ?? []
      if (given === '') return false
      return timingSafeEqual(Buffer.from(mac(`hft_${expires}_${nonce}`)), Buffer.from(given)) && Number.parseInt(expires, 36) > now()
    },
  }
}
