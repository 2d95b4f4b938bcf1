//! Datasets that a server keeps under a name, in `.asof/extracts` of the project.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use asof_core::name::ServiceName;
use asof_offline::{Manifest, Spine, Target};
use asof_registry::ProjectConfig;
use bytes::Bytes;
use serde_json::json;
use tokio::sync::mpsc;

use super::download::{Outlet, send};
use super::upload::Refused;
use crate::error::ServerError;

/// How many batches are read ahead of what is sent.
const AHEAD: usize = 2;
const ENDING: &str = ".parquet";

/// A dataset of a name, there or not.
#[derive(Debug, Clone)]
pub(super) struct Saved {
    name: String,
    path: PathBuf,
}

impl Saved {
    /// The dataset of a name that follows the grammar of names.
    pub(super) fn of(config: &ProjectConfig, name: &str) -> Result<Self, ServerError> {
        let name = ServiceName::parse(name);
        let name = name.map_err(|error| ServerError::argument("extract", error.to_string()))?;
        Ok(Self {
            path: directory(config).join(format!("{name}{ENDING}")),
            name: name.to_string(),
        })
    }

    /// Where it is written, whatever was there under its name.
    pub(super) fn target(&self) -> Result<Target<'_>, ServerError> {
        if let Some(directory) = self.path.parent() {
            fs::create_dir_all(directory)
                .map_err(|error| ServerError::Unavailable(format!("{}: {error}", directory.display())))?;
        }
        Ok(Target {
            path: &self.path,
            overwrite: true,
        })
    }

    /// Sends its rows, and last its manifest.
    pub(super) async fn send(self, outlet: Outlet) -> Result<(), Refused> {
        if !self.path.is_file() {
            return Err(ServerError::NoExtract(self.name).into());
        }
        let manifest = Manifest::read(&Manifest::path_of(&self.path))?;
        let spine = Spine::uploaded(&self.path, manifest.time_column(), None)?;
        let schema = Arc::clone(spine.schema());
        let rows = spine.batches(None)?;
        let last = Bytes::from(json!({ "manifest": manifest }).to_string());
        send(&outlet, schema, |batches| async move {
            let (sender, mut receiver) = mpsc::channel(AHEAD);
            let reading = tokio::task::spawn_blocking(move || {
                for batch in rows {
                    let batch = batch.map_err(|error| spine.unreadable(&error.to_string()));
                    if sender.blocking_send(batch).is_err() {
                        return;
                    }
                }
            });
            while let Some(batch) = receiver.recv().await {
                if batches.send(Ok(batch?)).await.is_err() {
                    break;
                }
            }
            drop(receiver);
            let ended = reading.await;
            ended.map_err(|error| ServerError::Bug(format!("a dataset was not read to its end: {error}")))?;
            Ok(last)
        })
        .await
    }
}

/// The names of those that there are.
pub(super) fn names(config: &ProjectConfig) -> Vec<String> {
    let Ok(entries) = fs::read_dir(directory(config)) else {
        return Vec::new();
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let mut names: Vec<String> = names
        .filter_map(|name| name.strip_suffix(ENDING).map(ToOwned::to_owned))
        .collect();
    names.sort();
    names
}

fn directory(config: &ProjectConfig) -> PathBuf {
    config.directory.join(".asof").join("extracts")
}
