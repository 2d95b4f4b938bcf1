//! The addresses, schemas and rows that the suite is made of, and what a read of one row finds.

use std::sync::Arc;

use arrow_array::{ArrayRef, Int64Array};

use crate::data_type::{DataType, KeyType};
use crate::definition::StoredShape;
use crate::key::{EntityKey, KeyValue, encode};
use crate::name::{EntityName, ProjectName, ViewName};
use crate::online::{
    Generation, GenerationState, LoadRows, OnlineRow, OnlineStore, SortedRows, StoreError, ViewAddress,
    ViewSlot,
};
use crate::order::RowOrder;
use crate::row::{RowEncoder, RowField, RowSchema};
use crate::time::Timestamp;

pub(super) const NOW: Timestamp = Timestamp::from_micros(1_000);
pub(super) const NOTHING: Answer = (None, false);

/// The address of a view of project `p`.
pub fn address(entity: &str, key_type: &str, view: &str) -> ViewAddress {
    ViewAddress {
        project: ProjectName::parse("p").unwrap(),
        entity: EntityName::parse(entity).unwrap(),
        key_types: vec![KeyType::parse(key_type).unwrap()],
        view: ViewName::parse(view).unwrap(),
    }
}

/// The shape of a view whose rows come from `source`.
pub fn shape(source: &str) -> StoredShape {
    StoredShape {
        rows: format!("source {source}"),
        features: vec!["nonce int64 \"nonce\"".into()],
        tiles: None,
    }
}

/// The schema of the rows that [`row`] makes: one `int64`.
pub fn schema() -> RowSchema {
    RowSchema {
        fields: vec![RowField {
            name: "nonce".into(),
            data_type: DataType::Int64,
        }],
    }
}

/// The key of one text.
pub fn key(text: &str) -> EntityKey {
    encode(&[Some(KeyValue::String(text.into()))]).unwrap()
}

/// The place `(event, created, seq)`, times in microseconds.
pub fn order(event: i64, created: i64, seq: u64) -> RowOrder {
    RowOrder {
        event_time: Timestamp::from_micros(event),
        created_time: Timestamp::from_micros(created),
        seq,
    }
}

/// A row of `key` at `order` that holds `nonce`.
pub fn row(key: &EntityKey, order: RowOrder, nonce: i64) -> OnlineRow {
    let column: ArrayRef = Arc::new(Int64Array::from(vec![nonce]));
    let mut bytes = Vec::new();
    RowEncoder::try_new(&schema(), 0, &[column])
        .unwrap()
        .encode(0, order, false, &mut bytes);
    OnlineRow {
        key: key.clone(),
        order,
        bytes,
    }
}

/// Rows to be loaded.
pub fn sorted(rows: &[OnlineRow]) -> SortedRows {
    let mut gathered = LoadRows::default();
    for row in rows {
        gathered.push(
            row.order,
            |bytes| bytes.extend_from_slice(row.key.as_bytes()),
            |bytes| bytes.extend_from_slice(&row.bytes),
        );
    }
    gathered.sort()
}

/// The nonce in the body of a row that [`row`] made.
pub fn nonce(body: &[u8]) -> i64 {
    // A bitmap of one byte, then the value.
    i64::from_le_bytes(body[1..].try_into().unwrap())
}

/// The nonce of the winner, if any, and whether something is held back.
pub type Answer = (Option<i64>, bool);

/// What a read of one key in one view finds.
pub fn read_one(
    store: &dyn OnlineStore,
    slot: ViewSlot,
    generation: Generation,
    key: &EntityKey,
    at: i64,
) -> Result<Answer, StoreError> {
    let mut answers = Vec::new();
    let at = Timestamp::from_micros(at);
    store.read(
        slot.entity,
        key,
        &[(slot.view, generation)],
        at,
        &mut |_, found| {
            answers.push((found.winner.map(|row| nonce(row.body)), found.held_back));
            Ok(())
        },
    )?;
    assert_eq!(answers.len(), 1, "one visit for one view");
    Ok(answers[0])
}

/// A state in which every field differs from that of a generation that was just begun.
pub(super) fn evolved_state(generation: Generation) -> GenerationState {
    let mut wider = schema();
    wider.fields.push(RowField {
        name: "odd \"name\"".into(),
        data_type: DataType::parse("list<struct<\"a b\": decimal(10,2), c: map<string,embedding(3)>>>")
            .unwrap(),
    });
    GenerationState {
        generation,
        shape: StoredShape {
            rows: "source v\nsql Some(\"select \\u{1} from 'ü'\")".into(),
            features: vec![String::new(), "x".into()],
            tiles: None,
        },
        schemas: vec![schema(), wider],
        as_of: Some(Timestamp::from_micros(-5)),
        progress: (0..=255).collect(),
        reclaimed: Some(Timestamp::from_micros(-70)),
        layers: Vec::new(),
    }
}
