//! Writes `proto/src/generated` from the `.proto` files: Rust code, and the descriptor set that
//! reflection serves. Run it after changing a `.proto` file: `cargo run -p asof-proto-gen`.

use std::path::{Path, PathBuf};

use anyhow::Context;
use prost::Message;

/// The files, in the order in which they are compiled, below the folder `proto`.
const PROTOS: [&str; 5] = [
    "asof/v1/values.proto",
    "asof/v1/online.proto",
    "asof/v1/registry.proto",
    "asof/v1/job.proto",
    "asof/v1/ingest.proto",
];

/// The name of the descriptor set.
const DESCRIPTORS: &str = "asof.v1.bin";

fn main() -> anyhow::Result<()> {
    generate(&generated())
}

/// The folder `proto`, as cargo tells when it runs this: the crate may have been built at another path.
fn root() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(
        || PathBuf::from("proto"),
        |manifest| Path::new(&manifest).join(".."),
    )
}

/// Where the generated files are kept.
fn generated() -> PathBuf {
    root().join("src/generated")
}

/// Writes everything that is generated into `out`, which exists.
fn generate(out: &Path) -> anyhow::Result<()> {
    let root = root();
    let mut descriptors = protox::compile(PROTOS.map(|file| root.join(file)), [&root])
        .context("cannot compile the .proto files")?;
    tonic_prost_build::configure()
        .out_dir(out)
        .emit_rerun_if_changed(false)
        // Written by hand, as buffers instead of lists of numbers.
        .extern_path(
            ".asof.v1.GetFeaturesResponse",
            "crate::response::GetFeaturesResponse",
        )
        .compile_fds(descriptors.clone())
        .context("cannot generate code")?;
    // Comments and positions were needed for the code's documentation only.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    let path = out.join(DESCRIPTORS);
    std::fs::write(&path, descriptors.encode_to_vec())
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
        std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .map(|path| {
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                (name, std::fs::read(path).unwrap())
            })
            .collect()
    }

    #[test]
    fn the_generated_files_are_up_to_date() {
        let out = tempfile::tempdir().unwrap();
        generate(out.path()).unwrap();
        let (fresh, kept) = (contents(out.path()), contents(&generated()));
        assert_eq!(fresh.keys().collect::<Vec<_>>(), kept.keys().collect::<Vec<_>>());
        for (name, bytes) in &fresh {
            assert!(
                kept[name] == *bytes,
                "{name} is out of date: run: cargo run -p asof-proto-gen"
            );
        }
    }
}
