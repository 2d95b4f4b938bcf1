//! Arrow data that was damaged at random: an error with words or an answer, whatever comes; and the server lives on.

use std::sync::Arc;
use std::time::Duration;

use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Decimal128Array, DictionaryArray, FixedSizeBinaryArray,
    Float64Array, Int32Array, Int64Array, ListArray, NullArray, RecordBatch, StringArray, StringViewArray,
    StructArray,
};
use arrow::datatypes::{DataType, Field, Int32Type};
use arrow_flight::FlightData;
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::json;
use tonic::{Code, Status};

use crate::flight::{client, exchange, messages, server, spine, table_or_nothing, times};
use crate::materialize_project::{Random, seeds};

/// How many uploads.
const UPLOADS: u64 = 1_000;
/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn no_damage_is_more_than_an_error() {
    let server = server().await;
    let client = client(&server).await;
    let commands = [
        json!({ "features": ["lasting:temp"] }),
        json!({ "features": ["lasting:temp"], "save": "damaged" }),
        json!({ "push": { "source": "clicks", "request_id": "damaged" } }),
        json!({ "ingest": { "source": "clicks" } }),
    ];
    let mut whole = Vec::new();
    for command in &commands {
        whole.push(messages(command, batches()).collect::<Vec<_>>().await);
    }
    let (mut answered, mut refused) = (0, 0);
    for seed in seeds(UPLOADS) {
        let mut random = Random::new(seed ^ 0xda_4a6e);
        let place = random.below(commands.len() as u64) as usize;
        let mut sent = whole[place].clone();
        for _ in 0..=random.below(3) {
            damage(&mut sent, &mut random);
        }
        let mut client = client.clone();
        let call = async {
            match commands[place].get("features") {
                Some(_) => {
                    let answer = client.do_exchange(stream::iter(sent)).await?.into_inner();
                    table_or_nothing(answer).await
                }
                None => {
                    let told = client.do_put(stream::iter(sent)).await?.into_inner();
                    told.try_collect::<Vec<_>>().await.map(drop)
                }
            }
        };
        let ended = tokio::time::timeout(PATIENCE, call).await;
        match ended.unwrap_or_else(|_| panic!("seed {seed} did not end")) {
            Ok(()) => answered += 1,
            Err(error) => {
                is_of_the_data(&error, seed);
                refused += 1;
            }
        }
    }
    println!("figure: of damaged uploads {answered} answered, {refused} refused");
    let command = json!({ "features": ["lasting:temp"] });
    exchange(&server, &command, vec![spine()]).await.unwrap();
}

/// A refusal that says what is wrong with what was sent, and no failure of the server.
fn is_of_the_data(error: &Status, seed: u64) {
    let of_the_data = matches!(
        error.code(),
        Code::InvalidArgument | Code::NotFound | Code::AlreadyExists | Code::ResourceExhausted
    );
    assert!(
        of_the_data && !error.message().is_empty(),
        "seed {seed}: {error:?}"
    );
}

/// Changes a message, or which there are.
fn damage(sent: &mut Vec<FlightData>, random: &mut Random) {
    if sent.is_empty() {
        return;
    }
    let place = random.below(sent.len() as u64) as usize;
    let other = random.below(sent.len() as u64) as usize;
    match random.below(10) {
        0 => drop(sent.remove(place)),
        1 => sent.swap(place, other),
        2 => {
            let again = sent[place].clone();
            sent.insert(other, again);
        }
        3 => sent[place].data_header = sent[other].data_header.clone(),
        4 => sent[place].data_body = sent[other].data_body.clone(),
        5 | 6 => {
            let body = sent[place].data_body.to_vec();
            sent[place].data_body = changed(body, random).into();
        }
        _ => {
            let header = sent[place].data_header.to_vec();
            sent[place].data_header = changed(header, random).into();
        }
    }
}

/// Bytes with some of them changed: one bit, a number that counts or points, or the end cut off.
fn changed(mut bytes: Vec<u8>, random: &mut Random) -> Vec<u8> {
    if bytes.is_empty() {
        return vec![0; random.below(64) as usize];
    }
    let at = random.below(bytes.len() as u64) as usize;
    match random.below(4) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes.truncate(at),
        _ => {
            let numbers = [0, 1, -1, i32::MAX, i32::MIN, 1 << 20, 1 << 30];
            let number: i32 = numbers[random.below(numbers.len() as u64) as usize];
            let start = at / 4 * 4;
            for (byte, new) in bytes.iter_mut().skip(start).zip(number.to_le_bytes()) {
                *byte = new;
            }
        }
    }
    bytes
}

/// Two batches with the columns that the commands need, and a column of every layout.
pub(crate) fn batches() -> Vec<RecordBatch> {
    let spine = spine();
    let rows = spine.num_rows();
    let numbers = || (0..rows as i32).map(|row| (row > 0).then_some(row));
    let words = || numbers().map(|number| number.map(|number| "word ".repeat(number as usize)));
    let structs: Vec<(Arc<Field>, ArrayRef)> = vec![(
        Arc::new(Field::new("inner", DataType::Utf8, true)),
        Arc::new(words().collect::<StringArray>()),
    )];
    let decimals = Decimal128Array::from_iter(numbers().map(|number| number.map(i128::from)));
    let bytes = words().map(|word| word.map(String::into_bytes));
    let fixed = FixedSizeBinaryArray::try_from_iter(numbers().map(|number| [number.is_some() as u8; 3]));
    let lists = numbers().map(|number| number.map(|number| (0..number).map(Some)));
    let more: Vec<(&str, ArrayRef)> = vec![
        ("at", times(&(1..=rows as i64).collect::<Vec<_>>())),
        (
            "clicks",
            Arc::new(
                numbers()
                    .map(|number| number.map(i64::from))
                    .collect::<Int64Array>(),
            ),
        ),
        ("numbers", Arc::new(numbers().collect::<Int32Array>())),
        (
            "floats",
            Arc::new(
                numbers()
                    .map(|number| number.map(f64::from))
                    .collect::<Float64Array>(),
            ),
        ),
        (
            "truths",
            Arc::new(
                numbers()
                    .map(|number| number.map(|number| number > 1))
                    .collect::<BooleanArray>(),
            ),
        ),
        ("bytes", Arc::new(bytes.collect::<BinaryArray>())),
        ("fixed", Arc::new(fixed.unwrap())),
        ("views", Arc::new(words().collect::<StringViewArray>())),
        (
            "decimals",
            Arc::new(decimals.with_precision_and_scale(20, 2).unwrap()),
        ),
        (
            "lists",
            Arc::new(ListArray::from_iter_primitive::<Int32Type, _, _>(lists)),
        ),
        ("structs", Arc::new(StructArray::from(structs))),
        (
            "choices",
            Arc::new(
                words()
                    .collect::<Vec<_>>()
                    .iter()
                    .map(|word| word.as_deref())
                    .collect::<DictionaryArray<Int32Type>>(),
            ),
        ),
        ("nothing", Arc::new(NullArray::new(rows))),
    ];
    let of_spine = spine.schema();
    let of_spine = of_spine.fields().iter().zip(spine.columns());
    let of_spine = of_spine.map(|(field, column)| (field.name().clone(), Arc::clone(column)));
    let more = more.into_iter().map(|(name, column)| (name.to_owned(), column));
    let all = RecordBatch::try_from_iter_with_nullable(
        of_spine.chain(more).map(|(name, column)| (name, column, true)),
    );
    let all = all.unwrap();
    vec![all.clone(), all.slice(1, rows - 1)]
}
