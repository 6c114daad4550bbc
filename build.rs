//! Compiles `proto/herald/v1/*.proto` with protox, so that a build needs no `protoc`.
//!
//! Writes to `OUT_DIR`:
//! - `herald.v1.rs`: messages, server and client, and the names of all methods. The comments of the
//!   protos are removed, because rustdoc would read their angle brackets as HTML.
//! - `herald_descriptor.bin`: the descriptor set that gRPC reflection serves. It includes imports,
//!   and the comments, which `grpcurl describe` shows.

use std::error::Error;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

const ROOT: &str = "proto";
const PACKAGE: &str = "proto/herald/v1";

fn main() -> Result<(), Box<dyn Error>> {
    // The folder, not the files: adding a file must also trigger a rebuild.
    println!("cargo:rerun-if-changed={ROOT}");
    println!("cargo:rerun-if-changed=build.rs");

    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let mut compiler = protox::Compiler::new([ROOT])?;
    compiler
        .include_imports(true)
        .include_source_info(true)
        .open_files(proto_files(Path::new(PACKAGE))?)?;
    std::fs::write(out.join("herald_descriptor.bin"), compiler.encode_file_descriptor_set())?;
    let mut descriptors = compiler.file_descriptor_set();
    let mut methods = String::from(
        "/// Every method, as `package.Service/Method`.\npub const METHODS: &[&str] = &[\n",
    );
    for file in &mut descriptors.file {
        file.source_code_info = None;
        for service in &file.service {
            for method in &service.method {
                let (service, method) = (service.name(), method.name());
                writeln!(methods, "    \"{}.{service}/{method}\",", file.package())?;
            }
        }
    }
    methods.push_str("];\n");
    tonic_prost_build::configure()
        .out_dir(&out)
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    let mut generated = std::fs::OpenOptions::new().append(true).open(out.join("herald.v1.rs"))?;
    generated.write_all(methods.as_bytes())?;
    Ok(())
}

/// Every `.proto` file in the folder, sorted: the output must not depend on the file system's
/// order.
fn proto_files(folder: &Path) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "proto") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
