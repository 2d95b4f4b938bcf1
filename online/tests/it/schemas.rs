//! I9: every stored row is read through the schema that wrote it.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef, Float64Array, Int64Array, StringArray};
use asof_core::data_type::DataType;
use asof_core::key::EntityKey;
use asof_core::online::conformance::{address, key, order, shape};
use asof_core::online::{Generation, OnlineRow, OnlineStore, ViewSlot};
use asof_core::row::{Layout, Packer, RowDecoder, RowEncoder, RowField, RowSchema};
use asof_core::time::Timestamp;

use crate::harness;

const NOW: Timestamp = Timestamp::from_micros(100);

fn schema(fields: &[(&str, DataType)]) -> RowSchema {
    let field = |(name, data_type): &(&str, DataType)| RowField {
        name: (*name).into(),
        data_type: data_type.clone(),
    };
    RowSchema {
        fields: fields.iter().map(field).collect(),
    }
}

fn write(store: &dyn OnlineStore, slot: ViewSlot, version: usize, key: &EntityKey, columns: &[ArrayRef]) {
    let state = store.view_state(slot).unwrap().serving.unwrap();
    let order = order(1, 1, 1);
    let mut bytes = Vec::new();
    RowEncoder::try_new(&state.schemas[version], version as u32, columns)
        .unwrap()
        .encode(0, order, false, &mut bytes);
    let row = OnlineRow {
        key: key.clone(),
        order,
        bytes,
    };
    store
        .write(slot, state.generation, NOW, &[row], Some(&state))
        .unwrap();
}

fn read(
    store: &dyn OnlineStore,
    slot: ViewSlot,
    generation: Generation,
    key: &EntityKey,
    wanted: &RowSchema,
) -> Vec<ArrayRef> {
    let schemas = store.view_state(slot).unwrap().serving.unwrap().schemas;
    let layout = Layout::of(wanted.fields.iter().map(|field| &field.data_type));
    let columns: Vec<_> = (0..wanted.fields.len()).collect();
    let mut packer = Packer::new(&layout, 1);
    store
        .read(
            slot.entity,
            key,
            &[(slot.view, generation)],
            NOW,
            &mut |_, found| {
                let row = found.winner.unwrap();
                let written = &schemas[row.schema_version as usize];
                RowDecoder::try_new(written, wanted, &layout, &columns)
                    .unwrap()
                    .decode(row.body, 0, &mut packer)
                    .unwrap();
                Ok(())
            },
        )
        .unwrap();
    let packed = packer.finish().unwrap();
    columns
        .into_iter()
        .map(|column| packed.array(&layout, column).unwrap())
        .collect()
}

#[test]
fn rows_of_an_older_schema_are_read_after_a_newer_one_is_added() {
    let directory = tempfile::tempdir().unwrap();
    let store = harness::open(directory.path()).unwrap();
    let v0 = schema(&[("n", DataType::Int64), ("gone", DataType::String)]);
    let v1 = schema(&[("x", DataType::Float64), ("n", DataType::Int64)]);
    let slot = store.open_view(&address("a", "string", "v")).unwrap();
    let generation = store.begin_generation(slot, shape("v"), v0).unwrap();
    store.serve(slot, generation).unwrap();

    let text: ArrayRef = Arc::new(StringArray::from(vec!["old"]));
    write(
        &store,
        slot,
        0,
        &key("old"),
        &[Arc::new(Int64Array::from(vec![7])), text],
    );
    let mut state = store.view_state(slot).unwrap().serving.unwrap();
    state.schemas.push(v1.clone());
    store.write(slot, generation, NOW, &[], Some(&state)).unwrap();
    let x: ArrayRef = Arc::new(Float64Array::from(vec![0.5]));
    write(
        &store,
        slot,
        1,
        &key("new"),
        &[x, Arc::new(Int64Array::from(vec![8]))],
    );

    drop(store);
    let store = harness::open(directory.path()).unwrap();
    let check = |text: &str, x: Option<f64>, n: i64| {
        let columns = read(&store, slot, generation, &key(text), &v1);
        let found = columns[0].as_primitive::<Float64Type>();
        assert_eq!(found.is_valid(0).then(|| found.value(0)), x, "{text}");
        assert_eq!(columns[1].as_primitive::<Int64Type>().value(0), n, "{text}");
    };
    check("old", None, 7);
    check("new", Some(0.5), 8);
}
