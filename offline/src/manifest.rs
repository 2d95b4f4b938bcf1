//! The manifest beside a dataset: from what, and by which rules, it was made.

mod changes;
mod read;

pub use changes::ManifestChange;
pub(crate) use changes::changes;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use asof_core::duration::Duration;
use asof_core::service::ReadPlan;
use asof_core::status::Status;
use asof_core::time::Timestamp;

use crate::digest::{Digest, KnownDigests};
use crate::error::{OfflineError, Result};
use crate::files::Roots;
use crate::grid::Grid;
use crate::snapshot::Snapshot;
use crate::summary::ExtractSummary;

/// The version of the manifest's own form.
pub(crate) const FORMAT: u32 = 2;

/// The version of the engine, which the bytes of a dataset depend on.
pub(crate) const ENGINE: &str = env!("CARGO_PKG_VERSION");

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

/// A manifest: from what, and by which rules, a dataset was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of everything in `content`, as compact JSON.
    digest: String,
    pub(crate) content: Content,
    /// Wall-clock times, which repeat for nobody: outside the digest.
    run: RunTimes,
}

impl Manifest {
    /// The project whose definitions it names.
    pub fn project(&self) -> &str {
        &self.content.project
    }

    /// The version of the registry that was read.
    pub fn registry_version(&self) -> u64 {
        self.content.registry_version
    }

    /// The digest of that version's definitions.
    pub fn definitions_digest(&self) -> &str {
        &self.content.definitions_digest
    }

    /// The path of the manifest of a dataset.
    pub fn path_of(dataset: &Path) -> PathBuf {
        path_of(dataset)
    }

    /// The dataset's column of times.
    pub fn time_column(&self) -> &str {
        &self.content.rules.time_column
    }

    /// The service, or `None` where single features were asked for.
    pub fn service(&self) -> Option<&str> {
        self.content.service.as_deref()
    }

