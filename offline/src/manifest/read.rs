//! Reading manifests back.

use std::io::Read;
use std::path::Path;

use serde::Deserialize;

use super::{FORMAT, Manifest, path_of};
use crate::error::{OfflineError, Result, first_line};

/// What every format of a manifest has.
#[derive(Deserialize)]
struct Head {
    content: Format,
}

#[derive(Deserialize)]
struct Format {
    format: u32,
}

impl Manifest {
    /// Reads the manifest that an extract wrote to `path`.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = path.display();
        let text = text(path)?;
        let head: Head = serde_json::from_slice(&text).map_err(|_| no_manifest(path))?;
        let format = head.content.format;
        if format != FORMAT {
            let what = match format > FORMAT {
                true => "use the newer asof that wrote it",
                false => "make the dataset again with `asof extract`, or use the older asof that wrote it",
            };
            return Err(OfflineError::Data(format!(
                "manifest {shown} has format {format}, this version reads format {FORMAT}: {what}"
            )));
        }
        let manifest: Self = serde_json::from_slice(&text).map_err(|error| {
            let reason = first_line(&error.to_string());
            OfflineError::Data(format!("manifest {shown} is damaged: {reason}"))
        })?;
        if manifest.content.digest()? != manifest.digest {
            return Err(OfflineError::Data(format!(
                "manifest {shown} was changed after it was written: its content does not have the digest that it \
                 names; take it from a copy, or make the dataset again with `asof extract`"
            )));
        }
        Ok(manifest)
    }
}

/// The bytes of a file that begins as JSON does: a dataset, which may be large, is not read.
fn text(path: &Path) -> Result<Vec<u8>> {
    let error = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => {
            OfflineError::Data(format!("manifest {} does not exist", path.display()))
        }
        _ => OfflineError::io(path, &error),
    };
    if !path.metadata().map_err(error)?.is_file() {
        return Err(no_manifest(path));
    }
    let mut file = std::fs::File::open(path).map_err(error)?;
    let mut text = vec![0; 1];
    if file.read_exact(&mut text).is_err() || text != b"{" {
        return Err(no_manifest(path));
    }
    file.read_to_end(&mut text).map_err(error)?;
    Ok(text)
}

fn no_manifest(path: &Path) -> OfflineError {
    let beside = path_of(path);
    let meant = match beside.is_file() {
        true => format!("did you mean {}?", beside.display()),
        false => "expected the JSON file that `asof extract` writes beside its output, such as \
                  train.parquet.manifest.json"
            .to_owned(),
    };
    OfflineError::Data(format!(
        "{} is no manifest of an extract: {meant}",
        path.display()
    ))
}
