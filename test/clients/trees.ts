import { mkdir, utimes, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { noise } from '../support/tools.ts'

/** Names that a person may give a file and that some step between a tool and the disk could spoil: each is a different way of quoting. */
export const oddNames: readonly string[] = [
  'plain.txt',
  'a file with spaces.txt',
  ' leading and trailing ',
  'ünïcödé-ñandú.txt',
  'decomposed-e\u0301.txt',
  '日本語/ファイル.txt',
  'emoji 🎉 👩‍👩‍👧.bin',
  'plus+plus+.txt',
  '+',
  'per%cent.txt',
  'looks%20quoted%2Fbut is not.txt',
  '100%',
  'amper&sand&amp;.txt',
  `it's "quoted".txt`,
  'hash#mark.txt',
  'question?mark=1&uploads.txt',
  'semi;colon,comma=equals@at!.txt',
  'colon:colon.txt',
  '(round)[square]{curly}.txt',
  '<angle> tag.txt',
  '$dollar^caret*star|pipe.txt',
  'tilde~`back`.txt',
  '.hidden',
  '.config/.deep/.er',
  '...',
  'a..b/..c/d..',
  '001',
  '1e5',
  'true',
  'deep/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/deep file.txt',
  'empty file',
  'folder/empty.txt',
  'folder.txt',
  'folder-dash/x',
]

/** Sizes around the borders that matter: nothing, one byte, the packed and the large way of storing, more than one block. */
const sizes: readonly number[] = [1, 11, 4096, 65_537, 131_072, 131_073, 300_000, 1_048_576, 1_048_577]

const longAgo = new Date('2021-02-03T04:05:06Z')

/**
 * Writes a tree of odd names below `folder`; the same content every time. `names` default to all of them. The files look old: S3 tells
 * times in whole seconds, and a tool that compares them would send a file again that was changed in the second of its upload.
 */
export async function writeOddTree(folder: string, names: readonly string[] = oddNames): Promise<void> {
  for (const [index, name] of names.entries()) {
    const file = path.join(folder, name)
    const bytes = name.includes('empty') ? 0 : sizes[index % sizes.length] ?? 1
    await mkdir(path.dirname(file), { recursive: true })
    await writeFile(file, Buffer.concat([...noise(bytes, name)]))
    await utimes(file, longAgo, longAgo)
  }
}
