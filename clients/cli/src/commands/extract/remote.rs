//! The same through a server: the spine goes up, and the dataset is written here.

use std::path::Path;

use arrow::array::RecordBatch;
use asof_client::{Dataset as Incoming, Extract, Read};
use asof_core::time::{Clock, Timestamp};
use asof_offline::{
    Dataset, DatasetWriter, EngineOptions, ExtractSummary, Phase, Progress, Provenance, Rows, Spine, Target,
};
use asof_server::clock::SystemClock;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::args::{ExtractArgs, JoinStrategy};
use crate::exit::{Exit, Failure};
use crate::progress::Line;
use crate::remote::Remote;

/// Extracts what the arguments say; returns the number of the server's run, too.
pub(super) async fn run(
    remote: &Remote,
    args: &ExtractArgs,
    rows: Rows<'_>,
) -> Result<(u64, Dataset), Failure> {
    if args.memory.is_some() || args.strategy != JoinStrategy::Auto {
        return Err(Failure::usage(
            "--memory and --strategy are the server's business: leave them out with --server",
        ));
    }
    let target = Target {
        path: &args.out,
        overwrite: args.overwrite,
    };
    target.check()?;
    let what = match &args.service {
        Some(service) => Extract::of_service(service),
        None => Extract::of_features(&args.features),
    };
    let what = what.as_corrected(args.as_corrected).status(args.status);
    let client = remote.client();
    let spine = match rows {
        Rows::Spine { path, .. } | Rows::Uploaded { path, .. } => Some(path),
        Rows::Grid(_) => None,
    };
    let incoming = match rows {
        Rows::Spine {
            path,
            time_column,
            timezone,
        }
        | Rows::Uploaded {
            path,
            time_column,
            timezone,
        } => {
            let what = what.time_column(time_column);
            let what = match timezone {
                Some(zone) => what.timezone(zone.name()),
                None => what,
            };
            let spine = Spine::open(path, time_column, timezone)?;
            let schema = spine.schema().clone();
            client.extract(&what, schema, batches(spine)?).await?
        }
        Rows::Grid(grid) => {
            let (from, to, every) = grid.parts();
            let read = match every {
                None => Read::at(what, from.to_string()),
                Some(every) => Read::every(what, from.to_string(), to.to_string(), every.to_string()),
            };
            client.read(&read).await?
        }
    };
    write(incoming, target, spine).await
}

/// The batches of a spine.
fn batches(
    spine: Spine,
) -> Result<impl futures::Stream<Item = Result<RecordBatch, String>> + Send + 'static, Failure> {
    let rows = spine.batches(None)?;
    Ok(asof_client::batches(rows.map(move |batch| {
        batch.map_err(|error| spine.unreadable(&error.to_string()).to_string())
    })))
}

async fn write(
    mut incoming: Incoming,
    target: Target<'_>,
    spine: Option<&Path>,
) -> Result<(u64, Dataset), Failure> {
    let line = Line::new();
    let threads = EngineOptions::default().readers;
    let mut writer = DatasetWriter::create(target, incoming.schema(), threads)?;
    let mut rows = 0;
    while let Some(batch) = incoming.next().await? {
        rows += batch.num_rows() as u64;
        writer.write(&batch)?;
        line.advance(&Phase::Write, rows, None);
    }
    line.clear();
    let told = incoming
        .told()
        .ok_or_else(|| Failure::new(Exit::Bug, "the server did not say what the dataset was made from"))?;
    let summary: ExtractSummary = read(told.summary)?;
    let provenance: Provenance = read(told.provenance)?;
    let provenance = match spine {
        Some(spine) => provenance.of_spine(spine)?,
        None => provenance,
    };
    let finished: Timestamp = SystemClock.now();
    Ok((told.run, writer.finish(summary, provenance, finished)?))
}

fn read<T: DeserializeOwned>(value: Value) -> Result<T, Failure> {
    serde_json::from_value(value).map_err(|error| {
        Failure::unavailable(format!(
            "the server says in another way than this version what a dataset was made from ({error}): use the same \
             version of asof on both sides"
        ))
    })
}
