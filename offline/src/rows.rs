//! The rows of a source as the contract sees them: key, place in the total order, features.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, UInt32Array, new_empty_array};
use datafusion::arrow::datatypes::{DataType as ArrowType, Int64Type, SchemaRef, TimestampMicrosecondType};
use futures::{Stream, StreamExt};

use asof_core::data_type::KeyType;
use asof_core::definition::{BoundView, Location};
use asof_core::key::{EntityKey, KeyColumns};
use asof_core::order::{RowOrder, file_seq};
use asof_core::time::Timestamp;
use asof_expr::{BoundSql, SourceSql};

use crate::column::{self, ColumnError};
use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::managed::{KNOWN, SEQ};
use crate::snapshot::{Kind, Snapshot};
use crate::time_column::{Side, TimeColumnError, TimeRules, instants};

/// A batch of a source's rows.
#[derive(Debug, Clone)]
pub struct SourceRows {
    /// Which of the snapshot's files they come from.
    pub file: usize,
    /// The entity keys.
    pub keys: KeyColumns,
    /// The rows that count: those with a whole key and an event time.
    pub heads: Vec<RowHead>,
    /// The features of the view, in its order, as their declared types.
    pub features: Vec<ArrayRef>,
    /// How many rows were skipped because their key or event time is null.
    pub skipped: u64,
    /// The event ids of all rows of the file's batch, where the source has event ids.
    pub(crate) events: Option<Events>,
}

/// The event ids of a batch, before `sql` and before rows are skipped: such a row uses up its id, too.
#[derive(Debug, Clone)]
pub(crate) struct Events {
    /// Per row of the file's batch its id, or `None` where it is null.
    pub(crate) ids: Vec<Option<EntityKey>>,
    /// Per head its row in `ids`.
    pub(crate) rows: Vec<usize>,
}

/// One row of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RowHead {
    /// Its number in the batch's arrays.
    pub row: usize,
    /// Its place in the total order.
    pub order: RowOrder,
    /// Whether it says that there is nothing any more.
    pub deleted: bool,
}

/// Reads the rows of one view out of a snapshot of its source.
#[derive(Debug)]
pub struct RowReader {
    bound: BoundView,
    sql: Option<BoundSql>,
    /// The columns to read from the files.
    columns: Vec<String>,
    /// The columns that `sql` reads are the first so many.
    sql_columns: usize,
    /// The columns after `sql`.
    places: Places,
    key_types: Vec<KeyType>,
    rules: TimeRules,
    event_id: Option<(String, KeyType)>,
}

/// Where in the batch, after `sql`, the columns stand that the contract needs.
#[derive(Debug)]
struct Places {
    keys: Vec<usize>,
    event_time: usize,
    created_time: Option<usize>,
    deleted: Option<usize>,
    features: Vec<usize>,
}

impl RowReader {
    /// Binds a view to the schema of its source; whatever does not fit is found here.
    pub fn bind(bound: &BoundView, snapshot: &Snapshot) -> Result<Self> {
        let source = &bound.source;
        let visible = snapshot.visible_schema();
        let sql = source
            .sql
            .as_deref()
            .map(|text| bind_sql(source.name.as_str(), text, &visible))
            .transpose()?;
        let schema = sql
            .as_ref()
            .map_or_else(|| Arc::clone(&visible), BoundSql::schema);
        let finder = Finder {
            bound,
            snapshot,
            schema: &schema,
        };
        let mut places = finder.places()?;
        finder.check_types(&places)?;
        let mut columns: Vec<String> = match &sql {
            Some(sql) => names(&visible, sql.input_columns()),
            None => places.project(&schema),
        };
        let sql_columns = columns.len();
        let event_id = event_id(source)?;
        if matches!(snapshot.kind, Kind::Managed(_)) {
            columns.extend([SEQ.to_owned(), KNOWN.to_owned()]);
            // Ids are looked at before `sql`: an event that it filters out still uses up its id.
            columns.extend(
                event_id
                    .iter()
                    .map(|(name, _)| name.clone())
                    .filter(|name| !columns.contains(name))
                    .collect::<Vec<_>>(),
            );
        }
        Ok(Self {
            bound: bound.clone(),
            sql,
            columns,
            sql_columns,
            places,
            key_types: bound.entity.keys.iter().map(|key| key.key_type.clone()).collect(),
            rules: TimeRules {
                zone: source.timezone,
                dates: source.dates,
                side: Side::Source,
            },
            event_id,
        })
    }

