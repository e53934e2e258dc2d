/**
 * Steps between which a test lets the process die. A server has none: the constant below is read once, when this module is loaded, and
 * is null unless a program that was loaded before it (`node --import`, as test/faults/failpoints does) has left a function for it. Nothing
 * that a server can be configured with or sent reaches it, whoever can make Node load a program can do everything anyway, and
 * `failpoint?.(...)` on a constant that is null costs no call and evaluates no argument.
 */
export type Failpoint = (step: string, of?: string) => void

export const failpoint: Failpoint | null = (globalThis as { readonly holdfastFailpoint?: Failpoint }).holdfastFailpoint ?? null
