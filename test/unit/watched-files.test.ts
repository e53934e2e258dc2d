import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { watchFiles, type WatchedFiles } from '../../src/gateway/watched-files.ts'

let folder: string
let file: string
let said: string[]
let watched: WatchedFiles<string> | null = null

beforeEach(() => {
  folder = mkdtempSync(path.join(tmpdir(), 'holdfast-watched-'))
  file = path.join(folder, 'file')
  said = []
})
afterEach(() => {
  watched?.close()
  rmSync(folder, { recursive: true, force: true })
})

/** Its own looks are an hour apart. */
function watch(): WatchedFiles<string> {
  return watched = watchFiles({
    paths: [file],
    everyMs: 3_600_000,
    read: () => readFileSync(file, 'utf8'),
    apply(text, before) {
      if (text.includes('bad')) throw new Error(`no good: ${text}`)
      said.push(`${before ?? ''}>${text}`)
    },
    renewed: () => void said.push('renewed'),
    refused: (reason) => void said.push(reason),
  })
}

function put(text: string): void {
  writeFileSync(`${file}.new`, text)
  renameSync(`${file}.new`, file)
}

test('what changed is applied once, and the same bytes in a new file are no change', () => {
  put('one')
  const { look } = watch()
  look()
  put('one')
  look()
  put('two')
  look()
  look()
  expect(said).toEqual(['>one', 'one>two', 'renewed'])
})

test('what is refused is told once for each reason, what was before stays, and its return is told too', () => {
  put('one')
  const files = watch()
  for (const text of ['bad', 'bad', 'worse than bad', 'one']) {
    put(text)
    files.look()
    files.look()
    expect([files.state.content, files.state.refusal?.reason]).toEqual(['one', text === 'one' ? undefined : `no good: ${text}`])
  }
  expect(said).toEqual(['>one', 'no good: bad', 'no good: worse than bad', 'renewed'])
})

test('a file that is gone is refused until it is back', () => {
  put('one')
  const files = watch()
  rmSync(file)
  files.look()
  expect(files.state.refusal?.reason).toContain('ENOENT')
  put('two')
  files.look()
  expect(files.state).toMatchObject({ content: 'two', refusal: null })
})

test('what is no good, or not there, the first time is thrown', () => {
  expect(watch).toThrow('ENOENT')
  put('bad')
  expect(watch).toThrow('no good: bad')
})