    /// Whether files have to be read one after the other, in order: an event id counts where it stands
    /// first.
    pub fn needs_order(&self) -> bool {
        self.event_id.is_some()
    }

    /// The rows of one file, from its first to its last.
    pub async fn read_file<'a>(
        &'a self,
        engine: &Engine,
        snapshot: &'a Snapshot,
        file: usize,
    ) -> Result<impl Stream<Item = Result<SourceRows>> + Send + 'a> {
        let source_file = snapshot
            .files
            .get(file)
            .ok_or_else(|| OfflineError::Internal(format!("snapshot has no file {file}")))?;
        let place = format!("source {}: {}", snapshot.source, source_file.path);
        let stream = engine.open_file(snapshot, source_file, &self.columns).await?;
        let managed = matches!(snapshot.kind, Kind::Managed(_));
        let mut next_row: u64 = 0;
        Ok(stream.map(move |batch| {
            let batch = batch.map_err(|error| OfflineError::engine(&place, &error))?;
            let first_row = next_row;
            next_row += u64::try_from(batch.num_rows()).unwrap_or(0);
            self.rows(&batch, managed, file, first_row, &place)
        }))
    }

    fn rows(
        &self,
        batch: &RecordBatch,
        managed: bool,
        file: usize,
        first_row: u64,
        place: &str,
    ) -> Result<SourceRows> {
        let seqs = Seqs::of(batch, managed, file, first_row, place)?;
        let ids = self.ids(batch)?;
        let own: Vec<usize> = (0..self.sql_columns).collect();
        let batch = batch.project(&own)?;
        let (batch, kept) = self.evaluate(batch, place)?;
        let at = |row: usize| {
            first_row
                + kept
                    .as_ref()
                    .map_or(row as u64, |kept| u64::from(kept.value(row)))
        };
        let input_row = |row: usize| {
            kept.as_ref()
                .map_or(Some(row), |kept| usize::try_from(kept.value(row)).ok())
        };
        let column = |place: usize| Arc::clone(batch.column(place));

        let keys = self
            .places
            .keys
            .iter()
            .zip(&self.bound.entity.keys)
            .map(|(at_column, key)| {
                column::convert(&column(*at_column), key.key_type.data_type())
                    .map_err(|error| column_error(place, &key.name, &error, at))
            })
            .collect::<Result<Vec<_>>>()?;
        let keys = KeyColumns::try_new(&self.key_types, &keys)
            .map_err(|error| OfflineError::Internal(error.to_string()))?;
        let source = &self.bound.source;
        let event_times = instants(&column(self.places.event_time), self.rules)
            .map_err(|error| time_error(place, &source.event_time, &error, at))?;
        let created_times = match (self.places.created_time, &source.created_time) {
            (Some(at_column), Some(name)) => Some(
                instants(&column(at_column), self.rules)
                    .map_err(|error| time_error(place, name, &error, at))?,
            ),
            _ => None,
        };
        let features = self
            .places
            .features
            .iter()
            .zip(self.bound.view.features())
            .map(|(at_column, feature)| {
                column::convert(&column(*at_column), &feature.data_type)
                    .map_err(|error| column_error(place, feature.source_column(), &error, at))
            })
            .collect::<Result<Vec<_>>>()?;
        let deleted = self.places.deleted.map(column);
        let deleted = deleted.as_ref().and_then(|array| array.as_boolean_opt());

        let mut rows = SourceRows {
            file,
            keys,
            heads: Vec::new(),
            features,
            skipped: 0,
            events: None,
        };
        let mut event_rows = Vec::new();
        let mut scratch = Vec::new();
        for row in 0..batch.num_rows() {
            scratch.clear();
            let Some(event_time) = event_times.get(row).copied().flatten() else {
                rows.skipped += 1;
                continue;
            };
            if !rows.keys.write(row, &mut scratch) {
                rows.skipped += 1;
                continue;
            }
            let input = input_row(row).ok_or_else(|| OfflineError::Internal("row out of range".into()))?;
            let created = created_times
                .as_ref()
                .and_then(|times| times.get(row).copied().flatten());
            let order = RowOrder {
                event_time,
                created_time: created.or_else(|| seqs.known(input)).unwrap_or(event_time),
                seq: seqs.seq(input).ok_or_else(|| {
                    OfflineError::Data(format!(
                        "{place}: row {} has no place in the order of rows",
                        at(row)
                    ))
                })?,
            };
            let deleted = deleted.is_some_and(|array| column::is_true(array, row));
            rows.heads.push(RowHead { row, order, deleted });
            event_rows.push(input);
        }
        rows.events = ids.map(|ids| Events {
            ids: (0..ids.rows()).map(|row| ids.key(row)).collect(),
            rows: event_rows,
        });
        Ok(rows)
    }

    fn ids(&self, batch: &RecordBatch) -> Result<Option<KeyColumns>> {
        let Some((name, key_type)) = &self.event_id else {
            return Ok(None);
        };
        let lost = || OfflineError::Internal(format!("column {name:?} was not read"));
        let array = batch.column_by_name(name).ok_or_else(lost)?;
        let array = column::convert(array, key_type.data_type()).map_err(|_| lost())?;
        KeyColumns::try_new(std::slice::from_ref(key_type), &[array])
            .map(Some)
            .map_err(|_| lost())
    }

    fn evaluate(&self, batch: RecordBatch, place: &str) -> Result<(RecordBatch, Option<UInt32Array>)> {
        let Some(sql) = &self.sql else {
            return Ok((batch, None));
        };
        let evaluated = sql
            .evaluate(&batch)
            .map_err(|error| OfflineError::Data(format!("{place}: sql: {error}")))?;
        Ok((evaluated.batch, Some(evaluated.kept)))
    }
}

