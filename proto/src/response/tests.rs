use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Float64Array, Int32Array, Int64Array, StringArray};
use asof_core::data_type::DataType;
use asof_core::order::RowOrder;
use asof_core::row::{Layout, Packer, RowDecoder, RowEncoder, RowField, RowSchema, StoredRow};
use asof_core::time::Timestamp;
use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage, Value};

use super::{GetFeaturesResponse, schema};

/// The answer that is written by hand is, on the wire, the message of its name.
#[test]
fn answers_are_what_the_proto_says() {
    // Two positions of which the second lacks a value, of a type of each list.
    let columns: [(&str, ArrayRef); 6] = [
        ("bool", Arc::new(BooleanArray::from(vec![true, true]))),
        ("int32", Arc::new(Int32Array::from(vec![-7, 8]))),
        ("int64", Arc::new(Int64Array::from(vec![-9, 1 << 40]))),
        ("float64", Arc::new(Float64Array::from(vec![Some(0.5), None]))),
        ("float64", Arc::new(Float64Array::from(vec![1.5, f64::INFINITY]))),
        ("string", Arc::new(StringArray::from(vec!["ü", "ab"]))),
    ];
    let fields = columns.iter().enumerate().map(|(at, (data_type, _))| RowField {
        name: format!("f{at}"),
        data_type: DataType::parse(data_type).unwrap(),
    });
    let row_schema = RowSchema {
        fields: fields.collect(),
    };
    let layout = Layout::of(row_schema.fields.iter().map(|field| &field.data_type));
    let decoder = RowDecoder::try_new(&row_schema, &row_schema, &layout, &[0, 1, 2, 3, 4, 5]).unwrap();
    let arrays = columns.map(|(_, array)| array);
    let encoder = RowEncoder::try_new(&row_schema, 0, &arrays).unwrap();
    let order = RowOrder {
        event_time: Timestamp::EPOCH,
        created_time: Timestamp::EPOCH,
        seq: 1,
    };
    let mut packer = Packer::new(&layout, 2);
    for position in 0..2 {
        let mut row = Vec::new();
        encoder.encode(position, order, false, &mut row);
        let body = StoredRow::parse(&row).unwrap().body;
        decoder.decode(body, position, &mut packer).unwrap();
    }
    let names = row_schema.fields.iter().map(|field| (field.name.as_str(), 0));
    let views = std::iter::once(crate::v1::ViewField {
        view: "v".into(),
        prefix: String::new(),
    });
    let answer = GetFeaturesResponse {
        schema: schema(&layout, names, views),
        event_times_micros: [5_i64, -6].map(i64::to_le_bytes).concat().into(),
        materialized_to_micros: 7_i64.to_le_bytes().to_vec().into(),
        service: "s".into(),
        service_version: 2,
        registry_version: 3,
        as_of_micros: -4,
        ..GetFeaturesResponse::of(packer.finish().unwrap(), &layout).unwrap()
    };

    let pool = DescriptorPool::decode(crate::DESCRIPTOR_SET).unwrap();
    let message = pool.get_message_by_name("asof.v1.GetFeaturesResponse").unwrap();
    let read = DynamicMessage::decode(message, answer.encode_to_vec().as_slice()).unwrap();
    let field = |name: &str| read.get_field_by_name(name).unwrap().into_owned();
    let list = |values: &[Value]| Value::List(values.to_vec());
    assert_eq!(field("rows"), Value::U32(2));
    assert_eq!(
        field("statuses"),
        Value::Bytes(vec![1, 1, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1].into())
    );
    assert_eq!(field("bools"), list(&[true, true].map(Value::Bool)));
    assert_eq!(field("int32s"), list(&[-7, 8].map(Value::I32)));
    assert_eq!(field("int64s"), list(&[-9, 1 << 40].map(Value::I64)));
    assert_eq!(
        field("float64s"),
        list(&[0.5, 0.0, 1.5, f64::INFINITY].map(Value::F64))
    );
    assert_eq!(field("lengths"), list(&[2, 2].map(Value::U32)));
    assert_eq!(field("data"), Value::Bytes("üab".as_bytes().to_vec().into()));
    assert_eq!(field("event_times_micros"), list(&[5, -6].map(Value::I64)));
    assert_eq!(field("materialized_to_micros"), list(&[Value::I64(7)]));
    assert_eq!(field("service"), Value::String("s".into()));
    assert_eq!(field("service_version"), Value::U64(2));
    assert_eq!(field("registry_version"), Value::U64(3));
    assert_eq!(field("as_of_micros"), Value::I64(-4));
    let Value::Message(schema) = field("schema") else {
        panic!("the schema is a message");
    };
    let features = schema.get_field_by_name("features").unwrap().into_owned();
    let features: Vec<_> = features.as_list().unwrap().iter().collect();
    let last = features[4].as_message().unwrap();
    let of = |name: &str| last.get_field_by_name(name).unwrap().into_owned();
    assert_eq!(
        (of("name"), of("place")),
        (Value::String("f4".into()), Value::U32(1))
    );
    assert_eq!(read.unknown_fields().count(), 0);

    // And back.
    let again = GetFeaturesResponse::decode(read.encode_to_vec().as_slice()).unwrap();
    let features = again.features().unwrap();
    assert_eq!(again.event_times(0).collect::<Vec<_>>(), [Some(5), Some(-6)]);
    for (feature, array) in features.iter().zip(&arrays) {
        assert_eq!(&feature.array, array);
    }
}

