//! Where the columns of a view stand in its source, found and checked before anything is read.

use datafusion::arrow::array::new_empty_array;
use datafusion::arrow::datatypes::{DataType as ArrowType, SchemaRef};

use asof_core::definition::BoundView;

use crate::column;
use crate::error::{OfflineError, Result};
use crate::heads::time_rules;
use crate::inputs::ViewValues;
use crate::snapshot::Snapshot;
use crate::time_column::instants;

/// The places of the columns that a view needs, in the schema of its source after `sql`.
#[derive(Debug, Clone)]
pub(crate) struct ViewPlaces {
    pub(crate) keys: Vec<usize>,
    pub(crate) event_time: usize,
    pub(crate) created_time: Option<usize>,
    pub(crate) deleted: Option<usize>,
    pub(crate) values: ViewValues,
}

impl ViewPlaces {
    /// Finds the columns of a view, or says which is missing or of a type that does not fit.
    pub(crate) fn find(bound: &BoundView, snapshot: &Snapshot, schema: &SchemaRef) -> Result<Self> {
        let finder = Finder {
            bound,
            snapshot,
            schema,
        };
        let places = finder.places()?;
        finder.check_types(&places)?;
        Ok(places)
    }
}

/// Finds the columns of a view in a schema, or says which is missing.
struct Finder<'a> {
    bound: &'a BoundView,
    snapshot: &'a Snapshot,
    schema: &'a SchemaRef,
}

impl Finder<'_> {
    fn places(&self) -> Result<ViewPlaces> {
        let BoundView { entity, source, .. } = self.bound;
        Ok(ViewPlaces {
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
            values: self.values()?,
        })
    }

    fn values(&self) -> Result<ViewValues> {
        let view = &self.bound.view;
        if let Some(aggregates) = view.aggregates() {
            let find = |name: &str, role: &str| self.find(name, role);
            return ViewValues::of_inputs(self.bound, aggregates.inputs(), self.schema, find);
        }
        let features = view.features().iter().map(|feature| {
            let role = format!("feature {}:{}", view.name, feature.name);
            self.find(feature.source_column(), &role)
        });
        let places = features.collect::<Result<_>>()?;
        Ok(ViewValues::of_features(self.bound, places))
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

    fn check_types(&self, places: &ViewPlaces) -> Result<()> {
        let BoundView { view, entity, source } = self.bound;
        for (place, key) in places.keys.iter().zip(&entity.keys) {
            self.check(*place, &key.name, key.key_type.data_type())?;
        }
        if view.aggregates().is_none() {
            for ((place, _), feature) in places.values.plain().zip(view.features()) {
                self.check(place, feature.source_column(), &feature.data_type)?;
            }
        }
        let times = std::iter::once((places.event_time, &source.event_time));
        for (place, name) in times.chain(places.created_time.zip(source.created_time.as_ref())) {
            let none = new_empty_array(self.schema.field(place).data_type());
            instants(&none, time_rules(source)).map_err(|error| self.wrong(name, &error.to_string()))?;
        }
        if let (Some(place), Some(name)) = (places.deleted, &source.deleted) {
            let found = self.schema.field(place).data_type();
            // A column of nothing but nulls may have no type.
            if !matches!(found, ArrowType::Boolean | ArrowType::Null) {
                return Err(self.wrong(
                    name,
                    &format!("is {}: the deleted column is a bool", column::type_name(found)),
                ));
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
