//! A project in a directory of its own: definitions made by hand, files, and an engine over them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use asof_core::aggregate::Function;
use asof_core::data_type::{DataType, KeyType};
use asof_core::definition::{
    Aggregate, Aggregates, Definitions, Entity, Feature, FrozenEntry, InputText, KeyColumn, Location,
    NamedWindow, Notes, Select, ServiceEntry, Source, View, ViewKind,
};
use asof_core::duration::Duration;
use asof_core::name::{EntityName, FeatureName, Prefix, ProjectName, SourceName, ViewName};
use asof_core::service::ReadPlan;
use asof_core::time::{FixedClock, Timestamp, Zone};
use asof_offline::{
    CompactRequest, Compacted, Engine, EngineOptions, ExtractRequest, ExtractSummary, IngestRequest,
    Ingested, OfflineError, Origin, Rows, Silent, Strategy, Target,
};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

pub(crate) struct Project {
    directory: TempDir,
    pub(crate) definitions: Definitions,
    pub(crate) options: EngineOptions,
}

/// What an extract is asked for beside its files.
#[derive(Clone)]
pub(crate) struct Ask {
    pub(crate) time_column: String,
    pub(crate) timezone: Option<Zone>,
    pub(crate) as_corrected: bool,
    pub(crate) status: bool,
    pub(crate) overwrite: bool,
}

impl Default for Ask {
    fn default() -> Self {
        Self {
            time_column: "event_timestamp".into(),
            timezone: None,
            as_corrected: false,
            status: false,
            overwrite: false,
        }
    }
}

