/**
 * Rows by their keys, for lists of keys. A join would leave it to the planner which side it takes first, and it takes the table
 * when the statistics call it empty: a plan that is kept then reads all of a table that has grown since, for each list.
 * A look-up is made for each element of the list instead, whatever the statistics say; LIMIT is what keeps it one.
 */

/** The FROM item `alias`: the one row of `table` that `condition` names, by the columns of the item before it. */
export const lookUp = (table: string, alias: string, condition: string): string => `LATERAL (SELECT ${table}.* FROM ${table} WHERE ${condition} LIMIT 1) ${alias}`

/** The condition of a DELETE from `table`: the rows that `condition` names, one for each row of `list`. */
export const lookedUp = (table: string, list: string, condition: string): string =>
  `${table}.ctid = ANY (ARRAY(SELECT found.ctid FROM ${list}, LATERAL (SELECT v.ctid FROM ${table} v WHERE ${condition} LIMIT 1) found))`

/** The condition for a row of `table` to be that of the key of a `keyList`. */
export const ofKey = (table: string): string => `${table}.bucket_id = k.bucket_id AND ${table}.key = k.key`
/** Keys from parallel arrays, the first two parameters. */
export const keyList = 'unnest($1::integer[], $2::text[]) AS k (bucket_id, key)'
