//! `asof rollback`: a run is undone.

use std::sync::Arc;

use asof_core::time::Timestamp;
use asof_server::clock::SystemClock;
use asof_server::materialize::Materializer;
use serde_json::json;

use crate::args::RollbackArgs;
use crate::commands::Global;
use crate::exit::Failure;
use crate::output;

pub(super) async fn run(global: &Global, args: &RollbackArgs) -> Result<(), Failure> {
    let undone = args.run;
    let (run, view, as_of) = match global.remote_or_running().await? {
        Some(remote) => {
            let done = remote.client().rollback(undone).await?;
            (done.run, done.view, done.as_of_micros.map(Timestamp::from_micros))
        }
        None => {
            let project = global.open()?;
            let registry = Arc::new(project.registry().await?);
            let version = project.head(&registry).await?;
            let materializer = Materializer::new(project.intake()?, registry, Arc::new(SystemClock));
            let done = materializer.roll_back(&version.definitions, undone).await?;
            (done.run, done.view, done.as_of)
        }
    };
    if global.json {
        let as_of = as_of.map(|as_of| as_of.to_string());
        output::json(&json!({ "run": run, "rolled_back": undone, "view": view, "as_of": as_of }));
        return Ok(());
    }
    let stands = match as_of {
        Some(as_of) => format!("the view is complete up to {as_of}"),
        None => "nothing of the view is served".to_owned(),
    };
    output::line(format!("Rolled back run {undone} of {view}: {stands}."));
    output::line(format!(
        "What it brought is held back until `asof materialize {view} --redo`; what was pushed stays."
    ));
    Ok(())
}