impl Project {
    pub(crate) fn new() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            definitions: Definitions::empty(ProjectName::parse("proof").unwrap()),
            options: EngineOptions {
                readers: 2,
                ..EngineOptions::default()
            },
        }
    }

    /// How extracts are joined from here on.
    pub(crate) fn set_strategy(&mut self, strategy: Strategy) {
        self.options.strategy = strategy;
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn entity(&mut self, name: &str, keys: &[(&str, &str)]) -> &mut Self {
        let entity = Entity {
            name: EntityName::parse(name).unwrap(),
            keys: keys
                .iter()
                .map(|(name, key_type)| KeyColumn {
                    name: (*name).into(),
                    key_type: KeyType::parse(key_type).unwrap(),
                })
                .collect(),
            notes: Notes::default(),
        };
        self.definitions.entities.insert(entity.name.clone(), entity);
        self
    }

    pub(crate) fn source(&mut self, source: Source) -> &mut Self {
        self.definitions.sources.insert(source.name.clone(), source);
        self
    }

    /// Changes a source that is defined already.
    pub(crate) fn change_source(&mut self, name: &str, change: impl FnOnce(&mut Source)) -> &mut Self {
        change(self.definitions.sources.get_mut(name).unwrap());
        self
    }

    pub(crate) fn view(
        &mut self,
        name: &str,
        entity: &str,
        source: &str,
        ttl: Option<Duration>,
        features: &[(&str, &str)],
    ) -> &mut Self {
        let view = View {
            name: ViewName::parse(name).unwrap(),
            entity: EntityName::parse(entity).unwrap(),
            source: SourceName::parse(source).unwrap(),
            ttl,
            kind: ViewKind::Features(features.iter().map(|(name, t)| feature(name, t)).collect()),
            notes: Notes::default(),
        };
        self.definitions.views.insert(view.name.clone(), view);
        self
    }

    /// A view of aggregates, which may set a hop for its windows.
    pub(crate) fn aggregates(
        &mut self,
        name: &str,
        entity: &str,
        source: &str,
        hop: Option<&str>,
        list: Vec<Aggregate>,
    ) -> &mut Self {
        let hop = hop.map(|hop| Duration::parse(hop).unwrap());
        let view = View {
            name: ViewName::parse(name).unwrap(),
            entity: EntityName::parse(entity).unwrap(),
            source: SourceName::parse(source).unwrap(),
            ttl: None,
            kind: ViewKind::Aggregates(Aggregates::new(hop, list).unwrap()),
            notes: Notes::default(),
        };
        self.definitions.views.insert(view.name.clone(), view);
        self
    }

    /// Reads a feature from a column of another name.
    pub(crate) fn rename_feature(&mut self, view: &str, feature: &str, column: &str) -> &mut Self {
        let view = self.definitions.views.get_mut(view).unwrap();
        let ViewKind::Features(features) = &mut view.kind else {
            panic!("a view of features");
        };
        let feature = features.iter_mut().find(|other| other.name.as_str() == feature);
        feature.unwrap().column = Some(column.into());
        self
    }

    pub(crate) fn plan(&self, features: &[&str]) -> ReadPlan {
        ReadPlan::of_features(&self.definitions, features.iter().copied()).unwrap()
    }

    /// The plan of whole views, each under a prefix and with its keys mapped where they are given.
    pub(crate) fn plan_of(&self, entries: &[Entry<'_>]) -> ReadPlan {
        let entries: Vec<FrozenEntry> = entries
            .iter()
            .map(|entry| FrozenEntry {
                entry: ServiceEntry {
                    view: ViewName::parse(entry.view).unwrap(),
                    select: Select::All,
                    keys: entry.keys.clone(),
                    prefix: entry.prefix.map(|prefix| Prefix::parse(prefix).unwrap()),
                },
                features: match entry.features {
                    [] => self.definitions.views[entry.view]
                        .features()
                        .iter()
                        .map(|feature| feature.name.clone())
                        .collect(),
                    named => named
                        .iter()
                        .map(|name| FeatureName::parse(name).unwrap())
                        .collect(),
                },
            })
            .collect();
        ReadPlan::of_entries(&self.definitions, &entries).unwrap()
    }

    pub(crate) fn engine(&self) -> Engine {
        self.engine_with(self.options)
    }

    pub(crate) fn engine_with(&self, options: EngineOptions) -> Engine {
        Engine::open(self.directory.path(), Path::new(".asof/offline"), &[], options).unwrap()
    }

    pub(crate) async fn extract(
        &self,
        plan: &ReadPlan,
        spine: &Path,
        out: &Path,
        ask: &Ask,
    ) -> Result<ExtractSummary, OfflineError> {
        extract(&self.engine(), plan, spine, out, ask).await
    }

    pub(crate) async fn ingest(
        &self,
        source: &str,
        files: &[PathBuf],
        id: Option<&str>,
    ) -> Result<Ingested, OfflineError> {
        ingest(&self.engine(), &self.definitions.sources[source], files, id).await
    }

    /// Compacts a source for the keys that it is asked by, into files of about so many bytes.
    pub(crate) async fn compact(
        &self,
        source: &str,
        keys: &[&[&str]],
        file_bytes: u64,
    ) -> Result<Compacted, OfflineError> {
        let owned = |keys: &&[&str]| keys.iter().map(ToString::to_string).collect();
        let keys: Vec<Vec<String>> = keys.iter().map(owned).collect();
        compact(
            &self.engine(),
            &self.definitions.sources[source],
            &keys,
            file_bytes,
        )
        .await
    }
}

pub(crate) async fn extract(
    engine: &Engine,
    plan: &ReadPlan,
    spine: &Path,
    out: &Path,
    ask: &Ask,
) -> Result<ExtractSummary, OfflineError> {
    let rows = Rows::Spine {
        path: spine,
        time_column: &ask.time_column,
        timezone: ask.timezone,
    };
    extract_rows(engine, plan, rows, out, ask).await
}

pub(crate) async fn extract_rows(
    engine: &Engine,
    plan: &ReadPlan,
    rows: Rows<'_>,
    out: &Path,
    ask: &Ask,
) -> Result<ExtractSummary, OfflineError> {
    let target = Target {
        path: out,
        overwrite: ask.overwrite,
    };
    let request = ExtractRequest {
        plan,
        origin: Origin {
            project: "proof".into(),
            registry_version: 1,
            definitions_digest: "sha256:00".into(),
            service: None,
        },
        rows,
        as_corrected: ask.as_corrected,
        status: ask.status,
        clock: &FixedClock(Timestamp::EPOCH),
        progress: std::sync::Arc::new(Silent),
    };
    Ok(engine.extract(request, target).await?.summary)
}

pub(crate) async fn ingest(
    engine: &Engine,
    source: &Source,
    files: &[PathBuf],
    id: Option<&str>,
) -> Result<Ingested, OfflineError> {
    engine
        .ingest(IngestRequest {
            source,
            files,
            id,
            at: Timestamp::EPOCH,
        })
        .await
}

pub(crate) async fn compact(
    engine: &Engine,
    source: &Source,
    keys: &[Vec<String>],
    file_bytes: u64,
) -> Result<Compacted, OfflineError> {
    let request = CompactRequest {
        source,
        keys,
        file_bytes,
        at: Timestamp::EPOCH,
    };
    engine.compact(request).await
}

/// A view in a plan.
#[derive(Default)]
pub(crate) struct Entry<'a> {
    pub(crate) view: &'a str,
    pub(crate) keys: BTreeMap<String, String>,
    pub(crate) prefix: Option<&'a str>,
    /// All of them where none is named.
    pub(crate) features: &'a [&'a str],
}

