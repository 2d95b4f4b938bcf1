//! A project with generated data: feature rows in event order over many files, a spine, definitions.
//!
//! Every row is drawn from the seed and its own number, so a set is the same bytes on every machine,
//! and the same rows however many files they are cut into. Memory stays bounded by a few batches.
//!
//! The shape: event times over 90 days, ascending from file to file; one key in a hundred is hot, and
//! the hot ones have a fifth of the rows; eight `float64` and two `int64` features, some with nulls.
//! No two rows have the same event time. The spine asks at random times of the last 80 days, for one key in a hundred that no row has.

mod even;
mod keys;
mod project;
mod rows;

pub use even::{EVEN_DAYS, EVEN_UNTIL_MICROS, write_even, write_keys};
pub use keys::KeyKind;
pub use project::{AGGREGATED, AGGREGATES, Definitions, Values, WINDOWS, Window};
pub use rows::Asks;

use std::fs::{self, File};
use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// How large a set is, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// Feature rows.
    pub rows: u64,
    /// Keys, a multiple of 100.
    pub keys: u64,
    /// Rows of the spine.
    pub spine_rows: u64,
    /// Files that the feature rows are cut into.
    pub files: u64,
    /// Which set of this size.
    pub seed: u64,
    /// The type of the keys.
    pub key: KeyKind,
    /// Whether every key has one row, none hot, and one row of the spine: then there are as many rows as keys.
    pub once: bool,
}

impl Default for Spec {
    /// The set of the published figures.
    fn default() -> Self {
        Self {
            rows: 10_000_000,
            keys: 1_000_000,
            spine_rows: 1_000_000,
            files: 16,
            seed: 1,
            key: KeyKind::Int64,
            once: false,
        }
    }
}

/// Where the parts of a generated project are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generated {
    /// The project directory.
    pub project: PathBuf,
    /// The spine.
    pub spine: PathBuf,
    /// Whether an earlier run had left the same set there already.
    pub reused: bool,
}

/// The service of a generated project, with all ten features.
pub const SERVICE: &str = "gen_v1";
/// The service that has on-demand features as well.
pub const COMPUTED_SERVICE: &str = "gen_computed_v1";

/// When a generated set ends, in microseconds since the Unix epoch: all its rows have happened by then.
pub const END_MICROS: i64 = (rows::START + rows::SPAN).cast_signed();

/// How sets are made: another number where the same spec gives other files.
pub const FORMAT: u32 = 3;

/// Rows made at a time.
const BATCH: u64 = 16 * 1024;
/// Rows of a row group.
const ROW_GROUP: usize = 128 * 1024;
/// How large a dictionary may grow, in bytes: columns of measurements have none, as with writers that look at the
/// values first. Left at its 1 MiB, it would hold every value of a row group.
const DICTIONARY: usize = 128 * 1024;
/// Stands in the project and says what it holds; written last.
const MARK: &str = "generated.json";

/// Writes the project of `spec` into `dir`, which is new, empty, or holds that very set already.
///
/// # Errors
/// A `spec` that makes no sense, a directory that holds anything else, and whatever writing meets.
pub fn generate(dir: &Path, spec: &Spec) -> Result<Generated> {
    check(spec)?;
    let mark = project::mark(spec);
    let generated = |reused| Generated {
        project: dir.to_path_buf(),
        spine: dir.join("data/spine.parquet"),
        reused,
    };
    if fs::read_to_string(dir.join(MARK)).is_ok_and(|found| found == mark) {
        return Ok(generated(true));
    }
    let events = dir.join("data/events");
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    if fs::read_dir(dir)?.next().is_some() {
        bail!(
            "{} is not empty and holds another set, or half of one: name another directory",
            dir.display()
        );
    }
    fs::create_dir_all(&events)?;
    let definitions = Definitions {
        key: spec.key,
        views: &[("gen".into(), "events".into())],
        values: Values::Newest("30d"),
        managed: false,
        stream: None,
        computed: true,
    };
    definitions.write(dir)?;
    for file in 0..spec.files {
        let range = spec.rows * file / spec.files..spec.rows * (file + 1) / spec.files;
        let path = events.join(format!("part-{file:05}.parquet"));
        write_parquet(&path, rows::event_schema(spec.key), range, |range| {
            rows::events(spec, range)
        })?;
    }
    let done = generated(false);
    write_spine(&done.spine, spec, Asks::Everything)?;
    fs::write(dir.join(MARK), mark)?;
    Ok(done)
}

/// Writes a spine of `spec.spine_rows` rows.
///
/// # Errors
/// Whatever writing meets.
pub fn write_spine(path: &Path, spec: &Spec, asks: Asks) -> Result<()> {
    write_parquet(path, rows::spine_schema(spec.key), 0..spec.spine_rows, |range| {
        rows::spine(spec, asks, range)
    })
}

/// The names of the features.
pub fn features() -> impl Iterator<Item = &'static str> {
    rows::FEATURES.iter().map(|(name, _)| *name)
}

/// The names of the features, each with that of its type.
pub fn typed_features() -> impl Iterator<Item = (&'static str, &'static str)> {
    rows::FEATURES.into_iter()
}

fn check(spec: &Spec) -> Result<()> {
    ensure!(
        spec.keys > 0 && spec.keys.is_multiple_of(100),
        "keys must be a multiple of 100, since one in a hundred is hot; got {}",
        spec.keys
    );
    ensure!(
        !spec.once || (spec.rows == spec.keys && keys::are_shuffled(spec.keys)),
        "for every key once there must be as many rows, and no multiple of {}; got {} rows of {} keys",
        keys::STRIDE,
        spec.rows,
        spec.keys
    );
    ensure!(
        spec.files > 0 && spec.files <= spec.rows,
        "files must be at least 1 and at most as many as the {} rows; got {}",
        spec.rows,
        spec.files
    );
    ensure!(
        spec.rows <= rows::MAX_ROWS,
        "rows must be at most {}, one a microsecond; got {}",
        rows::MAX_ROWS,
        spec.rows
    );
    Ok(())
}

fn write_parquet(
    path: &Path,
    schema: SchemaRef,
    rows: Range<u64>,
    batch: impl Fn(Range<u64>) -> Result<RecordBatch>,
) -> Result<()> {
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1)?))
        .set_max_row_group_row_count(Some(ROW_GROUP))
        .set_dictionary_page_size_limit(DICTIONARY)
        .build();
    let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties))?;
    let mut start = rows.start;
    while start < rows.end {
        let end = rows.end.min(start + BATCH);
        writer.write(&batch(start..end)?)?;
        start = end;
    }
    // What is still to reach the disk would compete with the first measurement.
    writer.into_inner()?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests;
