CREATE SEQUENCE "public"."version_sequence" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1;--> statement-breakpoint
CREATE TABLE "access_keys" (
	"access_key_id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"account_id" text NOT NULL,
	"user_name" text,
	"secret" "bytea" NOT NULL,
	"enabled" boolean DEFAULT true NOT NULL,
	"created_at" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "accounts" (
	"id" text PRIMARY KEY NOT NULL,
	"canonical_id" text NOT NULL,
	"display_name" text NOT NULL,
	"email" text NOT NULL,
	"is_root" boolean DEFAULT false NOT NULL,
	"created_at" bigint NOT NULL,
	CONSTRAINT "accounts_canonical_id_unique" UNIQUE("canonical_id")
);
--> statement-breakpoint
CREATE TABLE "blob_references" (
	"blob" "bytea" PRIMARY KEY NOT NULL,
	"count" integer NOT NULL
);
--> statement-breakpoint
CREATE TABLE "blob_relocations" (
	"blob" "bytea" PRIMARY KEY NOT NULL,
	"place" jsonb NOT NULL
);
--> statement-breakpoint
CREATE TABLE "bucket_settings" (
	"bucket_id" integer NOT NULL,
	"kind" text NOT NULL,
	"document" text NOT NULL,
	"compiled" jsonb,
	CONSTRAINT "bucket_settings_bucket_id_kind_pk" PRIMARY KEY("bucket_id","kind")
);
--> statement-breakpoint
CREATE TABLE "bucket_usage" (
	"bucket_id" integer NOT NULL,
	"shard" smallint NOT NULL,
	"objects" bigint NOT NULL,
	"versions" bigint NOT NULL,
	"bytes" bigint NOT NULL,
	CONSTRAINT "bucket_usage_bucket_id_shard_pk" PRIMARY KEY("bucket_id","shard")
);
--> statement-breakpoint
CREATE TABLE "buckets" (
	"id" integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "buckets_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 2147483647 START WITH 1 CACHE 1),
	"name" text COLLATE "C" NOT NULL,
	"account_id" text NOT NULL,
	"region" text NOT NULL,
	"versioning" text DEFAULT 'off' NOT NULL,
	"created_at" bigint NOT NULL,
	CONSTRAINT "buckets_name_unique" UNIQUE("name")
);
--> statement-breakpoint
CREATE TABLE "drives" (
	"id" integer PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "drives_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 2147483647 START WITH 1 CACHE 1),
	"uuid" text NOT NULL,
	"created_at" bigint NOT NULL,
	CONSTRAINT "drives_uuid_unique" UNIQUE("uuid")
);
--> statement-breakpoint
CREATE TABLE "noncurrent_versions" (
	"bucket_id" integer NOT NULL,
	"key" text COLLATE "C" NOT NULL,
	"seq" bigint NOT NULL,
	"nonce" bigint NOT NULL,
	"is_null" boolean NOT NULL,
	"delete_marker" boolean NOT NULL,
	"size" bigint NOT NULL,
	"etag" text NOT NULL,
	"last_modified" bigint NOT NULL,
	"owner_account_id" text NOT NULL,
	"metadata" jsonb,
	"tags" jsonb,
	"checksum_algorithm" text,
	"checksum_type" text,
	"checksum_value" text,
	"parts" jsonb,
	"manifest" "bytea",
	"chain" "bytea",
	"noncurrent_seq" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "objects" (
	"bucket_id" integer NOT NULL,
	"key" text COLLATE "C" NOT NULL,
	"seq" bigint NOT NULL,
	"nonce" bigint NOT NULL,
	"is_null" boolean NOT NULL,
	"delete_marker" boolean NOT NULL,
	"size" bigint NOT NULL,
	"etag" text NOT NULL,
	"last_modified" bigint NOT NULL,
	"owner_account_id" text NOT NULL,
	"metadata" jsonb,
	"tags" jsonb,
	"checksum_algorithm" text,
	"checksum_type" text,
	"checksum_value" text,
	"parts" jsonb,
	"manifest" "bytea",
	"chain" "bytea",
	CONSTRAINT "objects_bucket_id_key_pk" PRIMARY KEY("bucket_id","key")
);
--> statement-breakpoint
CREATE TABLE "parts" (
	"upload_id" text COLLATE "C" NOT NULL,
	"part_number" integer NOT NULL,
	"size" bigint NOT NULL,
	"etag" text NOT NULL,
	"checksum_algorithm" text,
	"checksum_type" text,
	"checksum_value" text,
	"last_modified" bigint NOT NULL,
	"manifest" "bytea" NOT NULL,
	CONSTRAINT "parts_upload_id_part_number_pk" PRIMARY KEY("upload_id","part_number")
);
--> statement-breakpoint
CREATE TABLE "released_blobs" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY (sequence name "released_blobs_id_seq" INCREMENT BY 1 MINVALUE 1 MAXVALUE 9223372036854775807 START WITH 1 CACHE 1),
	"blob" "bytea" NOT NULL,
	"length" bigint NOT NULL,
	"place" jsonb NOT NULL,
	"released_at" bigint NOT NULL,
	"dead" boolean DEFAULT false NOT NULL
);
--> statement-breakpoint
CREATE TABLE "uploads" (
	"upload_id" text COLLATE "C" PRIMARY KEY NOT NULL,
	"bucket_id" integer NOT NULL,
	"key" text COLLATE "C" NOT NULL,
	"state" text NOT NULL,
	"initiated_at" bigint NOT NULL,
	"initiator_id" text NOT NULL,
	"initiator_name" text NOT NULL,
	"owner_account_id" text NOT NULL,
	"metadata" jsonb,
	"tags" jsonb,
	"checksum_algorithm" text,
	"checksum_type" text,
	"request_hash" text,
	"result" jsonb,
	"completed_at" bigint
);
--> statement-breakpoint
CREATE TABLE "users" (
	"account_id" text NOT NULL,
	"name" text NOT NULL,
	"path" text NOT NULL,
	"policies" jsonb NOT NULL,
	"created_at" bigint NOT NULL,
	CONSTRAINT "users_account_id_name_pk" PRIMARY KEY("account_id","name")
);
--> statement-breakpoint
ALTER TABLE "access_keys" ADD CONSTRAINT "access_keys_account_id_accounts_id_fk" FOREIGN KEY ("account_id") REFERENCES "public"."accounts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "bucket_settings" ADD CONSTRAINT "bucket_settings_bucket_id_buckets_id_fk" FOREIGN KEY ("bucket_id") REFERENCES "public"."buckets"("id") ON DELETE cascade ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "buckets" ADD CONSTRAINT "buckets_account_id_accounts_id_fk" FOREIGN KEY ("account_id") REFERENCES "public"."accounts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
ALTER TABLE "users" ADD CONSTRAINT "users_account_id_accounts_id_fk" FOREIGN KEY ("account_id") REFERENCES "public"."accounts"("id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "buckets_by_account" ON "buckets" USING btree ("account_id","name");--> statement-breakpoint
CREATE UNIQUE INDEX "noncurrent_versions_newest_first" ON "noncurrent_versions" USING btree ("bucket_id","key","seq" DESC NULLS LAST);--> statement-breakpoint
CREATE UNIQUE INDEX "noncurrent_versions_null" ON "noncurrent_versions" USING btree ("bucket_id","key") WHERE is_null;--> statement-breakpoint
CREATE INDEX "objects_listed" ON "objects" USING btree ("bucket_id","key") WHERE NOT delete_marker;--> statement-breakpoint
CREATE INDEX "released_blobs_blob" ON "released_blobs" USING btree ("blob");--> statement-breakpoint
CREATE INDEX "uploads_open" ON "uploads" USING btree ("bucket_id","key","upload_id") WHERE state = 'open';--> statement-breakpoint
CREATE INDEX "uploads_completed" ON "uploads" USING btree ("completed_at") WHERE state = 'completed';