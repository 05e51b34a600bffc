# The same image as `cargo xtask images` writes, for people with a Docker engine: docker build -t rmq:0.1.0 .
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends protobuf-compiler libprotobuf-dev && rm -rf /var/lib/apt/lists/*
COPY . .
RUN cargo build --release -p rmq-broker -p rmq-namesrv -p rmq-operator -p rmq-ctl \
 && mkdir -p /out/usr/bin /out/etc/ssl/certs /out/tmp /out/data \
 && cp target/release/rmq-broker target/release/rmq-namesrv target/release/rmq-operator target/release/rmq-ctl /out/usr/bin/ \
 && cargo run --release -p xtask -- sbom --to /out/usr/share/sbom \
 && ldd /out/usr/bin/* | grep -o '/[^ ]*\.so[^ ]*' | sort -u | xargs -I{} cp --parents -L {} /out \
 && printf 'root:x:0:0:root:/:/\nrmq:x:10001:10001:rmq:/data:/\n' > /out/etc/passwd \
 && printf 'root:x:0:\nrmq:x:10001:\n' > /out/etc/group \
 && printf 'passwd: files\ngroup: files\nhosts: files dns\n' > /out/etc/nsswitch.conf \
 && cp /etc/ssl/certs/ca-certificates.crt /out/etc/ssl/certs/ \
 && chmod 1777 /out/tmp

FROM scratch
COPY --from=build /out/ /
COPY --from=build --chown=10001:10001 /out/data /data
USER 10001:10001
ENV PATH=/usr/bin:/ MALLOC_MMAP_THRESHOLD_=1048576
LABEL org.opencontainers.image.title=rmq org.opencontainers.image.version=0.1.0 org.opencontainers.image.licenses=Apache-2.0
