//! Features of one entity at a time, in a project of this process or from a server: what the Python package stands on.

use std::hint::black_box;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch};
use arrow::datatypes::{DataType, Float64Type, Int64Type};
use asof_client::{Client, Features, Selection};
use asof_core::time::{FixedClock, Timestamp};
use asof_server::ServeParts;
use asof_server::embedded::Embedded;
use asof_server::project::{Project, Surroundings};
use serde::{Deserialize, Serialize};

use crate::spread::Spread;

/// How long the store of a project is waited for.
const CLOSING: Duration = Duration::from_secs(10);

/// One caller, who asks for one entity at a time.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Calls {
    /// Who is asked.
    pub place: Place,
    /// The service.
    pub service: String,
    /// The key column, and the keys that are asked for, over and over.
    pub key: String,
    /// The keys.
    pub keys: Vec<i64>,
    /// How long.
    pub seconds: f64,
}

/// Who is asked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Place {
    /// A project, opened by this process as of an instant in microseconds since the Unix epoch.
    Project(PathBuf, i64),
    /// A server, by its URL.
    Server(String),
}

/// What came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Called {
    /// What was answered to each key, the first time.
    pub answers: Answers,
    /// The median time of a call in microseconds.
    pub call_micros: f64,
}

/// The values of a row for each key, its own among them; of numbers with a point their bits.
pub type Answers = Vec<Vec<Option<i64>>>;

/// Asks.
///
/// # Errors
///
/// A project that cannot be opened, a server that cannot be reached, and calls that fail.
pub async fn run(calls: &Calls) -> Result<Called> {
    let selection = Selection::Service(calls.service.clone());
    let keys = calls.keys.iter().map(|key| {
        let column: ArrayRef = Arc::new(Int64Array::from(vec![*key]));
        RecordBatch::try_from_iter([(calls.key.as_str(), column)])
    });
    let keys = keys.collect::<Result<Vec<_>, _>>()?;
    let until = Duration::from_secs_f64(calls.seconds);
    match &calls.place {
        Place::Server(url) => {
            let client = &Client::connect(url).await?;
            let selection = &selection;
            median(&keys, until, |keys| async move {
                Ok(client.get_features(selection, keys).await?)
            })
            .await
        }
        Place::Project(directory, now_micros) => {
            let surroundings = Surroundings {
                environment: |_| None,
                warn: |_| {},
            };
            let project = Project::open(directory, surroundings)?;
            let clock = FixedClock(Timestamp::from_micros(*now_micros));
            let parts = ServeParts::of_this_process(&project, Arc::new(clock)).await?;
            let store = Arc::new(Embedded::start(parts).await?);
            let (asked, selection) = (&store, &selection);
            let called = median(&keys, until, |keys| async move {
                let response = asked.get_features(selection.request(keys)?).await?;
                Ok(Features::of(keys.clone(), &response)?)
            });
            let called = called.await?;
            store.stop(CLOSING).await;
            Ok(called)
        }
    }
}

/// Asks for each key once, so that all are cached, and then over and over.
async fn median<'k, F>(
    keys: &'k [RecordBatch],
    until: Duration,
    call: impl Fn(&'k RecordBatch) -> F,
) -> Result<Called>
where
    F: Future<Output = Result<Features>>,
{
    let mut answers = Vec::new();
    for key in keys {
        answers.push(values(&call(key).await?)?);
    }
    let mut taken = Vec::new();
    let begun = Instant::now();
    while begun.elapsed() < until {
        for key in keys {
            let start = Instant::now();
            black_box(call(key).await?);
            taken.push(start.elapsed().as_secs_f64() * 1e6);
        }
    }
    let spread = Spread::of(taken).context("nothing was asked")?;
    Ok(Called {
        answers,
        call_micros: spread.median,
    })
}

/// The values of the first row.
fn values(features: &Features) -> Result<Vec<Option<i64>>> {
    let row = features.to_record_batch()?;
    let values = row.columns().iter().map(|column| {
        if column.is_null(0) {
            return Ok(None);
        }
        Ok(Some(match column.data_type() {
            DataType::Float64 => column
                .as_primitive::<Float64Type>()
                .value(0)
                .to_bits()
                .cast_signed(),
            DataType::Int64 => column.as_primitive::<Int64Type>().value(0),
            other => bail!("the generated features have no {other}"),
        }))
    });
    values.collect()
}
