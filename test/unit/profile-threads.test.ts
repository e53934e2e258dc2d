import { fileURLToPath, pathToFileURL } from 'node:url'
import { startCpuProfile } from 'node:v8'
import { Worker } from 'node:worker_threads'
import { afterAll, describe, expect, test } from 'vitest'
import { snapshotHeapBytesMax, snapshotProblem } from '../../src/telemetry/profile-limits.ts'
import { createProfiles } from '../../src/telemetry/profile.ts'
import { presentable } from '../../src/telemetry/profile-threads.ts'

const root = fileURLToPath(new URL('../..', import.meta.url))

describe('what leaves the server', () => {
  const node = (functionName: string, url: string): string => `{"nodes":[{"id":1,"callFrame":{"functionName":"${functionName}","lineNumber":1,"url":"${url}"}}]}`
  const read = (profile: string): unknown => {
    const [first] = (JSON.parse(presentable(profile)) as { nodes: { callFrame: { functionName: string; url: string } }[] }).nodes
    return [first?.callFrame.functionName, first?.callFrame.url]
  }

  test('is JSON, whatever a function is named', () => {
    for (const name of ['plain', 'RegExp: ["\\\\]', 'RegExp: \\d+', '"', '\\', 'a\nb', 'get "x"']) expect(read(node(name, ''))).toEqual([name, ''])
    // Escaped by V8 itself, should a later version do so.
    expect(read(node('RegExp: [\\"x]', ''))).toEqual(['RegExp: ["x]', ''])
  })

  test('is JSON also when a regular expression is on the stack', () => {
    const handle = startCpuProfile({ sampleInterval: 0.1 })
    const text = '"\\ '.repeat(100_000)
    for (let round = 0; round < 20; round++) text.replaceAll(/["\\]/g, 'x')
    expect(JSON.parse(presentable(handle.stop()))).toHaveProperty('nodes')
  })

  test('names files from the installation on, and nothing above it', () => {
    expect(read(node('f', pathToFileURL(`${root}src/main.ts`).href))).toEqual(['f', 'src/main.ts'])
    expect(read(node('f', `${root}node_modules/a/b.js`))).toEqual(['f', 'node_modules/a/b.js'])
    expect(read(node('f', '/elsewhere/node_modules/a/b.js'))).toEqual(['f', 'node_modules/a/b.js'])
    expect(read(node('f', 'file:///elsewhere/secret-customer/c.js'))).toEqual(['f', 'c.js'])
    expect(read(node('f', 'node:net'))).toEqual(['f', 'node:net'])
  })
})

describe('a heap snapshot', () => {
  test('is refused of a heap that would stop the server for long, with the reason', () => {
    expect(snapshotProblem(1024 ** 2)).toBeNull()
    expect(snapshotProblem(snapshotHeapBytesMax + 1)).toMatch(/^The heap holds 65 MiB: a snapshot would stop the thread for some 7 s.*\/debug\/allocations/)
  })
})

describe('threads that cannot answer', () => {
  const gate = new Int32Array(new SharedArrayBuffer(4))
  const waiting = new Worker("Atomics.wait(require('node:worker_threads').workerData, 0, 0)", { eval: true, workerData: gate })
  const ended = new Worker('', { eval: true })
  const gone = new Promise((resolve) => ended.once('exit', resolve))
  const profiles = createProfiles({ name: 'p', pools: () => [{ name: 'batch', threads: [waiting, ended], queued: 0, running: 0 }] })
  const live = { signal: new AbortController().signal, write: () => Promise.resolve() }
  afterAll(async () => {
    Atomics.store(gate, 0, 1)
    Atomics.notify(gate, 0)
    profiles.close()
    await waiting.terminate()
  })

  test('hold nothing up: one that waits has a profile, one that has ended is named', async () => {
    await gone
    const answer = await profiles.run({ kind: 'cpu', seconds: 1, thread: 'all' }, live)
    if (!answer.ok || answer.kind !== 'profile') throw new Error('no profile')
    expect(answer.threads.map(({ thread }) => thread)).toEqual(['main', 'batch-0'])
    expect(answer.silent).toEqual(['batch-1'])
    expect(await profiles.run({ kind: 'cpu', seconds: 1, thread: 'batch-1' }, live)).toMatchObject({ ok: false, status: 503 })
  })
})
