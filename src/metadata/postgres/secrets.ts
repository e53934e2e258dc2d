import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'

const algorithm = 'aes-256-gcm'
const nonceBytes = 12
const tagBytes = 16

/** Nonce, tag, then the encrypted secret. Bound to its access key id: moved to another row it does not open. */
export function sealSecret(masterKey: Buffer, accessKeyId: string, secret: string): Buffer {
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv(algorithm, masterKey, nonce).setAAD(Buffer.from(accessKeyId))
  const sealed = Buffer.concat([cipher.update(secret, 'utf8'), cipher.final()])
  return Buffer.concat([nonce, cipher.getAuthTag(), sealed])
}

/** Throws a plain Error when the master key is another one than it was sealed with, or when the row was changed. */
export function openSecret(masterKey: Buffer, accessKeyId: string, sealed: Buffer): string {
  const decipher = createDecipheriv(algorithm, masterKey, sealed.subarray(0, nonceBytes), { authTagLength: tagBytes })
  decipher.setAAD(Buffer.from(accessKeyId)).setAuthTag(sealed.subarray(nonceBytes, nonceBytes + tagBytes))
  try {
    return Buffer.concat([decipher.update(sealed.subarray(nonceBytes + tagBytes)), decipher.final()]).toString('utf8')
  } catch (cause) {
    throw new Error(`The secret of access key ${accessKeyId} cannot be decrypted: the master key is not the one it was stored with.`, { cause })
  }
}
