//! The shapes in which the catalogue is stored: JSON, apart from the types they stand for.
//!
//! A field that is unknown is refused rather than lost; what changes a shape makes a new format number
//! of the store.

mod tiles;

use std::sync::Arc;

use asof_core::data_type::{DataType, KeyType};
use asof_core::definition::StoredShape;
use asof_core::name::{EntityName, ProjectName, ViewName};
use asof_core::online::{Generation, GenerationState, Layer, StoreError, ViewAddress, ViewSlot, ViewState};
use asof_core::row::{RowField, RowSchema};
use asof_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use self::tiles::DiskTiles;
use super::{Counters, Entity, View};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskCounters {
    next_entity: u32,
    next_view: u32,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskEntity {
    project: String,
    entity: String,
    key_types: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskView {
    entity_number: u32,
    of: DiskEntity,
    view: String,
    begun: u32,
    serving: Option<DiskGeneration>,
    building: Option<DiskGeneration>,
    /// Since format 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    kept: Option<DiskGeneration>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskGeneration {
    generation: u32,
    rows: String,
    features: Vec<String>,
    schemas: Vec<Vec<DiskField>>,
    as_of_micros: Option<i64>,
    progress: Vec<u8>,
    /// Since format 2.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reclaimed_micros: Option<i64>,
    /// Since format 4.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tiles: Option<DiskTiles>,
    /// Since format 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<DiskLayer>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskLayer {
    generation: u32,
    is_shown: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct DiskField {
    name: String,
    #[serde(rename = "type")]
    data_type: String,
}

pub(super) fn counters_bytes(counters: Counters) -> Result<Vec<u8>, StoreError> {
    let Counters {
        next_entity,
        next_view,
    } = counters;
    to_bytes(&DiskCounters {
        next_entity,
        next_view,
    })
}

pub(super) fn counters(bytes: &[u8]) -> Result<Counters, String> {
    let DiskCounters {
        next_entity,
        next_view,
    } = parse(bytes)?;
    Ok(Counters {
        next_entity,
        next_view,
    })
}

pub(super) fn entity_bytes(entity: &Entity) -> Result<Vec<u8>, StoreError> {
    to_bytes(&to_disk_entity(entity))
}

pub(super) fn entity(bytes: &[u8]) -> Result<Entity, String> {
    from_disk_entity(parse(bytes)?)
}

pub(super) fn view_bytes(view: &View) -> Result<Vec<u8>, StoreError> {
    to_bytes(&DiskView {
        entity_number: view.slot.entity,
        of: to_disk_entity(&Entity::of(&view.address)),
        view: view.address.view.to_string(),
        begun: view.begun,
        serving: view.state.serving.as_ref().map(to_disk_generation),
        building: view.state.building.as_ref().map(to_disk_generation),
        kept: view.state.kept.as_ref().map(to_disk_generation),
    })
}

pub(super) fn view(number: u32, bytes: &[u8]) -> Result<View, String> {
    let disk: DiskView = parse(bytes)?;
    let of = from_disk_entity(disk.of)?;
    Ok(View {
        address: ViewAddress {
            project: of.project,
            entity: of.entity,
            key_types: of.key_types,
            view: ViewName::parse(&disk.view).map_err(text)?,
        },
        slot: ViewSlot {
            entity: disk.entity_number,
            view: number,
        },
        begun: disk.begun,
        state: ViewState {
            serving: disk.serving.map(from_disk_generation).transpose()?,
            building: disk.building.map(from_disk_generation).transpose()?,
            kept: disk.kept.map(from_disk_generation).transpose()?,
        },
    })
}

fn to_disk_entity(entity: &Entity) -> DiskEntity {
    DiskEntity {
        project: entity.project.to_string(),
        entity: entity.entity.to_string(),
        key_types: entity
            .key_types
            .iter()
            .map(|key_type| key_type.data_type().to_string())
            .collect(),
    }
}

fn from_disk_entity(disk: DiskEntity) -> Result<Entity, String> {
    Ok(Entity {
        project: ProjectName::parse(&disk.project).map_err(text)?,
        entity: EntityName::parse(&disk.entity).map_err(text)?,
        key_types: disk
            .key_types
            .iter()
            .map(|key_type| KeyType::parse(key_type).map_err(text))
            .collect::<Result<_, _>>()?,
    })
}

fn to_disk_generation(state: &GenerationState) -> DiskGeneration {
    DiskGeneration {
        generation: state.generation.0,
        rows: state.shape.rows.clone(),
        features: state.shape.features.clone(),
        schemas: state.schemas.iter().map(to_disk_schema).collect(),
        as_of_micros: state.as_of.map(Timestamp::micros),
        progress: state.progress.clone(),
        reclaimed_micros: state.reclaimed.map(Timestamp::micros),
        tiles: state.shape.tiles.as_deref().map(DiskTiles::of),
        layers: state.layers.iter().map(to_disk_layer).collect(),
    }
}

fn from_disk_generation(disk: DiskGeneration) -> Result<GenerationState, String> {
    Ok(GenerationState {
        generation: Generation(disk.generation),
        shape: StoredShape {
            rows: disk.rows,
            features: disk.features,
            tiles: disk.tiles.map(DiskTiles::into_layout).transpose()?.map(Arc::new),
        },
        schemas: disk
            .schemas
            .into_iter()
            .map(from_disk_schema)
            .collect::<Result<_, _>>()?,
        as_of: disk.as_of_micros.map(Timestamp::from_micros),
        progress: disk.progress,
        reclaimed: disk.reclaimed_micros.map(Timestamp::from_micros),
        layers: disk.layers.into_iter().map(from_disk_layer).collect(),
    })
}

fn to_disk_layer(layer: &Layer) -> DiskLayer {
    DiskLayer {
        generation: layer.generation.0,
        is_shown: layer.is_shown,
    }
}

fn from_disk_layer(disk: DiskLayer) -> Layer {
    Layer {
        generation: Generation(disk.generation),
        is_shown: disk.is_shown,
    }
}

fn to_disk_schema(schema: &RowSchema) -> Vec<DiskField> {
    schema
        .fields
        .iter()
        .map(|field| DiskField {
            name: field.name.clone(),
            data_type: field.data_type.to_string(),
        })
        .collect()
}

fn from_disk_schema(fields: Vec<DiskField>) -> Result<RowSchema, String> {
    let field = |field: DiskField| {
        Ok(RowField {
            data_type: DataType::parse(&field.data_type).map_err(text)?,
            name: field.name,
        })
    };
    Ok(RowSchema {
        fields: fields.into_iter().map(field).collect::<Result<_, String>>()?,
    })
}

fn to_bytes(shape: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(shape).map_err(|error| StoreError::Failed {
        place: "the catalogue".into(),
        reason: error.to_string(),
    })
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(text)
}

fn text(error: impl std::error::Error) -> String {
    error.to_string()
}
