import { readFile } from 'node:fs/promises'
import type { ThreadProfile } from './profile.ts'

export interface PageData {
  readonly kind: 'cpu' | 'allocations'
  readonly process: string
  readonly seconds: number
  readonly silent: readonly string[]
  readonly threads: readonly ThreadProfile[]
}

const template = new URL('profile-page.html', import.meta.url)
const place = '/*DATA*/null'

/**
 * A page that needs nothing else, also on a machine without a network: the profiles are in it as V8 wrote them, and its script draws
 * the flame graphs. The server only puts text together.
 */
export async function profilePage({ threads, ...about }: PageData): Promise<string> {
  const [head = '', tail = ''] = (await readFile(template, 'utf8')).split(place)
  const profiles = threads.map(({ thread, profile }) => `{"thread":${JSON.stringify(thread)},"profile":${profile}}`)
  const data = `${JSON.stringify({ ...about, takenAt: new Date().toISOString() }).slice(0, -1)},"threads":[${profiles.join(',')}]}`
  // A `<` can only stand in a JSON string, where the escape means the same; it could end the script element.
  return `${head}${data.replaceAll('<', '\\u003c')}${tail}`
}