    /// The features, as `view:feature`, in column order.
    pub fn features(&self) -> impl Iterator<Item = &str> {
        self.content.features.iter().map(|column| column.feature.as_str())
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Content {
    pub(crate) format: u32,
    pub(crate) engine: String,
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

/// From what, and by which rules, an extract is made: all of a manifest but the file that it is written to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provenance {
    pub(crate) format: u32,
    pub(crate) engine: String,
    pub(crate) project: String,
    pub(crate) registry_version: u64,
    pub(crate) definitions_digest: String,
    pub(crate) service: Option<String>,
    pub(crate) rules: RulesRecord,
    pub(crate) spine: SpineRecord,
    pub(crate) sources: Vec<SourceRecord>,
    pub(crate) views: Vec<ViewRecord>,
    pub(crate) features: Vec<FeatureRecord>,
    pub(crate) started_at: String,
}

impl Provenance {
    /// The same of an extract whose spine a caller sent from a file.
    pub fn of_spine(self, spine: &Path) -> Result<Self> {
        let path = spine
            .canonicalize()
            .map_err(|error| OfflineError::io(spine, &error))?;
        let metadata = path.metadata().map_err(|error| OfflineError::io(spine, &error))?;
        Ok(Self {
            spine: SpineRecord {
                digest: Digest::of_file(&path)?,
                bytes: metadata.len(),
                path: Some(path.display().to_string()),
                ..self.spine
            },
            ..self
        })
    }

    /// The manifest of the dataset that was written, as text.
    pub(crate) fn seal(self, output: OutputRecord, finished_at: Timestamp) -> Result<String> {
        let content = Content {
            format: self.format,
            engine: self.engine,
            project: self.project,
            registry_version: self.registry_version,
            definitions_digest: self.definitions_digest,
            service: self.service,
            rules: self.rules,
            spine: self.spine,
            sources: self.sources,
            output,
            views: self.views,
            features: self.features,
        };
        let manifest = Manifest {
            digest: content.digest()?,
            content,
            run: RunTimes {
                started_at: self.started_at,
                finished_at: finished_at.to_string(),
            },
        };
        let mut text = serde_json::to_string_pretty(&manifest).map_err(unwritable)?;
        text.push('\n');
        Ok(text)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RulesRecord {
    pub(crate) as_corrected: bool,
    pub(crate) time_column: String,
    pub(crate) timezone: Option<String>,
    pub(crate) status_columns: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpineRecord {
    /// The caller's spine, relative to the project where it lies inside; `None` where there was none.
    pub(crate) path: Option<String>,
    /// The times for which all keys were taken, where there was no spine.
    pub(crate) grid: Option<GridRecord>,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
    pub(crate) rows: u64,
    /// The columns by which features are looked up.
    pub(crate) keys: Vec<String>,
}

/// The times of an extract without a spine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
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

    /// The grid that it tells.
    pub(crate) fn grid(&self) -> Result<Grid> {
        let unreadable =
            |error: String| OfflineError::Data(format!("the manifest's grid is damaged: {error}"));
        let time = |text: &str| Timestamp::parse(text).map_err(|error| unreadable(error.to_string()));
        match &self.every {
            None => Ok(Grid::at(time(&self.from)?)),
            Some(every) => {
                let every = Duration::parse(every).map_err(|error| unreadable(error.to_string()))?;
                Grid::every(time(&self.from)?, time(&self.to)?, every)
            }
        }
    }

    /// In words.
    pub(crate) fn told(&self) -> String {
        match &self.every {
            None => format!("every key at {}", self.from),
            Some(every) => format!("every key from {} to {} every {every}", self.from, self.to),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SourceRecord {
    pub(crate) source: String,
    /// Where it is a Delta table.
    pub(crate) table: Option<TableRecord>,
    pub(crate) files: Vec<FileRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TableRecord {
    /// Its directory, relative to the project where it lies inside.
    pub(crate) path: String,
    /// The id that it was given when it was made.
    pub(crate) id: String,
    pub(crate) version: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FileRecord {
    /// Relative to the project where it lies inside; a file of a table: relative to the table.
    pub(crate) path: String,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct OutputRecord {
    pub(crate) format: String,
    pub(crate) rows: u64,
    pub(crate) columns: usize,
    pub(crate) bytes: u64,
    pub(crate) digest: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ViewRecord {
    view: String,
    held_back_winners: u64,
    corrected_rows: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FeatureRecord {
    column: String,
    /// `view:feature`
    feature: String,
    #[serde(rename = "type")]
    data_type: String,
    present: u64,
    null: u64,
    not_found: u64,
    expired: u64,
    held_back: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RunTimes {
    started_at: String,
    finished_at: String,
}

impl Content {
    /// Its digest.
    fn digest(&self) -> Result<String> {
        Ok(Digest::of(
            serde_json::to_string(self).map_err(unwritable)?.as_bytes(),
        ))
    }
}

/// The records of a summary's views and features.
pub(crate) fn counts(plan: &ReadPlan, summary: &ExtractSummary) -> (Vec<ViewRecord>, Vec<FeatureRecord>) {
    let views = summary.views.iter().map(|view| ViewRecord {
        view: view.label.clone(),
        held_back_winners: view.held_back_winners,
        corrected_rows: view.corrected_rows,
    });
    let names = plan.columns.iter().map(|column| {
        let found = plan.returned(column);
        found.map_or_else(String::new, |returned| {
            format!("{}:{}", returned.view, returned.feature)
        })
    });
    let features = summary
        .features
        .iter()
        .zip(names)
        .map(|(summary, feature)| FeatureRecord {
            column: summary.column.clone(),
            feature,
            data_type: summary.data_type.clone(),
            present: summary.counts.get(Status::Present),
            null: summary.counts.get(Status::Null),
            not_found: summary.counts.get(Status::NotFound),
            expired: summary.counts.get(Status::Expired),
            held_back: summary.counts.get(Status::HeldBack),
        });
    (views.collect(), features.collect())
}

fn unwritable(error: serde_json::Error) -> OfflineError {
    OfflineError::Internal(error.to_string())
}

/// The record of a source's snapshot, its files digested.
pub(crate) fn source_record(
    roots: &Roots,
    snapshot: &Snapshot,
    digests: &mut KnownDigests,
    threads: usize,
) -> Result<SourceRecord> {
    let digests = snapshot.digests(digests, threads)?;
    let files = snapshot
        .files
        .iter()
        .zip(digests)
        .map(|(file, digest)| FileRecord {
            path: file.path.clone(),
            bytes: file.size,
            digest,
        });
    let files = files.collect();
    let table = match (snapshot.table_directory(), &snapshot.table_id, snapshot.version) {
        (Some(directory), Some(id), Some(version)) => Some(TableRecord {
            path: roots.shown(&directory),
            id: id.clone(),
            version,
        }),
        _ => None,
    };
    Ok(SourceRecord {
        source: snapshot.source.clone(),
        table,
        files,
    })
}
