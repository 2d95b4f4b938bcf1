//! A source pinned: its files, their order and their common schema, as they were at one moment.

mod declared;
mod event_times;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType as ArrowType, Field, Schema, SchemaRef};
use datafusion::execution::SendableRecordBatchStream;
use datafusion::logical_expr::Expr;
use datafusion::prelude::{CsvReadOptions, DataFrame, ParquetReadOptions};
use deltalake::DeltaTable;
use deltalake::table::state::DeltaTableState;
use futures::FutureExt;
use url::Url;

use asof_core::data_type::DataType;
use asof_core::definition::{BoundView, Location, Source};

use crate::column::{text, type_name};
use crate::digest::KnownDigests;
use crate::engine::Engine;
use crate::error::{OfflineError, Result, first_line};
use crate::files::{Format, Located, SourceFile};
use crate::managed;

use declared::Declared;

/// A source pinned at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The source's name, for messages.
    pub source: String,
    /// Its files, in byte order of their paths.
    pub files: Vec<SourceFile>,
    /// The version of the Delta table, where it is one.
    pub version: Option<u64>,
    /// The id of the Delta table, where it is one: a table that is made in its place has another.
    pub table_id: Option<String>,
    pub(crate) next_seq: Option<u64>,
    pub(crate) schema: SchemaRef,
    pub(crate) kind: Kind,
    /// The types of the columns of CSV files.
    declared: Arc<Declared>,
}

impl Snapshot {
    /// The seq that the next row of a managed table will have: all rows here have lower ones. `None` for a
    /// source read in place.
    pub fn next_seq(&self) -> Option<u64> {
        self.next_seq
    }

    /// Whether its columns are typed by the view that reads them: those of CSV files are.
    pub(crate) fn is_typed_by_view(&self) -> bool {
        matches!(self.kind, Kind::Csv)
    }

    /// Whether it is a table of ours, with hidden columns.
    pub(crate) fn is_managed(&self) -> bool {
        matches!(self.kind, Kind::Managed(_))
    }

    /// Whether its files are Parquet files that hold the rows as they are: no column goes by another name,
    /// none stands in the file's path, no row is marked as deleted.
    pub(crate) fn is_plain_parquet(&self) -> bool {
        match &self.kind {
            Kind::Csv => false,
            Kind::Parquet => true,
            Kind::Delta(table) | Kind::Managed(table) => {
                let plain = table.snapshot().is_ok_and(|state| {
                    let metadata = state.metadata();
                    let mapped = metadata
                        .configuration()
                        .get("delta.columnMapping.mode")
                        .is_some_and(|mode| mode != "none");
                    metadata.partition_columns().is_empty() && !mapped
                });
                plain && self.files.iter().all(|file| file.tag.is_none())
            }
        }
    }

    /// The directory of the Delta table, where it is one.
    pub(crate) fn table_directory(&self) -> Option<PathBuf> {
        match &self.kind {
            Kind::Delta(table) | Kind::Managed(table) => table.table_url().to_file_path().ok(),
            Kind::Parquet | Kind::Csv => None,
        }
    }

    /// The digests of its files, which are what was written where that is known.
    pub(crate) fn digests(&self, known: &mut KnownDigests, threads: usize) -> Result<Vec<String>> {
        let locations: Vec<&Path> = self.files.iter().map(|file| file.location.as_path()).collect();
        if let Some(gone) = self.files.iter().find(|file| !file.location.exists()) {
            let place = self.place(gone);
            return Err(match self.is_managed() {
                true => OfflineError::lost(&place),
                false => OfflineError::gone(&place),
            });
        }
        let digests = known.of_files(&locations, threads)?;
        if self.is_managed() {
            let mut files = self.files.iter().zip(&digests);
            files.try_for_each(|(file, digest)| managed::compare_digest(&self.place(file), file, digest))?;
        }
        Ok(digests)
    }

    /// Refuses one of its files that has other bytes than were written, where that is known.
    pub(crate) async fn check_whole(&self, engine: &Engine, file: &SourceFile) -> Result<()> {
        match self.is_managed() {
            true => engine.check_whole(self.place(file), file.clone()).await,
            false => Ok(()),
        }
    }

