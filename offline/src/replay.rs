//! `replay`: a dataset made again from its manifest, byte by byte, or word of what stands in the way.

mod inputs;

use std::path::Path;
use std::sync::Arc;

use asof_core::service::ReadPlan;
use asof_core::time::{Clock, Zone};

use crate::dataset::{Dataset, Target};
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::extract::{ExtractRequest, Progress, Rows};
use crate::manifest::{Content, ENGINE, GridRecord, Manifest, Origin, path_of};
use crate::output::{OutputFormat, check_target};

use inputs::Inputs;

/// What to make again.
pub struct ReplayRequest<'a> {
    /// What was read from `manifest_path`.
    pub manifest: &'a Manifest,
    /// Where the manifest is.
    pub manifest_path: &'a Path,
    /// The plan by the definitions that the manifest names, or what has become of these.
    pub plan: std::result::Result<&'a ReadPlan, String>,
    /// The spine, where it is not any more where it was.
    pub spine: Option<&'a Path>,
    /// The dataset to write.
    pub out: &'a Path,
    /// Whether it may replace one that exists.
    pub overwrite: bool,
    /// What the time is, for the new manifest.
    pub clock: &'a dyn Clock,
    /// Who is told how far it is.
    pub progress: Arc<dyn Progress>,
}

/// Something that a manifest names and that is not any more what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputChange {
    /// Which input: `spine`, `definitions`, `engine`, or `source` and its name.
    pub input: String,
    /// What became of it, in words.
    pub what: String,
}

impl std::fmt::Display for InputChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.input, self.what)
    }
}

/// How a replay ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Replay {
    /// The dataset was made again, and its bytes are the same.
    Same {
        /// What was written.
        dataset: Dataset,
        /// The engine, where it is another one.
        engine: Option<InputChange>,
    },
    /// A dataset was made again from the same inputs, and has other bytes.
    Differs {
        /// What was written.
        dataset: Dataset,
        /// The digest that the manifest names.
        expected: String,
        /// The engine, where it is another one.
        engine: Option<InputChange>,
    },
    /// Nothing was written: inputs are gone or changed, and these are all of them.
    Refused(Vec<InputChange>),
}

impl Engine {
    /// Writes a dataset again, with a manifest of its own, from exactly the inputs that its manifest names:
    /// what was added to sources since has no say.
    ///
    /// Dropping the future ends the work and leaves no output.
    pub async fn replay(&self, request: ReplayRequest<'_>) -> Result<Replay> {
        let content = &request.manifest.content;
        check_output(&request, content)?;
        let grid = content.spine.grid.as_ref().map(GridRecord::grid).transpose()?;
        if let (Some(_), Some(spine)) = (grid, request.spine) {
            return Err(OfflineError::Data(format!(
                "the dataset of {} was made without a spine: leave --spine {} out",
                request.manifest_path.display(),
                spine.display()
            )));
        }
        let inputs = Inputs::check(self, content, request.spine).await?;
        let mut changes = inputs.changes;
        let plan = match &request.plan {
            Ok(plan) if changes.is_empty() => *plan,
            Ok(_) => return Ok(Replay::Refused(with_engine(changes, content))),
            Err(what) => {
                let input = "definitions".to_owned();
                let what = what.clone();
                changes.insert(0, InputChange { input, what });
                return Ok(Replay::Refused(with_engine(changes, content)));
            }
        };
        let rows = match grid {
            Some(grid) => Rows::Grid(grid),
            None => Rows::Spine {
                path: &inputs.spine,
                time_column: &content.rules.time_column,
                timezone: zone(content)?,
            },
        };
        let again = ExtractRequest {
            plan,
            origin: origin(content),
            rows,
            as_corrected: content.rules.as_corrected,
            status: content.rules.status_columns,
            clock: request.clock,
            progress: request.progress,
        };
        let target = Target {
            path: request.out,
            overwrite: request.overwrite,
        };
        let dataset = self.extract_from(again, target, Some(&inputs.pins)).await?;
        let (engine, expected) = (other_engine(content), content.output.digest.clone());
        Ok(if dataset.digest == expected {
            Replay::Same { dataset, engine }
        } else {
            Replay::Differs {
                dataset,
                expected,
                engine,
            }
        })
    }
}

/// Refuses an output of another format, one that is in the way, and the dataset that is to be made again.
fn check_output(request: &ReplayRequest<'_>, content: &Content) -> Result<()> {
    let format = OutputFormat::of(request.out)?.as_str();
    if format != content.output.format {
        return Err(OfflineError::Data(format!(
            "output {} would be {format}, and the dataset of {} is {expected}: give an --out that ends in .{expected}",
            request.out.display(),
            request.manifest_path.display(),
            expected = content.output.format
        )));
    }
    check_target(request.out, request.overwrite)?;
    let beside = path_of(request.out).canonicalize();
    if beside.is_ok_and(|beside| {
        request
            .manifest_path
            .canonicalize()
            .is_ok_and(|path| path == beside)
    }) {
        return Err(OfflineError::OutputIsInput {
            path: request.out.display().to_string(),
            what: format!("the dataset of {}", request.manifest_path.display()),
        });
    }
    Ok(())
}

fn origin(content: &Content) -> Origin {
    Origin {
        project: content.project.clone(),
        registry_version: content.registry_version,
        definitions_digest: content.definitions_digest.clone(),
        service: content.service.clone(),
    }
}

fn zone(content: &Content) -> Result<Option<Zone>> {
    let zone = content.rules.timezone.as_deref().map(Zone::parse).transpose();
    zone.map_err(|error| OfflineError::Data(error.to_string()))
}

fn other_engine(content: &Content) -> Option<InputChange> {
    (content.engine != ENGINE).then(|| InputChange {
        input: "engine".to_owned(),
        what: format!(
            "the dataset was made by asof {}, this is asof {ENGINE}",
            content.engine
        ),
    })
}

fn with_engine(mut changes: Vec<InputChange>, content: &Content) -> Vec<InputChange> {
    changes.extend(other_engine(content));
    changes
}
