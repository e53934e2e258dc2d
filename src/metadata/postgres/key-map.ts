/**
 * Values by bucket and key. It is the key's own string that is looked up: one made of both names would be new each time, and V8 looks for
 * a new string in its table of all strings before it looks into a Map.
 */
export class KeyMap<Value> {
  readonly #buckets = new Map<number, Map<string, Value>>()

  get(bucketId: number, key: string): Value | undefined {
    return this.#buckets.get(bucketId)?.get(key)
  }

  set(bucketId: number, key: string, value: Value): void {
    const known = this.#buckets.get(bucketId)
    if (known === undefined) this.#buckets.set(bucketId, new Map([[key, value]]))
    else known.set(key, value)
  }

  delete(bucketId: number, key: string): void {
    const known = this.#buckets.get(bucketId)
    known?.delete(key)
    if (known?.size === 0) this.#buckets.delete(bucketId)
  }

  clear(): void {
    this.#buckets.clear()
  }

  /** In the order of the buckets, and of the keys in each, in which they came. */
  values(): Value[] {
    const values: Value[] = []
    for (const keys of this.#buckets.values()) values.push(...keys.values())
    return values
  }
}