    /// How messages name one of its files.
    pub(crate) fn place(&self, file: &SourceFile) -> String {
        format!("source {}: {}", self.source, file.path)
    }

    /// The same of the file of that number.
    pub(crate) fn place_of(&self, file: usize) -> String {
        let known = self.files.get(file);
        known.map_or(String::new(), |file| self.place(file))
    }

    /// Its columns, without those that only we know.
    pub(crate) fn visible_schema(&self) -> SchemaRef {
        if !self.is_managed() {
            return SchemaRef::clone(&self.schema);
        }
        let fields = self.schema.fields().iter();
        let visible = fields.filter(|field| ![managed::SEQ, managed::KNOWN].contains(&field.name().as_str()));
        SchemaRef::new(Schema::new(visible.cloned().collect::<Vec<_>>()))
    }
}

/// What the files are.
#[derive(Debug, Clone)]
pub(crate) enum Kind {
    /// Plain Parquet files.
    Parquet,
    /// Plain CSV files.
    Csv,
    /// A Delta table of somebody else's.
    Delta(Box<DeltaTable>),
    /// A Delta table of ours, with hidden columns.
    Managed(Box<DeltaTable>),
}

/// What a source is to be read from: these files, or this version of a table.
#[derive(Debug, Clone)]
pub(crate) enum Pin {
    /// Plain files of one format, in byte order of their paths.
    Files(Format, Vec<SourceFile>),
    /// A Delta table, loaded at the version.
    Table(Box<DeltaTable>),
}

impl Engine {
    /// Pins the source of a view as it is now.
    pub async fn snapshot(&self, bound: &BoundView) -> Result<Snapshot> {
        let source = &bound.source;
        let name = source.name.as_str();
        let (kind, files) = match &source.location {
            Location::Managed { schema, .. } => {
                let table = managed::open(self, source, schema).await?;
                (Kind::Managed(Box::new(table.clone())), delta_files(&table, name)?)
            }
            Location::InPlace { path } => match self.roots.locate(name, path)? {
                Located::Files(Format::Parquet, files) => (Kind::Parquet, files),
                Located::Files(Format::Csv, files) => (Kind::Csv, files),
                Located::Delta(directory) => {
                    let table = open_delta(&directory, name).await?;
                    let files = delta_files(&table, name)?;
                    (Kind::Delta(Box::new(table)), files)
                }
            },
        };
        self.pinned(bound, kind, files).await
    }

    /// The source of a view as it was when `pin` was made.
    pub(crate) async fn snapshot_at(&self, bound: &BoundView, pin: &Pin) -> Result<Snapshot> {
        let source = &bound.source;
        let (kind, files) = match pin {
            Pin::Files(Format::Parquet, files) => (Kind::Parquet, files.clone()),
            Pin::Files(Format::Csv, files) => (Kind::Csv, files.clone()),
            Pin::Table(table) => {
                let files = delta_files(table, source.name.as_str())?;
                match source.location {
                    Location::Managed { .. } => (Kind::Managed(table.clone()), files),
                    Location::InPlace { .. } => (Kind::Delta(table.clone()), files),
                }
            }
        };
        self.pinned(bound, kind, files).await
    }

    async fn pinned(&self, bound: &BoundView, kind: Kind, files: Vec<SourceFile>) -> Result<Snapshot> {
        let source = &bound.source;
        let name = source.name.as_str();
        let (version, table_id) = match &kind {
            Kind::Delta(table) | Kind::Managed(table) => (table.version(), Some(table_id(table, name)?)),
            Kind::Parquet | Kind::Csv => (None, None),
        };
        let next_seq = match &kind {
            Kind::Managed(table) => Some(managed::next_seq(table, source).await?),
            Kind::Parquet | Kind::Csv | Kind::Delta(_) => None,
        };
        let mut snapshot = Snapshot {
            source: name.to_owned(),
            files,
            version,
            table_id,
            next_seq,
            schema: SchemaRef::new(Schema::empty()),
            kind,
            declared: Arc::new(Declared::by_view(bound)),
        };
        snapshot.schema = self.common_schema(&snapshot).await?;
        self.check_event_times(source, &snapshot).await?;
        Ok(snapshot)
    }

