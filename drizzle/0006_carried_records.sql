-- Rows come and go within a second. None is larger than a page, so that none is cut up or compressed.
CREATE TABLE "carried_records" (
	"segment" text NOT NULL,
	"at" bigint NOT NULL,
	"seq" bigint NOT NULL,
	"record" "bytea" NOT NULL,
	CONSTRAINT "carried_records_segment_at_pk" PRIMARY KEY("segment","at")
) WITH (toast_tuple_target = 8160, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000, vacuum_truncate = off);