fn feature(name: &str, data_type: &str) -> Feature {
    Feature {
        name: FeatureName::parse(name).unwrap(),
        data_type: DataType::parse(data_type).unwrap(),
        column: None,
        description: None,
    }
}

/// What is computed of a column, or of events, over some windows.
pub(crate) fn aggregate(column: Option<(&str, &str)>, functions: &[Function], windows: &[&str]) -> Aggregate {
    Aggregate {
        name: None,
        input: column.map(|(column, _)| InputText::Column(column.into())),
        input_type: DataType::parse(column.map_or("bool", |(_, data_type)| data_type)).unwrap(),
        functions: functions.to_vec(),
        windows: windows
            .iter()
            .map(|window| NamedWindow::parse(window).unwrap())
            .collect(),
        filter: None,
        description: None,
    }
}

/// A source read in place by `path`, with event time `at`.
pub(crate) fn in_place(name: &str, path: &str) -> Source {
    Source {
        name: SourceName::parse(name).unwrap(),
        location: Location::InPlace { path: path.into() },
        event_time: "at".into(),
        created_time: None,
        timezone: None,
        dates: None,
        deleted: None,
        sql: None,
        notes: Notes::default(),
    }
}

/// A managed source with event time `at`.
pub(crate) fn managed(name: &str, schema: &[(&str, &str)], event_id: Option<&str>) -> Source {
    Source {
        location: Location::Managed {
            schema: schema
                .iter()
                .map(|(name, data_type)| ((*name).to_owned(), DataType::parse(data_type).unwrap()))
                .collect(),
            event_id: event_id.map(str::to_owned),
            stream: None,
        },
        ..in_place(name, "")
    }
}

/// A batch of nullable columns.
pub(crate) fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(name, array)| Field::new(*name, array.data_type().clone(), true))
        .collect();
    let arrays = columns.into_iter().map(|(_, array)| array).collect();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).unwrap()
}

pub(crate) fn write_parquet(path: &Path, batch: &RecordBatch) {
    write_parquet_groups(path, batch, 1 << 20);
}

/// Writes Parquet in row groups of so many rows.
pub(crate) fn write_parquet_groups(path: &Path, batch: &RecordBatch, group: usize) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let properties = WriterProperties::builder()
        .set_max_row_group_row_count(Some(group))
        .build();
    let file = std::fs::File::create(path).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).unwrap();
    writer.write(batch).unwrap();
    writer.close().unwrap();
}

pub(crate) fn write_csv(path: &Path, batch: &RecordBatch) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut writer = arrow::csv::Writer::new(std::fs::File::create(path).unwrap());
    writer.write(batch).unwrap();
}

pub(crate) fn write_arrow(path: &Path, batch: &RecordBatch) {
    let file = std::fs::File::create(path).unwrap();
    let mut writer = arrow::ipc::writer::FileWriter::try_new(file, &batch.schema()).unwrap();
    writer.write(batch).unwrap();
    writer.finish().unwrap();
}

/// All rows of a dataset in Parquet or Arrow, as one batch.
pub(crate) fn read(path: &Path) -> RecordBatch {
    let file = std::fs::File::open(path).unwrap();
    let (schema, batches): (SchemaRef, Vec<RecordBatch>) = if path.extension().unwrap() == "parquet" {
        let builder = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap();
        let schema = Arc::clone(builder.schema());
        (schema, builder.build().unwrap().map(Result::unwrap).collect())
    } else {
        let reader = arrow::ipc::reader::FileReader::try_new(file, None).unwrap();
        (reader.schema(), reader.map(Result::unwrap).collect())
    };
    arrow::compute::concat_batches(&schema, &batches).unwrap()
}

/// The column of a batch.
pub(crate) fn column(batch: &RecordBatch, name: &str) -> ArrayRef {
    Arc::clone(
        batch
            .column_by_name(name)
            .unwrap_or_else(|| panic!("no column {name:?} in {:?}", batch.schema())),
    )
}

/// Whether two arrays hold the same values, bit for bit, in one type.
pub(crate) fn same(a: &ArrayRef, b: &ArrayRef) -> bool {
    a.len() == b.len() && a.data_type() == b.data_type() && a.to_data() == b.to_data()
}