/// Finds the columns of a view in a schema, or says which is missing.
struct Finder<'a> {
    bound: &'a BoundView,
    snapshot: &'a Snapshot,
    schema: &'a SchemaRef,
}

impl Finder<'_> {
    fn places(&self) -> Result<Places> {
        let BoundView { view, entity, source } = self.bound;
        Ok(Places {
            keys: entity
                .keys
                .iter()
                .map(|key| self.find(&key.name, &format!("key of entity {}", entity.name)))
                .collect::<Result<_>>()?,
            event_time: self.find(&source.event_time, "event_time")?,
            created_time: source
                .created_time
                .as_ref()
                .map(|name| self.find(name, "created_time"))
                .transpose()?,
            deleted: source
                .deleted
                .as_ref()
                .map(|name| self.find(name, "deleted"))
                .transpose()?,
            features: view
                .features()
                .iter()
                .map(|feature| {
                    self.find(
                        feature.source_column(),
                        &format!("feature {}:{}", view.name, feature.name),
                    )
                })
                .collect::<Result<_>>()?,
        })
    }

    fn find(&self, name: &str, role: &str) -> Result<usize> {
        self.schema.index_of(name).map_err(|_| {
            let known: Vec<&str> = self
                .schema
                .fields()
                .iter()
                .map(|field| field.name().as_str())
                .collect();
            let nearest = asof_core::service::nearest(name, &known);
            OfflineError::Definition(format!(
                "source {}: there is no column {name:?} ({role}){}; the columns are {}",
                self.snapshot.source,
                asof_core::service::did_you_mean(&nearest),
                known.join(", ")
            ))
        })
    }

    fn check_types(&self, places: &Places) -> Result<()> {
        let BoundView { view, entity, source } = self.bound;
        for (place, key) in places.keys.iter().zip(&entity.keys) {
            self.check(*place, &key.name, key.key_type.data_type())?;
        }
        for (place, feature) in places.features.iter().zip(view.features()) {
            self.check(*place, feature.source_column(), &feature.data_type)?;
        }
        let times = std::iter::once((places.event_time, &source.event_time));
        for (place, name) in times.chain(places.created_time.zip(source.created_time.as_ref())) {
            let rules = TimeRules {
                zone: source.timezone,
                dates: source.dates,
                side: Side::Source,
            };
            instants(&new_empty_array(self.schema.field(place).data_type()), rules)
                .map_err(|error| self.wrong(name, &error.to_string()))?;
        }
        if let (Some(place), Some(name)) = (places.deleted, &source.deleted) {
            let found = self.schema.field(place).data_type();
            // A column of nothing but nulls may have no type.
            if !matches!(found, ArrowType::Boolean | ArrowType::Null) {
                return Err(self.wrong(name, &format!("is {found}: the deleted column is a bool")));
            }
        }
        Ok(())
    }

    fn check(&self, place: usize, name: &str, declared: &asof_core::data_type::DataType) -> Result<()> {
        column::check_type(self.schema.field(place).data_type(), declared)
            .map_err(|error| self.wrong(name, &error.to_string()))
    }

    fn wrong(&self, name: &str, what: &str) -> OfflineError {
        OfflineError::Definition(format!("source {}: column {name:?} {what}", self.snapshot.source))
    }
}

