import { expect, test } from 'vitest'
import { paced } from '../../src/domain/paced.ts'

/** Pieces of these weights, all asked for at once; which of them went on in each turn of the event loop, by number. */
async function turnsOf(weights: readonly number[], ask: (weight: number) => Promise<void>): Promise<number[][]> {
  const turns: number[][] = [[]]
  let counting = setImmediate(function count() {
    turns.push([])
    counting = setImmediate(count)
  })
  await Promise.all(weights.map((weight, index) => ask(weight).then(() => turns.at(-1)?.push(index))))
  clearImmediate(counting)
  return turns.filter((turn) => turn.length > 0)
}

test('a turn takes pieces in their order until they weigh enough', async () => {
  expect(await turnsOf([4, 4, 4, 4, 1, 1, 1, 1], paced(8))).toEqual([[0, 1], [2, 3], [4, 5, 6, 7]])
})

test('a piece that is heavier than a turn goes on all the same', async () => {
  expect(await turnsOf([20, 20, 1], paced(8))).toEqual([[0], [1], [2]])
})

test('pieces that weigh nothing go on together', async () => {
  expect(await turnsOf([0, 0, 8, 0], paced(8))).toEqual([[0, 1, 2], [3]])
})

test('it goes on after it has stood still', async () => {
  const ask = paced(8)
  for (let round = 0; round < 3; round++) expect(await turnsOf([8, 8], ask)).toEqual([[0], [1]])
})

test('what follows upon a piece is done before the next begins', async () => {
  const ask = paced(8)
  const order: string[] = []
  await Promise.all([0, 1, 2].map(async (index) => {
    await ask(1)
    order.push(`begin ${index}`)
    for (let step = 0; step < 30; step++) await Promise.resolve()
    order.push(`end ${index}`)
  }))
  expect(order).toEqual(['begin 0', 'end 0', 'begin 1', 'end 1', 'begin 2', 'end 2'])
})
