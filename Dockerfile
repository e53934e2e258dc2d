# Holdfast in a container: Node, the program and its production dependencies, an unprivileged user, one volume. Works with a read-only
# root file system and without any capability.
#
#   docker build -t holdfast .
#   docker run --init --read-only --cap-drop ALL -p 9000:9000 -v holdfast:/data holdfast
#
# The base brings Node 26 on a slim Debian (glibc: the embedded PostgreSQL needs it), for amd64 and arm64.
ARG BASE=docker.io/library/node:26.12.1-trixie-slim

FROM ${BASE} AS build
# For builds behind a mirror of npm's registry.
ARG NPM_CONFIG_REGISTRY
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN ["npm", "ci", "--omit=dev", "--ignore-scripts"]
COPY drizzle drizzle
COPY scripts scripts
COPY src src
RUN ["node", "scripts/prepare-image.mjs"]

FROM ${BASE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Holdfast" \
      org.opencontainers.image.description="S3-compatible self-hosted storage appliance" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.licenses="Apache-2.0"
# PostgreSQL's initdb looks up the name of its user. Whoever runs the image as another number needs an entry for it, or an external database.
RUN echo 'holdfast:x:10001:10001:Holdfast:/data:/usr/sbin/nologin' >> /etc/passwd && echo 'holdfast:x:10001:' >> /etc/group \
 && mkdir -m 0700 /data && chown 10001:10001 /data
COPY --from=build /app /app
ENV NODE_ENV=production \
    NODE_COMPILE_CACHE=/app/.compile-cache \
    UV_THREADPOOL_SIZE=16 \
    HOLDFAST_HOST=0.0.0.0 \
    HOLDFAST_DATA_DIR=/data
WORKDIR /data
USER 10001:10001
VOLUME ["/data"]
EXPOSE 9000 9001
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["node", "/app/scripts/healthcheck.mjs"]
# The server itself is process 1: it takes SIGTERM, stops PostgreSQL and ends with 0. It reaps its own children; --init reaps orphans,
# which there are only when somebody kills PostgreSQL's first process.
ENTRYPOINT ["node", "--max-semi-space-size=32", "--v8-pool-size=2", "/app/src/main.ts"]
