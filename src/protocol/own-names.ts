/**
 * Names as the program's own strings. A Map looks a string up by its one copy in V8's table of strings, and has to find that first for
 * each string that was cut out of a request: that costs more than the rest of the look-up. So the usual names are told apart once.
 */
export function createOwnNames(names: readonly string[], spelling: (name: string) => string = (name) => name): (given: string) => string | undefined {
  const byLength: (readonly [given: string, own: string])[][] = []
  for (const name of names) {
    const alike = byLength[name.length] ??= []
    for (const given of new Set([spelling(name), name])) alike.push([given, name])
  }
  return (given) => {
    const alike = byLength[given.length]
    if (alike === undefined) return undefined
    for (const pair of alike) if (pair[0] === given) return pair[1]
    return undefined
  }
}