impl Places {
    /// Keeps only the columns that are needed, and points to their new places; returns their names.
    fn project(&mut self, schema: &SchemaRef) -> Vec<String> {
        let mut needed: Vec<usize> = self.all().map(|place| *place).collect();
        needed.sort_unstable();
        needed.dedup();
        for place in self.all() {
            *place = needed.binary_search(place).unwrap_or(0);
        }
        names(schema, &needed)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut usize> {
        self.keys
            .iter_mut()
            .chain(std::iter::once(&mut self.event_time))
            .chain(&mut self.created_time)
            .chain(&mut self.deleted)
            .chain(&mut self.features)
    }
}

fn names(schema: &SchemaRef, places: &[usize]) -> Vec<String> {
    places
        .iter()
        .map(|place| schema.field(*place).name().clone())
        .collect()
}

/// The column that identifies an event, with its type.
fn event_id(source: &asof_core::definition::Source) -> Result<Option<(String, KeyType)>> {
    let Location::Managed {
        schema,
        event_id: Some(name),
    } = &source.location
    else {
        return Ok(None);
    };
    let declared = schema
        .iter()
        .find(|(column, _)| column == name)
        .map(|(_, declared)| declared.clone());
    let wrong =
        |what: String| OfflineError::Definition(format!("source {}: event_id {name:?} {what}", source.name));
    let declared = declared.ok_or_else(|| wrong("is not a column of its schema".into()))?;
    let key_type = KeyType::try_from(declared).map_err(|error| wrong(error.to_string()))?;
    Ok(Some((name.clone(), key_type)))
}

fn bind_sql(source: &str, text: &str, schema: &SchemaRef) -> Result<BoundSql> {
    SourceSql::parse(text)
        .and_then(|sql| sql.bind(schema))
        .map_err(|error| OfflineError::Definition(format!("source {source}: sql: {error}")))
}

fn column_error(place: &str, column: &str, error: &ColumnError, at: impl Fn(usize) -> u64) -> OfflineError {
    let row = error
        .row()
        .map_or(String::new(), |row| format!(" (row {} of the file)", at(row)));
    OfflineError::Data(format!("{place}: column {column:?} {error}{row}"))
}

fn time_error(place: &str, column: &str, error: &TimeColumnError, at: impl Fn(usize) -> u64) -> OfflineError {
    let row = error
        .row()
        .map_or(String::new(), |row| format!(" (row {} of the file)", at(row)));
    OfflineError::Data(format!("{place}: column {column:?} {error}{row}"))
}

/// The order of acceptance of a batch's rows: stored with the row in managed tables, the place in the
/// file elsewhere.
enum Seqs {
    Stored { seqs: ArrayRef, known: ArrayRef },
    Places { file: usize, first_row: u64 },
}

impl Seqs {
    fn of(batch: &RecordBatch, managed: bool, file: usize, first_row: u64, place: &str) -> Result<Self> {
        if !managed {
            return Ok(Self::Places { file, first_row });
        }
        let column = |name: &str| {
            batch
                .column_by_name(name)
                .cloned()
                .ok_or_else(|| OfflineError::Data(format!("{place}: the table has lost its column {name}")))
        };
        Ok(Self::Stored {
            seqs: column(SEQ)?,
            known: column(KNOWN)?,
        })
    }

    fn seq(&self, row: usize) -> Option<u64> {
        match self {
            Self::Stored { seqs, .. } => {
                let seqs = seqs.as_primitive_opt::<Int64Type>()?;
                if seqs.is_null(row) {
                    None
                } else {
                    u64::try_from(seqs.value(row)).ok()
                }
            }
            Self::Places { file, first_row } => file_seq(*file, first_row + row as u64),
        }
    }

    fn known(&self, row: usize) -> Option<Timestamp> {
        match self {
            Self::Stored { known, .. } => {
                let known = known.as_primitive_opt::<TimestampMicrosecondType>()?;
                (!known.is_null(row)).then(|| Timestamp::from_micros(known.value(row)))
            }
            Self::Places { .. } => None,
        }
    }
}
