import path from 'node:path'
import { parseArgs } from 'node:util'
import type { BigOptions } from './bench.ts'
import { bigScenarios } from './index.ts'

const usage = `node perf/big/run.ts NAME... [options]

  NAME                 of ${bigScenarios.map(({ name }) => name).join(', ')}
  --objects N          the largest number of objects (growth: 10000000, start: 1000000)
  --seconds N          how long a load runs where the time is the point
  --keep DIR           growth: the data folder, kept and used again by the next run
  --fill               growth: only fills that folder
  --uploaders N        connections: how many upload at once (10000)
  --uploads N          memory: large uploads at once (200)
  --upload-bytes N     memory: bytes of each (100000000)
  --dir PATH           make data folders below this one
`

async function main(argv: readonly string[]): Promise<void> {
  const { values, positionals } = parseArgs({
    args: [...argv], allowPositionals: true,
    options: {
      objects: { type: 'string' }, seconds: { type: 'string' }, keep: { type: 'string' }, uploaders: { type: 'string' },
      uploads: { type: 'string' }, 'upload-bytes': { type: 'string' }, dir: { type: 'string' }, fill: { type: 'boolean', default: false }, help: { type: 'boolean', default: false },
    },
  })
  if (values.help || positionals.length === 0) return void process.stdout.write(usage)
  const numbers = { largest: values.objects, loadSeconds: values.seconds, uploaders: values.uploaders, uploads: values.uploads, uploadBytes: values['upload-bytes'] }
  const options: BigOptions = {
    dir: values.dir ?? null, fillOnly: values.fill,
    ...values.keep === undefined ? {} : { reuse: path.resolve(values.keep) },
    ...Object.fromEntries(Object.entries(numbers).filter(([, text]) => text !== undefined).map(([name, text]) => [name, positive(name, text ?? '')])),
  }
  for (const name of positionals) {
    const scenario = bigScenarios.find((known) => known.name === name)
    if (scenario === undefined) throw new Error(`${name} is none of ${bigScenarios.map((known) => known.name).join(', ')}`)
    await scenario.run(options)
  }
}

function positive(name: string, text: string): number {
  const value = Number(text)
  if (!(value > 0)) throw new Error(`${name}: ${text} is not a number above 0`)
  return value
}

await main(process.argv.slice(2))