#[test]
fn what_does_not_fit_is_refused_and_takes_no_room() {
    let answer = |types: &[&str]| {
        let types: Vec<_> = types.iter().map(|name| DataType::parse(name).unwrap()).collect();
        let layout = Layout::of(&types);
        let names: Vec<_> = (0..types.len()).map(|at| format!("f{at}")).collect();
        let views = std::iter::once(crate::v1::ViewField::default());
        GetFeaturesResponse {
            schema: schema(&layout, names.iter().map(|name| (name.as_str(), 0)), views),
            ..GetFeaturesResponse::default()
        }
    };
    let refused = |answer: GetFeaturesResponse| answer.features().unwrap_err().to_string();
    // As many rows as there can be, and nothing of them.
    let many = ["bool", "float64", "string", "list<int64>"].repeat(250);
    let huge = GetFeaturesResponse {
        rows: u32::MAX,
        ..answer(&many)
    };
    assert_eq!(
        refused(huge),
        "bools: has 0 elements or bytes where 1073741823750 are expected"
    );
    let short = GetFeaturesResponse {
        rows: 1,
        float64s: vec![0; 7].into(),
        ..answer(&["float64"])
    };
    assert_eq!(
        refused(short),
        "float64s: has 7 elements or bytes where 8 are expected"
    );
    let unknown = GetFeaturesResponse {
        rows: 1,
        float64s: vec![0; 8].into(),
        statuses: vec![9].into(),
        ..answer(&["float64"])
    };
    assert_eq!(
        refused(unknown),
        "statuses: has 0 elements or bytes where 1 are expected"
    );
    let not_utf8 = GetFeaturesResponse {
        rows: 1,
        lengths: 1_u32.to_le_bytes().to_vec().into(),
        data: vec![0xff].into(),
        ..answer(&["string"])
    };
    assert_eq!(
        refused(not_utf8),
        "f0: is of no known type, or its values are not"
    );
    let no_view = GetFeaturesResponse {
        schema: crate::v1::FeatureSchema {
            features: vec![crate::v1::FeatureField {
                r#type: "bool".into(),
                ..Default::default()
            }],
            views: Vec::new(),
        }
        .encode_to_vec()
        .into(),
        ..GetFeaturesResponse::default()
    };
    assert_eq!(
        refused(no_view),
        "schema.features[0].view: is not where the features before it say, or is of no view of the answer"
    );
}