    /// One plain file to ingest as a snapshot of its own.
    pub(crate) async fn plain_snapshot(
        &self,
        source: &Source,
        schema: &[(String, DataType)],
        file: &SourceFile,
    ) -> Result<Snapshot> {
        let format = Format::of(&file.location)
            .ok_or_else(|| OfflineError::Data(format!("{} is not a .parquet or .csv file", file.path)))?;
        let mut snapshot = Snapshot {
            source: source.name.to_string(),
            files: vec![file.clone()],
            version: None,
            table_id: None,
            next_seq: None,
            schema: SchemaRef::new(Schema::empty()),
            kind: match format {
                Format::Parquet => Kind::Parquet,
                Format::Csv => Kind::Csv,
            },
            declared: Arc::new(Declared::by_schema(source, schema)),
        };
        snapshot.schema = self.common_schema(&snapshot).await?;
        Ok(snapshot)
    }

    /// The schema that all files share.
    async fn common_schema(&self, snapshot: &Snapshot) -> Result<SchemaRef> {
        if let Kind::Delta(table) | Kind::Managed(table) = &snapshot.kind {
            let provider = table.table_provider().await;
            let provider = provider.map_err(|error| OfflineError::engine(&snapshot.source, &error))?;
            return Ok(provider.schema());
        }
        let mut common: Option<(String, SchemaRef)> = None;
        for file in &snapshot.files {
            let schema = self.schema_of(snapshot, file).await?;
            match &common {
                None => common = Some((file.path.clone(), schema)),
                Some((first, common)) => same_schema(snapshot, first, common, &file.path, &schema)?,
            }
        }
        let schema = common.map_or_else(|| SchemaRef::new(Schema::empty()), |(_, schema)| schema);
        Ok(match snapshot.kind {
            Kind::Csv => snapshot.declared.schema(&schema),
            // A writer may say of a file that a column has no nulls because there are none in that one.
            Kind::Parquet | Kind::Delta(_) | Kind::Managed(_) => SchemaRef::new(Schema::new(
                schema
                    .fields()
                    .iter()
                    .map(|field| field.as_ref().clone().with_nullable(true))
                    .collect::<Vec<_>>(),
            )),
        })
    }

    /// The columns of one file: of a CSV file as text.
    async fn schema_of(&self, snapshot: &Snapshot, file: &SourceFile) -> Result<SchemaRef> {
        if matches!(snapshot.kind, Kind::Csv) {
            return csv_header(snapshot, file).map(SchemaRef::new);
        }
        let frame = self.frame(snapshot, file).await?;
        Ok(SchemaRef::new(frame.schema().as_arrow().clone()))
    }

    /// The rows of one file, from its first to its last, with the given columns.
    pub(crate) async fn open_file(
        &self,
        snapshot: &Snapshot,
        file: &SourceFile,
        columns: &[String],
    ) -> Result<SendableRecordBatchStream> {
        self.open_filtered(snapshot, file, columns, None).await
    }

    /// The same of those rows that `filter` keeps.
    pub(crate) async fn open_filtered(
        &self,
        snapshot: &Snapshot,
        file: &SourceFile,
        columns: &[String],
        filter: Option<Expr>,
    ) -> Result<SendableRecordBatchStream> {
        let place = snapshot.place(file);
        let frame = self.frame(snapshot, file).await?;
        let columns: Vec<Expr> = columns
            .iter()
            .map(|name| Expr::Column(datafusion::common::Column::from_name(name)))
            .collect();
        let stream = async {
            let frame = match filter {
                Some(filter) => frame.filter(filter)?,
                None => frame,
            };
            frame.select(columns)?.execute_stream().await
        };
        let stream = stream
            .await
            .map_err(|error| OfflineError::engine(&place, &error))?;
        Ok(match &snapshot.kind {
            Kind::Csv => snapshot.declared.converted(stream, &snapshot.source, file),
            Kind::Parquet | Kind::Delta(_) | Kind::Managed(_) => stream,
        })
    }

