//! The manifest beside a dataset: from what, and by which rules, it was made.

use std::path::{Path, PathBuf};

use serde::Serialize;

use asof_core::status::Status;
use asof_core::time::Timestamp;

use crate::digest::Digest;
use crate::error::{OfflineError, Result};
use crate::grid::Grid;
use crate::snapshot::Snapshot;
use crate::summary::ExtractSummary;

/// The version of the manifest's own form.
const FORMAT: u32 = 1;

/// Where the definitions of an extract come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    /// The project.
    pub project: String,
    /// The registry's version.
    pub registry_version: u64,
    /// The digest of that version's definitions.
    pub definitions_digest: String,
    /// The service, or `None` where single features were asked for.
    pub service: Option<String>,
}

/// The path of the manifest of a dataset.
pub fn path_of(output: &Path) -> PathBuf {
    let mut name = output.file_name().unwrap_or_default().to_owned();
    name.push(".manifest.json");
    output.with_file_name(name)
}

#[derive(Debug, Serialize)]
pub(crate) struct Manifest {
    /// Of everything in `content`, as compact JSON.
    digest: String,
    content: Content,
    /// Wall-clock times, which repeat for nobody: outside the digest.
    run: RunTimes,
}

#[derive(Debug, Serialize)]
pub(crate) struct Content {
    pub(crate) format: u32,
    pub(crate) engine: &'static str,
    pub(crate) project: String,
    pub(crate) registry_version: u64,
    pub(crate) definitions_digest: String,
    pub(crate) service: Option<String>,
    pub(crate) rules: RulesRecord,
    pub(crate) spine: SpineRecord,
    pub(crate) sources: Vec<SourceRecord>,
    pub(crate) output: OutputRecord,
    pub(crate) views: Vec<ViewRecord>,
    pub(crate) features: Vec<FeatureRecord>,
}

#[derive(Debug, Serialize)]
pub(crate) struct RulesRecord {
    pub(crate) as_corrected: bool,
    pub(crate) time_column: String,
    pub(crate) timezone: Option<String>,
    pub(crate) status_columns: bool,
}

#[derive(Debug, Serialize)]
pub(crate) struct SpineRecord {
    /// The caller's spine; `None` where there was none.
    pub(crate) path: Option<String>,
    /// The times for which all keys were taken, where there was no spine.
    pub(crate) grid: Option<GridRecord>,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
    pub(crate) rows: u64,
}

/// The times of an extract without a spine.
#[derive(Debug, Serialize)]
pub(crate) struct GridRecord {
    from: String,
    to: String,
    every: Option<String>,
}

impl GridRecord {
    pub(crate) fn of(grid: &Grid) -> Self {
        let (from, to, every) = grid.parts();
        Self {
            from: from.to_string(),
            to: to.to_string(),
            every: every.map(|every| every.to_string()),
        }
    }
}

#[derive(Debug, Serialize)]
pub(crate) struct SourceRecord {
    pub(crate) source: String,
    pub(crate) table_version: Option<u64>,
    pub(crate) files: Vec<FileRecord>,
}

#[derive(Debug, Serialize)]
pub(crate) struct FileRecord {
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct OutputRecord {
    pub(crate) format: &'static str,
    pub(crate) rows: u64,
    pub(crate) columns: usize,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
}

#[derive(Debug, Serialize)]
pub(crate) struct ViewRecord {
    view: String,
    held_back_winners: u64,
    corrected_rows: u64,
}

#[derive(Debug, Serialize)]
pub(crate) struct FeatureRecord {
    column: String,
    #[serde(rename = "type")]
    data_type: String,
    present: u64,
    null: u64,
    not_found: u64,
    expired: u64,
    held_back: u64,
}

#[derive(Debug, Serialize)]
struct RunTimes {
    started_at: String,
    finished_at: String,
}

impl Content {
    /// The version of the manifest's form and of the engine.
    pub(crate) const HEAD: (u32, &'static str) = (FORMAT, env!("CARGO_PKG_VERSION"));

    /// The records of a summary's views and features.
    pub(crate) fn counts(summary: &ExtractSummary) -> (Vec<ViewRecord>, Vec<FeatureRecord>) {
        let views = summary.views.iter().map(|view| ViewRecord {
            view: view.label.clone(),
            held_back_winners: view.held_back_winners,
            corrected_rows: view.corrected_rows,
        });
        let features = summary.features.iter().map(|feature| FeatureRecord {
            column: feature.column.clone(),
            data_type: feature.data_type.clone(),
            present: feature.counts.get(Status::Present),
            null: feature.counts.get(Status::Null),
            not_found: feature.counts.get(Status::NotFound),
            expired: feature.counts.get(Status::Expired),
            held_back: feature.counts.get(Status::HeldBack),
        });
        (views.collect(), features.collect())
    }

    /// The manifest as text.
    pub(crate) fn seal(self, started_at: Timestamp, finished_at: Timestamp) -> Result<String> {
        let json = |error: serde_json::Error| OfflineError::Internal(error.to_string());
        let digest = Digest::of(serde_json::to_string(&self).map_err(json)?.as_bytes());
        let run = RunTimes {
            started_at: started_at.to_string(),
            finished_at: finished_at.to_string(),
        };
        let mut text = serde_json::to_string_pretty(&Manifest {
            digest,
            content: self,
            run,
        })
        .map_err(json)?;
        text.push('\n');
        Ok(text)
    }
}

/// The record of a source's snapshot, its files digested.
pub(crate) fn source_record(snapshot: &Snapshot) -> Result<SourceRecord> {
    let files = snapshot
        .files
        .iter()
        .map(|file| {
            let digest = Digest::of_file(&file.location)?;
            Ok(FileRecord {
                path: file.path.clone(),
                bytes: file.size,
                digest,
            })
        })
        .collect::<Result<_>>()?;
    Ok(SourceRecord {
        source: snapshot.source.clone(),
        table_version: snapshot.version,
        files,
    })
}
