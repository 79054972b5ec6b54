# syntax=docker/dockerfile:1
# Lockkeeper with git, tini and one tool. Build it with the tool you use:
#
#   docker build -t lockkeeper \
#     --build-arg TOOL=tofu \
#     --build-arg TOOL_URL=https://github.com/opentofu/opentofu/releases/download/v1.12.6/tofu_1.12.6_linux_amd64.zip \
#     --build-arg TOOL_SHA256=<the archive's line in that release's SHA256SUMS> .
#
# or copy it from an image that has it:
#
#   docker build -t lockkeeper --target from-image --build-arg TOOL=terraform \
#     --build-arg TOOL_IMAGE=hashicorp/terraform:1.11.4 --build-arg TOOL_PATH=/bin/terraform .

ARG RUST_VERSION=1.95
ARG DEBIAN=bookworm
# Only `--target from-image` reads it; a global argument is the only kind that FROM can use.
ARG TOOL_IMAGE=scratch

FROM rust:${RUST_VERSION}-slim-${DEBIAN} AS build
# aws-lc and SQLite are compiled from C.
RUN apt-get update \
 && apt-get install -y --no-install-recommends cmake g++ make \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY policies policies
COPY app-manifest app-manifest
# The manifest names the test and bench targets, so their files must exist; none of them is built.
COPY tests tests
COPY benches benches
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin lockkeeper \
 && install -D -m 0755 target/release/lockkeeper /out/lockkeeper

FROM debian:${DEBIAN}-slim AS download
ARG TOOL=terraform
ARG TOOL_URL
ARG TOOL_SHA256
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl unzip \
 && rm -rf /var/lib/apt/lists/*
# A download that nobody vouches for is not installed: it will hold your cloud's credentials.
RUN test -n "$TOOL_URL" && test -n "$TOOL_SHA256" || { \
      echo "give TOOL_URL and TOOL_SHA256 (see the top of the Dockerfile)" >&2; exit 1; }
RUN curl --fail --silent --show-error --location --proto '=https' --output /tmp/tool.zip "$TOOL_URL" \
 && echo "$TOOL_SHA256  /tmp/tool.zip" | sha256sum --check --strict - \
 && unzip -q /tmp/tool.zip "$TOOL" -d /tmp \
 && install -D -m 0755 "/tmp/$TOOL" "/out/$TOOL"

FROM ${TOOL_IMAGE} AS tool-image

FROM debian:${DEBIAN}-slim AS runtime
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates git tini \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --gid 10001 lockkeeper \
 && useradd --uid 10001 --gid 10001 --home-dir /var/lib/lockkeeper --no-create-home --shell /usr/sbin/nologin lockkeeper \
 && install -d -m 0700 -o 10001 -g 10001 /var/lib/lockkeeper
COPY --from=build /out/lockkeeper /usr/local/bin/lockkeeper
# In a container only loopback would be unreachable; who can reach it is the port mapping's to say.
ENV LOCKKEEPER_LISTEN=0.0.0.0:8080 \
    LOCKKEEPER_METRICS_LISTEN=0.0.0.0:9090 \
    LOCKKEEPER_DATA_DIR=/var/lib/lockkeeper
USER 10001:10001
VOLUME /var/lib/lockkeeper
EXPOSE 8080 9090
# A stop waits for applies (LOCKKEEPER_DRAIN): give `docker stop --time` more than that.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=6s --start-period=20s CMD ["lockkeeper", "health"]
# tini reaps what supervisors leave behind. Not `-g`: a signal for the server must not reach a running apply.
ENTRYPOINT ["/usr/bin/tini", "--", "lockkeeper"]
CMD ["serve"]

FROM runtime AS from-image
ARG TOOL=terraform
ARG TOOL_PATH=/bin/terraform
COPY --from=tool-image ${TOOL_PATH} /usr/local/bin/${TOOL}

# The default: the tool from TOOL_URL.
FROM runtime AS from-url
ARG TOOL=terraform
COPY --from=download /out/${TOOL} /usr/local/bin/${TOOL}