    /// Refuses a file that was replaced while it was read: it has given rows of no snapshot.
    pub(crate) fn unchanged(&self, snapshot: &Snapshot, file: usize) -> Result<()> {
        let Some(before) = snapshot.files.get(file).filter(|_| snapshot.version.is_none()) else {
            return Ok(());
        };
        let now = self.roots.source_file(before.location.clone())?;
        if (now.size, now.modified) == (before.size, before.modified) {
            return Ok(());
        }
        Err(OfflineError::Data(format!(
            "{} was changed while it was read: run this again when its writer is done",
            snapshot.place(before)
        )))
    }

    async fn frame(&self, snapshot: &Snapshot, file: &SourceFile) -> Result<DataFrame> {
        // The decoder of the Arrow schema in a Parquet footer panics on some damage.
        let frame = AssertUnwindSafe(self.open_frame(snapshot, file));
        let frame = frame.catch_unwind().await;
        frame.unwrap_or_else(|_| Err(OfflineError::undecodable(&snapshot.place(file))))
    }

    async fn open_frame(&self, snapshot: &Snapshot, file: &SourceFile) -> Result<DataFrame> {
        let place = snapshot.place(file);
        let frame = match &snapshot.kind {
            Kind::Parquet => {
                check_parquet(&place, file)?;
                let options = ParquetReadOptions {
                    file_extension: "",
                    ..ParquetReadOptions::default()
                };
                self.context
                    .read_parquet(file_url(&file.location)?, options)
                    .await
            }
            Kind::Csv => {
                let names = snapshot.schema.fields().iter().map(|field| field.name());
                let text = names.map(|name| Field::new(name, ArrowType::Utf8, true));
                let schema = Schema::new(text.collect::<Vec<_>>());
                let options = CsvReadOptions::new()
                    .file_extension("")
                    .newlines_in_values(true)
                    .schema(&schema);
                self.context.read_csv(file_url(&file.location)?, options).await
            }
            Kind::Delta(table) | Kind::Managed(table) => {
                let provider = table
                    .table_provider()
                    .with_file_paths([as_in_log(&file.path)])
                    .await;
                provider.and_then(|provider| self.context.read_table(provider))
            }
        };
        frame.map_err(|error| OfflineError::engine(&place, &error))
    }
}

/// The columns that the header line of a CSV file names.
fn csv_header(snapshot: &Snapshot, file: &SourceFile) -> Result<Schema> {
    let place = snapshot.place(file);
    if file.size == 0 {
        return Err(OfflineError::Data(format!(
            "{place}: the file is empty, without a header line"
        )));
    }
    let content =
        std::fs::File::open(&file.location).map_err(|error| OfflineError::io(&file.location, &error))?;
    let header = text::header(content)
        .map_err(|reason| OfflineError::Data(format!("{place}: cannot be read: {}", first_line(&reason))))?;
    let mut seen = std::collections::HashSet::new();
    match header.fields().iter().find(|field| !seen.insert(field.name())) {
        None => Ok(header.clone()),
        Some(twice) => Err(OfflineError::Data(format!(
            "{place}: there are two columns named {:?}: rename one of them",
            twice.name()
        ))),
    }
}

