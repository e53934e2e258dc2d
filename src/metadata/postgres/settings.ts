import { diskReserveBytes } from '../../domain/limits.ts'

/** Two files of 16 MB are the least that PostgreSQL takes. */
const walMegabytes = (diskBytes: number): number => Math.min(1024, Math.max(32, Math.floor(diskReserveBytes(diskBytes) / 2 / 1024 ** 2)))

/**
 * The embedded PostgreSQL's settings, written at each start; an operator's ALTER SYSTEM wins over them.
 * Sized for one small machine: all processes together stay below 150 MB when idle.
 */
export const embeddedSettings = (connectionsMax: number, diskBytes: number): string => `# Written by Holdfast at each start. Use ALTER SYSTEM to change a setting.
# Durability: an answered request survives the loss of power.
fsync = on
synchronous_commit = on
full_page_writes = on
# The first change of a page after a checkpoint logs the whole page. Among ten million keys in random order that is a page for
# each new one: to compress it takes 45 us of CPU and saves 5.7 KB of log.
wal_compression = off
# Nobody replicates from this cluster, so the log carries only what recovery needs.
wal_level = minimal
max_wal_senders = 0
# The log stays within half of what clients may not fill of the disk (diskReserveBytes): on a full one deletes must go on.
max_wal_size = ${walMegabytes(diskBytes)}MB
min_wal_size = ${Math.min(160, walMegabytes(diskBytes))}MB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
# Memory.
shared_buffers = 64MB
huge_pages = off
work_mem = 4MB
maintenance_work_mem = 32MB
max_connections = ${connectionsMax}
# A group of writes takes one advisory lock for each of its keys, 256 of them or, in a server that is alone, 1,000. The table is filled in
# at the start, 7 MB for 1024.
max_locks_per_transaction = 256
max_prepared_transactions = 0
# Reads by the process that asks: the worker processes cost memory and help nothing on point look-ups.
io_method = sync
max_parallel_workers_per_gather = 0
max_worker_processes = 2
max_logical_replication_workers = 0
jit = off
random_page_cost = 1.1
# Rows are replaced and deleted all the time: clean up early and in small steps.
autovacuum_max_workers = 2
autovacuum_naptime = 20s
autovacuum_vacuum_scale_factor = 0.05
autovacuum_vacuum_insert_scale_factor = 0.1
autovacuum_analyze_scale_factor = 0.05
autovacuum_vacuum_cost_limit = 1000
# Object keys are the customers' data and stay out of the log.
log_min_messages = warning
log_min_error_statement = panic
log_checkpoints = off
log_line_prefix = '%m [%p] '
timezone = 'UTC'
log_timezone = 'UTC'
lc_messages = 'C'
`
