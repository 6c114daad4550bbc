# syntax=docker/dockerfile:1

# Build: the Rust version of Cargo.toml, on the Debian release whose glibc the runtime image has.
FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
RUN cargo build --release --locked --bin herald

# Run: glibc, libgcc and CA certificates; no shell, no package manager, user 65532.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /build/target/release/herald /usr/local/bin/herald
COPY LICENSE-MIT LICENSE-APACHE /usr/share/doc/herald/
# gRPC, gRPC health in plaintext, HTTP. All bind to loopback unless configured otherwise.
EXPOSE 50051 50052 8080
ENTRYPOINT ["/usr/local/bin/herald"]
CMD ["serve"]
