-- Room on each page lets a replaced row stay on it, so that the indexes need not change.
ALTER TABLE objects SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);--> statement-breakpoint
-- Manifests are a few dozen bytes or already dense: trying to compress them wastes time.
ALTER TABLE objects ALTER COLUMN manifest SET STORAGE EXTERNAL;--> statement-breakpoint
ALTER TABLE noncurrent_versions ALTER COLUMN manifest SET STORAGE EXTERNAL;--> statement-breakpoint
-- Few rows which change with every group of writes: clean up by count, not by share.
ALTER TABLE bucket_usage SET (fillfactor = 30, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 2000);--> statement-breakpoint
-- Queues: everything that comes in goes out again.
ALTER TABLE released_blobs SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 2000);--> statement-breakpoint
ALTER TABLE uploads SET (fillfactor = 90, autovacuum_vacuum_scale_factor = 0.05);--> statement-breakpoint
ALTER TABLE parts SET (autovacuum_vacuum_scale_factor = 0.05);--> statement-breakpoint
ALTER TABLE blob_references SET (fillfactor = 80);
