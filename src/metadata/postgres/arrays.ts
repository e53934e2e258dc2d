/**
 * Array literals of PostgreSQL's text format. `pg` can make them too, but looks at the type of every element; a group of writes
 * holds thousands of elements whose types are known.
 */

export const numberArray = (values: readonly (number | string)[]): string => `{${values.join(',')}}`
export const booleanArray = (values: readonly boolean[]): string => `{${values.map((value) => (value ? 't' : 'f')).join(',')}}`

/** Bytes in PostgreSQL's text form, `\x` and hex digits: only the backslash has to be escaped, which a look at each character would cost more than. */
export const bytesArray = (values: readonly (string | null)[]): string => `{${values.map((value) => (value === null ? 'NULL' : `\\${value}`)).join(',')}}`
/** Bytes as hex digits alone. */
export const hexArray = (values: readonly string[]): string => `{${values.map((value) => `\\\\x${value}`).join(',')}}`

/** Text and JSON. */
export function textArray(values: readonly (string | null)[]): string {
  let literal = '{'
  for (const value of values) {
    if (literal.length > 1) literal += ','
    literal += value === null ? 'NULL' : quoted(value)
  }
  return `${literal}}`
}

const special = /["\\]/
const quoted = (value: string): string => special.test(value) ? `"${value.replace(/["\\]/g, '\\$&')}"` : `"${value}"`
