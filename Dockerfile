# syntax=docker/dockerfile:1

# Build: the Rust version of Cargo.toml, on the Debian release whose glibc the runtime image has.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin herald \
    && cp target/release/herald /usr/local/bin/herald \
    && mkdir /data

# Run: glibc, libgcc and CA certificates; no shell, no package manager.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /usr/local/bin/herald /usr/local/bin/herald
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/herald/
# Where SQLite's folder `herald-data` is made; a volume mounted here takes its owner over.
COPY --from=build --chown=65532:65532 /data /var/lib/herald
WORKDIR /var/lib/herald
# By number: Kubernetes cannot see that a name is not root.
USER 65532:65532
# gRPC, gRPC health in plaintext, HTTP. All bind to loopback unless configured otherwise.
EXPOSE 50051 50052 8080
# Docker's own health check would need a shell or a client; orchestrators ask gRPC health.
HEALTHCHECK NONE
ENTRYPOINT ["/usr/local/bin/herald"]
CMD ["serve"]
