//! The inputs that a manifest names, as they are now: pinned where they are what they were, and told where
//! they are not.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use deltalake::DeltaTable;
use url::Url;

use super::InputChange;
use crate::digest::Digest;
use crate::engine::Engine;
use crate::error::{OfflineError, Result, first_line};
use crate::extract::Pins;
use crate::files::{Format, SourceFile};
use crate::managed::{Compared, check_log};
use crate::manifest::{Content, FileRecord, SourceRecord, TableRecord};
use crate::snapshot::{Pin, delta_files, table_id};

/// How many files of one source are named; more are counted.
const NAMED: usize = 20;

/// What became of an input; an error only where that cannot be found out.
type Found<T> = std::result::Result<T, Vec<String>>;

/// The inputs of a dataset.
pub(super) struct Inputs {
    /// Where the caller's spine is.
    pub(super) spine: PathBuf,
    /// The sources that are what they were.
    pub(super) pins: Pins,
    /// What is gone or changed.
    pub(super) changes: Vec<InputChange>,
}

impl Inputs {
    /// Looks at every input, whose contents are read once.
    pub(super) async fn check(engine: &Engine, content: &Content, spine: Option<&Path>) -> Result<Self> {
        let recorded = content.spine.path.clone().unwrap_or_default();
        let mut inputs = Self {
            spine: spine.map_or_else(|| engine.roots.project().join(&recorded), Path::to_owned),
            pins: BTreeMap::new(),
            changes: Vec::new(),
        };
        // One that was made for a grid is made again.
        if content.spine.path.is_some() {
            let record = FileRecord {
                path: spine.map_or(recorded, |spine| spine.display().to_string()),
                bytes: content.spine.bytes,
                digest: content.spine.digest.clone(),
            };
            if let Some(what) = changed(&inputs.spine, &record)? {
                inputs.tell("spine".to_owned(), vec![what]);
            }
        }
        for source in &content.sources {
            let found = match &source.table {
                None => files(engine, source)?,
                Some(table) => self::table(engine, source, table).await?,
            };
            match found {
                Ok(pin) => {
                    inputs.pins.insert(source.source.clone(), pin);
                }
                Err(what) => inputs.tell(format!("source {}", source.source), what),
            }
        }
        Ok(inputs)
    }

    fn tell(&mut self, input: String, mut what: Vec<String>) {
        let more = what.len().saturating_sub(NAMED);
        if more > 0 {
            what.truncate(NAMED);
            what.push(format!("and {more} more files"));
        }
        self.changes.extend(what.into_iter().map(|what| InputChange {
            input: input.clone(),
            what,
        }));
    }
}

/// What became of a file, where it is not what it was.
fn changed(location: &Path, record: &FileRecord) -> Result<Option<String>> {
    let path = &record.path;
    let size = match location.metadata() {
        Ok(metadata) if metadata.is_file() => metadata.len(),
        Ok(_) => return Ok(Some(format!("{path} is not a file any more"))),
        Err(error) if is_gone(&error) => return Ok(Some(format!("{path} is gone"))),
        Err(error) => return Err(OfflineError::io(location, &error)),
    };
    if size != record.bytes {
        return Ok(Some(format!(
            "{path} was changed: it has {size} bytes, and had {}",
            record.bytes
        )));
    }
    let other = Digest::of_file(location)? != record.digest;
    Ok(other.then(|| format!("{path} was changed: it has as many bytes as it had, and others")))
}

fn is_gone(error: &std::io::Error) -> bool {
    matches!(
        error.kind(),
        std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
    )
}

/// Plain files: exactly those that the manifest lists.
fn files(engine: &Engine, source: &SourceRecord) -> Result<Found<Pin>> {
    let mut told = Vec::new();
    let mut files: Vec<SourceFile> = Vec::with_capacity(source.files.len());
    let mut format = None;
    for record in &source.files {
        let location = engine.roots.project().join(&record.path);
        // Pinned before its contents are looked at: a change in between is seen when it was read.
        let file = match location.is_file() {
            true => Some(engine.roots.recorded(&source.source, &location)?),
            false => None,
        };
        if let Some(what) = changed(&location, record)? {
            told.push(what);
        }
        format = format.or_else(|| Format::of(&location));
        files.extend(file);
    }
    Ok(match format {
        Some(format) if told.is_empty() => Ok(Pin::Files(format, files)),
        Some(_) => Err(told),
        None => Err(vec![
            "the manifest lists no .parquet or .csv file of it".to_owned(),
        ]),
    })
}

/// A version of a Delta table, with the files that the manifest lists.
async fn table(engine: &Engine, source: &SourceRecord, record: &TableRecord) -> Result<Found<Pin>> {
    let directory = engine.roots.project().join(&record.path);
    if !directory.join("_delta_log").is_dir() {
        return Ok(Err(vec![format!("the table {} is gone", record.path)]));
    }
    let directory = engine.table_directory(&source.source, &directory)?;
    let table = match at_version(&directory, record).await? {
        Ok(table) => table,
        Err(what) => return Ok(Err(vec![what])),
    };
    if table_id(&table, &source.source)? != record.id {
        return Ok(Err(vec![another(record)]));
    }
    if directory == engine.tables.join(&source.source)
        && let Err(error) = check_log(&directory, &source.source, Compared::All)
    {
        return Ok(Err(vec![error.to_string()]));
    }
    let now = delta_files(&table, &source.source)?;
    let listed = |record: &&FileRecord| now.iter().any(|file| file.path == record.path);
    if now.len() != source.files.len() || !source.files.iter().all(|record| listed(&record)) {
        return Ok(Err(vec![format!(
            "version {} of the table {} has other files than it had: its log was changed",
            record.version, record.path
        )]));
    }
    let mut told = Vec::new();
    for (file, was) in now.iter().zip(&source.files) {
        let what = changed(&file.location, was)?;
        told.extend(what.map(|what| format!("of the table {}: {what}", record.path)));
    }
    Ok(if told.is_empty() {
        Ok(Pin::Table(Box::new(table)))
    } else {
        Err(told)
    })
}

/// The table at the version, or what became of that.
async fn at_version(
    directory: &Path,
    record: &TableRecord,
) -> Result<std::result::Result<DeltaTable, String>> {
    let url = Url::from_directory_path(directory)
        .map_err(|()| OfflineError::Internal(format!("{} has no file URL", directory.display())))?;
    match deltalake::open_table_with_version(url.clone(), record.version).await {
        Ok(table) if table.version() == Some(record.version) => return Ok(Ok(table)),
        _ => {}
    }
    let newest = match deltalake::open_table(url).await {
        Ok(newest) => newest,
        Err(error) => {
            let reason = first_line(&error.to_string());
            return Ok(Err(format!(
                "the table {} cannot be opened: {reason}",
                record.path
            )));
        }
    };
    if table_id(&newest, &record.path)? != record.id {
        return Ok(Err(another(record)));
    }
    Ok(Err(format!(
        "version {} of the table {} is gone: the newest is {}",
        record.version,
        record.path,
        newest.version().unwrap_or(0)
    )))
}

fn another(record: &TableRecord) -> String {
    format!("the table {} is another one: it was made anew", record.path)
}

impl Engine {
    /// The directory of a table, which must lie where the project's tables are or where sources may be.
    fn table_directory(&self, source: &str, directory: &Path) -> Result<PathBuf> {
        match directory == self.tables.join(source) {
            true => Ok(directory.to_owned()),
            false => self.roots.inside(source, directory),
        }
    }
}
