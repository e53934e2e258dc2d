import type pg from 'pg'

/**
 * Ends connections to a server that owes an answer and says nothing. `pg` has a time limit for each query, which makes a timer and a
 * closure of each; these keep what the query refers to from being collected while it is young.
 */

interface Debt {
  /** Questions that are not answered yet. */
  open: number
  /** Answers so far. */
  answers: number
}

const debts = new WeakMap<pg.Client, Debt>()

function debtOf(client: pg.Client): Debt {
  const known = debts.get(client)
  if (known !== undefined) return known
  const debt: Debt = { open: 0, answers: 0 }
  debts.set(client, debt)
  return debt
}

/** To be called with each question, */
export function asked(client: pg.Client): void {
  debtOf(client).open += 1
}

/** and with its answer, an error included. */
export function answered(client: pg.Client): void {
  const debt = debtOf(client)
  debt.open = Math.max(0, debt.open - 1)
  debt.answers += 1
}

/** So often in `silentMs` it is looked whether an answer has come. */
const looks = 10

/** Destroys the connection, and so fails what is asked over it, when for `silentMs` no answer has come to a question. Ends with the connection. */
export function watchSilence(client: pg.Client, silentMs: number): void {
  const debt = debtOf(client)
  let seen = 0
  let silent = 0
  const timer = setInterval(() => {
    const { stream } = client.connection
    if (stream.destroyed) return clearInterval(timer)
    silent = debt.open > 0 && debt.answers === seen ? silent + 1 : 0
    seen = debt.answers
    // In the words of `pg`, by which the loss of a connection is known.
    if (silent >= looks) stream.destroy(new Error(`Connection terminated: the server has not answered for ${silentMs / 1000} s`))
  }, silentMs / looks).unref()
}
