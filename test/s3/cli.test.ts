import { spawn } from 'node:child_process'
import path from 'node:path'
import { fileURLToPath } from 'node:url'
import { ListBucketsCommand } from '@aws-sdk/client-s3'
import { describe, expect, test } from 'vitest'
import { cliCommands } from '../../src/cli/commands.ts'
import { newBucket, s3Client } from '../support/s3.ts'
import { foreignVariables, sharedServer } from '../support/server.ts'

const server = sharedServer()
const main = fileURLToPath(new URL('../../src/main.ts', import.meta.url))

interface Ended {
  readonly code: number | null
  readonly out: string
  readonly error: string
}

/** Runs one command as an operator on the server's machine would: keys from the environment, or from the data folder. */
function holdfast(args: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<Ended> {
  const own = { HOLDFAST_DATA_DIR: server.dataDir, HOLDFAST_CONTROL_PORT: String(server.controlPort), HOLDFAST_ROOT_ACCESS_KEY: server.accessKeyId, HOLDFAST_ROOT_SECRET_KEY: server.secretAccessKey }
  const child = spawn(process.execPath, [main, ...args], { env: { ...foreignVariables(), ...own, ...env } })
  let [out, error] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => { out += chunk.toString() })
  child.stderr.on('data', (chunk: Buffer) => { error += chunk.toString() })
  return new Promise((resolve) => child.once('close', (code) => resolve({ code, out, error })))
}

async function json<T>(...args: readonly string[]): Promise<T> {
  const { code, out, error } = await holdfast([...args, '--json'])
  expect([args, code, error]).toEqual([args, 0, ''])
  return JSON.parse(out) as T
}

describe('a running server', () => {
  test('tells how it is, for people and for programs', async () => {
    expect(await json('status')).toMatchObject({ ready: true, reason: null, processes: { serving: expect.any(Number) } })
    const { code, out } = await holdfast(['status'])
    expect([code, out]).toEqual([0, expect.stringMatching(/^ready +yes$/m)])
    expect(out).not.toContain('\x1b')
  })

  test('lists its buckets with what is in them', async () => {
    const name = await newBucket(s3Client(server))
    expect(await json('buckets')).toContainEqual(expect.objectContaining({ name, objects: 0, bytes: 0 }))
    const { out } = await holdfast(['buckets'])
    expect(out.split('\n')[0]).toMatch(/^name +account id +versioning +objects +versions +bytes +created at$/)
    expect(out).toContain(name)
  })

  test('gives keys, takes them away, and changes them', async () => {
    const { id } = await json<{ id: string }>('accounts', 'create', '--name', 'by command')
    const key = await json<{ accessKeyId: string; secretAccessKey: string }>('keys', 'create', '--account', id)
    const next = await json<{ accessKeyId: string; secretAccessKey: string }>('keys', 'rotate', key.accessKeyId)
    const client = s3Client({ ...server, accessKeyId: next.accessKeyId, secretAccessKey: next.secretAccessKey })
    expect((await client.send(new ListBucketsCommand({}))).Buckets ?? []).toEqual([])
    expect(await json('keys', 'disable', next.accessKeyId)).toMatchObject({ enabled: false })
    await expect(client.send(new ListBucketsCommand({}))).rejects.toMatchObject({ name: 'InvalidAccessKeyId' })
    expect((await json<{ accessKeyId: string; enabled: boolean }[]>('keys', 'list', '--account', id)).map(({ enabled }) => enabled)).toEqual([false, false])
    const refused = await holdfast(['keys', 'disable', server.accessKeyId])
    expect([refused.code, refused.error]).toEqual([1, expect.stringContaining('come from the configuration')])
  })

  test('shows its configuration and its jobs, and changes its log level', async () => {
    const running = await json<{ variable: string; value: unknown }[]>('config', 'running')
    expect(running.find(({ variable }) => variable === 'HOLDFAST_ROOT_SECRET_KEY')?.value).toBe('***')
    expect((await json<{ name: string }[]>('jobs')).map(({ name }) => name)).toEqual(['sweeper', 'scrubber'])
    expect(await json('log-level', '--set', 'warn')).toEqual({ level: 'warn' })
    expect(await json('log-level', '--set', 'info')).toEqual({ level: 'info' })
    expect(await json('sweep')).toEqual({ started: true })
  })

  test('can be watched', async () => {
    const client = s3Client(server)
    let over = false
    const load = (async () => {
      while (!over) await client.send(new ListBucketsCommand({}))
    })()
    const { code, out } = await holdfast(['top', '--seconds', '1', '--count', '2', '--json'])
    const text = await holdfast(['top', '--seconds', '0.5', '--count', '1'])
    over = true
    await load
    const looks = out.trimEnd().split('\n').map((line) => JSON.parse(line) as { requestsPerSecond: number; operations: { operation: string; perSecond: number; meanMs: number }[] })
    expect([code, looks.length]).toEqual([0, 2])
    for (const { operations } of looks) expect(operations).toContainEqual(expect.objectContaining({ operation: 'ListBuckets', perSecond: expect.any(Number), meanMs: expect.any(Number) }))
    expect(text.out).toMatch(/requests\/s, \d+ in flight[\s\S]*operation +per second +mean ms +failed\n[\s\S]*^ListBuckets /m)
  })
})

