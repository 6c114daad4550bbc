# The image that everything is built in, and the only one, by its digest: a tag can be moved.
# CONTRIBUTING.md describes how to change it. BuildKit's own frontend is used (no `# syntax`), which
# would be one more image.
ARG RUST_IMAGE=rust:1.95-bookworm@sha256:6258907abe69656e41cd992e0b705cdcfabcbbe3db374f92ed2d47121282d4a1

# Build: the Rust version of Cargo.toml. The runtime image is put together here, below /runtime: the
# binary, the shared libraries it names, CA certificates, an owned folder for data. The binary carries
# the list of its crates (`cargo auditable`), which scanners read, and from which the SBOM is made.
FROM ${RUST_IMAGE} AS build
WORKDIR /build
RUN cargo install --locked cargo-auditable@0.7.7 auditable2cdx@0.1.0
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo auditable build --release --locked --bin herald \
    && install -D target/release/herald /runtime/usr/local/bin/herald
RUN auditable2cdx /runtime/usr/local/bin/herald >/build/sbom.cdx.json \
    && install -D -m 644 /build/sbom.cdx.json -t /runtime/usr/share/doc/herald/
RUN ldd /runtime/usr/local/bin/herald | grep -o '/[^ ]*' | sort -u | xargs cp --parents -L -t /runtime \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt -t /runtime/etc/ssl/certs/ \
    && install -D -m 644 LICENSE-MIT LICENSE-APACHE -t /runtime/usr/share/doc/herald/ \
    && install -d -o 65532 -g 65532 /runtime/var/lib/herald

# Run: nothing else. No shell, no package manager.
FROM scratch
COPY --from=build /runtime/ /
# SQLite's folder `herald-data` is made below it; a volume mounted here takes its owner over.
WORKDIR /var/lib/herald
# By number: Kubernetes cannot see that a name is not root.
USER 65532:65532
# gRPC, gRPC health in plaintext, HTTP. All bind to loopback unless configured otherwise.
EXPOSE 50051 50052 8080
# Docker's own health check would need a shell or a client; orchestrators ask gRPC health.
HEALTHCHECK NONE
ENTRYPOINT ["/usr/local/bin/herald"]
CMD ["serve"]
