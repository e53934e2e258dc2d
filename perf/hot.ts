import { readFileSync } from 'node:fs'

interface Profile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
    readonly children?: readonly number[]
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
}

const rows = 45

/** `node perf/hot.ts FILE.cpuprofile`: the functions that a CPU profile spent its time in, themselves and with what they call. */
function main(file: string): void {
  const profile = JSON.parse(readFileSync(file, 'utf8')) as Profile
  const selfById = new Map<number, number>()
  profile.samples.forEach((id, index) => selfById.set(id, (selfById.get(id) ?? 0) + (profile.timeDeltas[index] ?? 0)))
  const nodes = new Map(profile.nodes.map((node) => [node.id, node]))
  const own = new Map<string, number>()
  const whole = new Map<string, number>()
  const nameOf = (id: number): string => {
    const frame = nodes.get(id)?.callFrame
    return frame === undefined ? '?' : `${frame.functionName || '(anonymous)'} ${frame.url.replace(/^.*\/(?=(src|node_modules)\/)/, '')}:${frame.lineNumber + 1}`
  }
  // A function that calls itself counts once: `above` holds what is on the stack already.
  const visit = (id: number, above: ReadonlySet<string>): number => {
    const name = nameOf(id)
    const self = selfById.get(id) ?? 0
    const inside = new Set(above).add(name)
    const total = (nodes.get(id)?.children ?? []).reduce((sum, child) => sum + visit(child, inside), self)
    own.set(name, (own.get(name) ?? 0) + self)
    if (!above.has(name)) whole.set(name, (whole.get(name) ?? 0) + total)
    return total
  }
  const total = visit(profile.nodes[0]?.id ?? 1, new Set())
  const busy = total - [...own].filter(([name]) => /^\((idle|program)\)/.test(name)).reduce((sum, [, time]) => sum + time, 0)
  console.log(`${(total / 1e6).toFixed(2)} s, of them busy ${(busy / 1e6).toFixed(2)} s; shares are of the busy time`)
  for (const [title, times] of [['itself', own], ['with what it calls', whole]] as const) {
    console.log(`\n${title}`)
    for (const [name, time] of [...times].filter(([name]) => !/^\((idle|root)\)/.test(name)).sort((a, b) => b[1] - a[1]).slice(0, rows)) console.log(`${((time / busy) * 100).toFixed(1).padStart(6)} %  ${name}`)
  }
}

main(process.argv[2] ?? '')
