CREATE TABLE "replicas" (
	"token" text PRIMARY KEY NOT NULL,
	"seen_at" bigint NOT NULL,
	"left_at" bigint,
	"answered" text,
	"holdings" jsonb
);
