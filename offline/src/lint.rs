//! `lint`: columns of a spine that tell what a feature will be only later.
//!
//! ```text
//! sample    rows of the spine, with the features as of their times: by the as-of join itself
//! later     per question the next row of the view: the contest turned around
//! column    values of different types made comparable
//! measure   one column beside one feature: is it the later value that it tells?
//! ```

mod column;
mod later;
mod measure;
mod sample;

pub use measure::Leak;

use std::path::Path;
use std::sync::Arc;

use asof_core::duration::Duration;
use asof_core::service::{ReadPlan, ViewRead};
use asof_core::time::Zone;

use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::extract::{Bound, Progress};
use crate::spine::Spine;

use column::{Column, Texts};
use later::NextValues;
use sample::{Sample, Share};

/// How far the later value of a view without a ttl may lie away.
const HORIZON: &str = "7d";

/// What to look at.
pub struct LintRequest<'a> {
    /// The features to compare with.
    pub plan: &'a ReadPlan,
    /// The caller's rows.
    pub spine: &'a Path,
    /// The spine's column of instants.
    pub time_column: &'a str,
    /// The zone of spine times that carry none.
    pub timezone: Option<Zone>,
    /// Of a spine of more rows than these, a part is looked at.
    pub sample: u64,
    /// Who is told how far it is.
    pub progress: Arc<dyn Progress>,
}

/// What was found.
#[derive(Debug, Clone, PartialEq)]
pub struct LintReport {
    /// Rows of the spine.
    pub rows: u64,
    /// Rows that were looked at.
    pub looked_at: u64,
    /// One in so many rows was to be looked at.
    pub every: u64,
    /// The columns that were compared.
    pub columns: Vec<String>,
    /// The columns whose types cannot be compared.
    pub columns_left_out: Vec<String>,
    /// The features whose types cannot be compared.
    pub features_left_out: Vec<String>,
    /// The views that were not looked at: their features are no values of single rows, and have no next one.
    pub views_left_out: Vec<String>,
    /// The views that were read.
    pub views: Vec<LintedView>,
    /// The pairs that are flagged, in the order of the spine's columns.
    pub findings: Vec<Finding>,
}

/// A view whose later values were looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct LintedView {
    /// The view, with its prefix where it has one.
    pub label: String,
    /// How far away a later value may lie: the view's ttl, or 7 days.
    pub horizon: Duration,
    /// For how many of the rows looked at there is a later row within that.
    pub rows_with_later: u64,
}

/// A column of the spine that tells a later value of a feature.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// The column.
    pub column: String,
    /// The feature, as the column of an extract is named.
    pub feature: String,
    /// What it tells, and how well.
    pub leak: Leak,
    /// In how many rows the later value differs from the one as of the row's time.
    pub rows: u64,
}

impl LintedView {
    /// With fewer later values than these nothing is told from chance.
    pub const MIN_ROWS: u64 = measure::MIN_ROWS as u64;
}

impl Engine {
    /// Compares the columns of a spine with the later values of features.
    ///
    /// # Errors
    ///
    /// Those of an extract of the same plan and spine.
    pub async fn lint(&self, request: LintRequest<'_>) -> Result<LintReport> {
        let plan = request.plan;
        let spine = Spine::open(request.spine, request.time_column, request.timezone)?;
        let share = Share::of(&spine, plan, request.sample)?;
        let bound = Bound::of(self, plan, None).await?;
        let spec = bound.join(self, spine, false, &request.progress).await?;
        let sample = Sample::read(&spec, share).await?;
        let mut texts = Texts::default();
        let own = OwnColumns::of(&sample, plan, &spec.spine, &mut texts)?;
        let mut report = LintReport {
            rows: sample.rows,
            looked_at: sample.batch.num_rows() as u64,
            every: share.every,
            columns: own.names(),
            columns_left_out: own.left_out,
            features_left_out: Vec::new(),
            views_left_out: Vec::new(),
            views: Vec::new(),
            findings: Vec::new(),
        };
        for (number, read) in plan.reads.iter().enumerate() {
            if read.bound.view.aggregates().is_some() {
                report.views_left_out.push(read.label());
                continue;
            }
            let next = NextValues::find(&spec, number, &sample, horizon(read)?).await?;
            report.views.push(LintedView {
                label: read.label(),
                horizon: horizon(read)?,
                rows_with_later: next.rows_with_later(),
            });
            for (place, feature) in read.features.iter().enumerate() {
                let name = format!("{}__{}", read.label(), feature.name);
                let (now, later) = (sample.feature(number, place)?, next.feature(place)?);
                match Column::of(&now, &mut texts)?.zip(Column::of(&later, &mut texts)?) {
                    Some((now, later)) => report.compare(&own.columns, &name, &now, &later),
                    None => report.features_left_out.push(name),
                }
            }
        }
        let place = |finding: &Finding| report.columns.iter().position(|name| *name == finding.column);
        let mut findings = std::mem::take(&mut report.findings);
        findings.sort_by_key(place);
        report.findings = findings;
        Ok(report)
    }
}

impl LintReport {
    fn compare(&mut self, columns: &[(String, Column)], feature: &str, now: &Column, later: &Column) {
        for (name, column) in columns {
            if let Some((leak, rows)) = measure::leak(column, now, later) {
                self.findings.push(Finding {
                    column: name.clone(),
                    feature: feature.to_owned(),
                    leak,
                    rows,
                });
            }
        }
    }
}

/// How far away a later value of a view may lie.
fn horizon(read: &ViewRead) -> Result<Duration> {
    let usual = || Duration::parse(HORIZON).map_err(|error| OfflineError::Internal(error.to_string()));
    read.bound.view.ttl.map_or_else(usual, Ok)
}

/// The columns of a spine that are neither keys nor its time.
#[derive(Default)]
struct OwnColumns {
    /// What may be taken as text or as numbers is there as both, one after the other.
    columns: Vec<(String, Column)>,
    /// The names of those of types that are not compared.
    left_out: Vec<String>,
}

impl OwnColumns {
    fn of(sample: &Sample, plan: &ReadPlan, spine: &Spine, texts: &mut Texts) -> Result<Self> {
        let mut own = Self::default();
        for (field, array) in spine.schema().fields().iter().zip(sample.batch.columns()) {
            let name = field.name();
            if name == spine.time_column() || plan.asks_for(name) {
                continue;
            }
            match Column::of(array, texts)? {
                Some(column) => own.columns.push((name.clone(), column)),
                None => own.left_out.push(name.clone()),
            }
            if let Some(numbers) = spine.numbers(array) {
                let numbers = Column::of(&numbers, texts)?;
                own.columns.extend(numbers.map(|numbers| (name.clone(), numbers)));
            }
        }
        Ok(own)
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = self.columns.iter().map(|(name, _)| name.clone()).collect();
        names.dedup();
        names
    }
}
