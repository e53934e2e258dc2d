import { createHash, createHmac } from 'node:crypto'
import { lstat, readdir, readFile, readlink } from 'node:fs/promises'
import path from 'node:path'

/** Looking for secrets in all that a server writes, in every form that a secret takes. */

export interface Canary {
  readonly name: string
  readonly secret: string
}

/** The forms in which it could stand somewhere. */
export function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret)
  // Base64 of a text that holds it: by where it begins, with the letters that are its own alone.
  const base64 = [0, 1, 2].map((shift) => Buffer.concat([Buffer.alloc(shift), bytes]).toString('base64').replace(/=+$/, '').slice(shift === 0 ? 0 : shift + 1, -2))
  const encoded = encodeURIComponent(secret)
  return [...new Set([secret, JSON.stringify(secret).slice(1, -1), ...base64, ...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')), bytes.toString('hex'), bytes.toString('hex').toUpperCase(), encoded, encoded.toLowerCase(), [...bytes].join(','), spaced(bytes)])]
}

const spaced = (bytes: Buffer): string => bytes.toString('hex').replace(/..(?!$)/g, '$& ')

/** The key that signs this day: as good as the secret until midnight. */
export function signingKeyForms(secret: string): string[] {
  const hmac = (key: string | Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest()
  const day = new Date().toISOString().slice(0, 10).replaceAll('-', '')
  const key = ['us-east-1', 's3', 'aws4_request'].reduce(hmac, hmac(`AWS4${secret}`, day))
  return [key.toString('hex'), key.toString('base64').replace(/=+$/, ''), [...key].join(','), key.toString('latin1')]
}

/** Where which of them was found, in words. */
export function createSearch(canaries: readonly Canary[]): { look(where: string, text: string | Buffer): void; readonly found: string[] } {
  const needles = canaries.flatMap(({ name, secret }) => [
    ...formsOf(secret).map((form) => ({ name, bytes: Buffer.from(form) })), ...(name.endsWith('secret') ? signingKeyForms(secret).map((form) => ({ name: `${name}'s signing key`, bytes: Buffer.from(form, 'latin1') })) : []),
    { name, bytes: Buffer.from(createHash('sha256').update(secret).digest('hex')) },
  ])
  const found: string[] = []
  return {
    found,
    look(where, text) {
      const hay = Buffer.from(text as Buffer)
      for (const { name, bytes } of needles) {
        const at = hay.indexOf(bytes)
        if (at >= 0) found.push(`${name} stands in ${where}, as ${JSON.stringify(bytes.toString('latin1').slice(0, 12))}… behind ${JSON.stringify(hay.toString('latin1', Math.max(0, at - 60), at))}`)
      }
    },
  }
}

/** All files and folders below one. What is gone by the time that it is looked at is left out. */
export async function everythingBelow(folder: string): Promise<{ readonly file: string; readonly mode: number; readonly kind: 'file' | 'folder' | 'other' }[]> {
  const names = await readdir(folder, { recursive: true })
  const all = await Promise.all(['', ...names].map(async (name) => {
    const file = path.join(folder, name)
    const stat = await lstat(file).catch(() => null)
    return stat === null ? [] : [{ file, mode: stat.mode & 0o777, kind: stat.isFile() ? 'file' as const : stat.isDirectory() ? 'folder' as const : 'other' as const }]
  }))
  return all.flat()
}

/** A process with all that it started, and what those started. */
export async function wholeFamily(pid: number): Promise<number[]> {
  const parents = new Map<number, number[]>()
  for (const name of (await readdir('/proc')).filter((each) => /^\d+$/.test(each))) {
    const stat = await readFile(`/proc/${name}/stat`, 'utf8').catch(() => '')
    const parent = Number(stat.replace(/^.*\) /s, '').split(' ')[1])
    parents.set(parent, [...parents.get(parent) ?? [], Number(name)])
  }
  const family = [pid]
  for (const member of family) family.push(...parents.get(member) ?? [])
  return family
}

/** Addresses that a process listens on by TCP, as `hex-address:port`. */
export async function listenersOf(pid: number): Promise<string[]> {
  const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => [])
  const links = await Promise.all(descriptors.map((name) => readlink(`/proc/${pid}/fd/${name}`).catch(() => '')))
  const inodes = new Set(links.flatMap((link) => /^socket:\[(\d+)\]$/.exec(link)?.[1] ?? []))
  const tables = await Promise.all(['tcp', 'tcp6'].map((table) => readFile(`/proc/${pid}/net/${table}`, 'utf8').catch(() => '')))
  const listening = '0A'
  return tables.join('\n').split('\n').map((line) => line.trim().split(/\s+/)).filter((fields) => fields[3] === listening && inodes.has(fields[9] ?? ''))
    .map((fields) => `${fields[1]?.split(':')[0]}:${Number.parseInt(fields[1]?.split(':')[1] ?? '', 16)}`)
}