fn same_schema(snapshot: &Snapshot, first: &str, common: &Schema, path: &str, schema: &Schema) -> Result<()> {
    let differs = |what: String| {
        Err(OfflineError::Data(format!(
            "source {}: the files {first} and {path} have different schemas: {what}",
            snapshot.source
        )))
    };
    for field in common.fields() {
        match schema.field_with_name(field.name()) {
            Err(_) => return differs(format!("column {:?} is only in {first}", field.name())),
            Ok(other) if other.data_type() != field.data_type() && !matches!(snapshot.kind, Kind::Csv) => {
                let (mut one, mut two) = (type_name(field.data_type()), type_name(other.data_type()));
                if one == two {
                    (one, two) = (field.data_type().to_string(), other.data_type().to_string());
                }
                return differs(format!(
                    "column {:?} is {one} in one and {two} in the other",
                    field.name()
                ));
            }
            Ok(_) => {}
        }
    }
    if let Some(field) = schema
        .fields()
        .iter()
        .find(|field| common.field_with_name(field.name()).is_err())
    {
        return differs(format!("column {:?} is only in {path}", field.name()));
    }
    // The columns of CSV files are told by their place.
    let moved = common
        .fields()
        .iter()
        .zip(schema.fields())
        .find(|(a, b)| a.name() != b.name());
    match moved.filter(|_| matches!(snapshot.kind, Kind::Csv)) {
        Some((a, b)) => differs(format!(
            "column {:?} of one stands where {:?} stands in the other: CSV files of one source have the same columns in the same order",
            a.name(),
            b.name()
        )),
        None => Ok(()),
    }
}

/// Refuses what is no Parquet file with a better message than a decoder has.
fn check_parquet(place: &str, file: &SourceFile) -> Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let read = || -> std::io::Result<[u8; 4]> {
        let mut content = std::fs::File::open(&file.location)?;
        let mut magic = [0; 4];
        content.seek(SeekFrom::End(-4))?;
        content.read_exact(&mut magic)?;
        Ok(magic)
    };
    if file.size < 12 {
        return Err(OfflineError::Data(format!(
            "{place}: not a Parquet file: it has only {} bytes",
            file.size
        )));
    }
    let magic = read().map_err(|error| OfflineError::io(&file.location, &error))?;
    if &magic != b"PAR1" {
        return Err(OfflineError::Data(format!(
            "{place}: not a whole Parquet file: its last bytes are not PAR1 (cut short, or of another format)"
        )));
    }
    Ok(())
}

pub(crate) fn file_url(path: &Path) -> Result<String> {
    Url::from_file_path(path)
        .map(String::from)
        .map_err(|()| OfflineError::Internal(format!("{} has no file URL", path.display())))
}

pub(crate) async fn open_delta(directory: &Path, source: &str) -> Result<DeltaTable> {
    let url = Url::from_directory_path(directory)
        .map_err(|()| OfflineError::Internal(format!("{} has no file URL", directory.display())))?;
    deltalake::open_table(url).await.map_err(|error| {
        OfflineError::Data(format!(
            "source {source}: the Delta table in {} cannot be opened: {}",
            directory.display(),
            first_line(&error.to_string())
        ))
    })
}

/// A file's path as a table's log writes it: a relative URL.
pub(crate) fn as_in_log(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3F").replace('#', "%23")
}

/// The files of a table's snapshot, in byte order of their paths.
pub(crate) fn delta_files(table: &DeltaTable, source: &str) -> Result<Vec<SourceFile>> {
    let state = state_of(table, source)?;
    let mut files: Vec<SourceFile> = state
        .log_data()
        .iter()
        .map(|file| SourceFile {
            path: file.path().into_owned(),
            location: table
                .table_url()
                .to_file_path()
                .unwrap_or_default()
                .join(file.object_store_path().to_string()),
            size: u64::try_from(file.size()).unwrap_or(0),
            modified: i128::from(file.modification_time()) * 1_000_000,
            tag: file
                .deletion_vector_descriptor()
                .map(|vector| format!("{}:{:?}", vector.path_or_inline_dv, vector.offset)),
        })
        .collect();
    files.sort_by(|a, b| a.path.as_bytes().cmp(b.path.as_bytes()));
    Ok(files)
}

/// The id that a table was given when it was made.
pub(crate) fn table_id(table: &DeltaTable, source: &str) -> Result<String> {
    Ok(state_of(table, source)?.metadata().id().to_owned())
}

fn state_of<'a>(table: &'a DeltaTable, source: &str) -> Result<&'a DeltaTableState> {
    table
        .snapshot()
        .map_err(|error| OfflineError::Data(format!("source {source}: {}", first_line(&error.to_string()))))
}