describe('exit codes', () => {
  test('2 for what is not understood, with what would be', async () => {
    const wrong: readonly (readonly [readonly string[], string])[] = [
      [['keys'], 'keys needs one of: list, create, rotate, disable, enable'], [['keys', 'rotate'], 'keys rotate takes KEY'], [['keys', 'create'], 'keys create needs --account ID'],
      [['status', 'now'], 'status takes no arguments'], [['status', '--loud'], "Unknown option '--loud'"], [['top', '--seconds', '-1'], '--seconds'], [['completion', 'tcsh'], 'completion is for bash, zsh or fish'],
    ]
    for (const [args, message] of wrong) {
      const { code, error, out } = await holdfast(args)
      expect([args, code, error, out]).toEqual([args, 2, expect.stringContaining(message), ''])
    }
  })

  test('3 when nobody answers, 1 when the keys are wrong', async () => {
    const away = await holdfast(['status', '--control', 'http://127.0.0.1:1'])
    expect([away.code, away.error]).toEqual([3, expect.stringContaining('does not answer')])
    const wrong = await holdfast(['status'], { HOLDFAST_ROOT_SECRET_KEY: 'another-secret-of-some-length' })
    expect([wrong.code, wrong.error]).toEqual([1, expect.stringContaining('signature')])
    const none = await holdfast(['status'], { HOLDFAST_ROOT_ACCESS_KEY: '', HOLDFAST_ROOT_SECRET_KEY: '', HOLDFAST_DATA_DIR: path.join(server.dataDir, 'nowhere') })
    expect([none.code, none.error]).toEqual([1, expect.stringContaining('No root keys')])
  })

  test('of config check tell whether the server would take it', async () => {
    expect(await holdfast(['config', 'check'])).toMatchObject({ code: 0, out: 'The configuration is in order.\n' })
    expect(await holdfast(['config', 'check'], { HOLDFAST_PORT: 'x' })).toMatchObject({ code: 1, error: expect.stringContaining('HOLDFAST_PORT="x"') })
  })
})

test('config print shows this environment, without its secrets', async () => {
  const { out } = await holdfast(['config', 'print'], { HOLDFAST_DATABASE_URL: 'postgres://holdfast:hunter2hunter2@db.example/holdfast' })
  expect(out).toContain('postgres://holdfast:***@db.example/holdfast')
  expect(out).toMatch(/^HOLDFAST_ROOT_SECRET_KEY +\*\*\*/m)
  for (const secret of ['hunter2hunter2', server.secretAccessKey]) expect(out).not.toContain(secret)
})

test('help names every command, and completion is a script that the shell takes', async () => {
  const { code, out } = await holdfast(['help'])
  expect(code).toBe(0)
  for (const { words, options } of cliCommands) for (const text of [words, ...Object.keys(options)]) expect(out).toContain(text)
  const { out: script } = await holdfast(['completion', 'bash'])
  const complete = `${script}\nCOMP_WORDS=(holdfast keys r); COMP_CWORD=2; _holdfast; echo "$\{COMPREPLY[*]}"; COMP_WORDS=(holdfast st); COMP_CWORD=1; _holdfast; echo "$\{COMPREPLY[*]}"`
  const shell = spawn('bash', ['-c', complete])
  let shown = ''
  shell.stdout.on('data', (chunk: Buffer) => { shown += chunk.toString() })
  await new Promise((resolve) => shell.once('close', resolve))
  expect(shown).toBe('rotate\nstatus\n')
})
