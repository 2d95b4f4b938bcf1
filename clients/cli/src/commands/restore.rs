//! `asof restore`: a backup in the place of what the project has.

use asof_core::time::Clock;
use asof_server::backup::restore;
use asof_server::clock::SystemClock;
use serde_json::json;

use crate::args::RestoreArgs;
use crate::commands::Global;
use crate::commands::backup::absolute;
use crate::exit::Failure;
use crate::output;

pub(super) async fn run(global: &Global, args: &RestoreArgs) -> Result<(), Failure> {
    let project = global.open()?;
    let directory = absolute(&args.directory)?;
    let restored = restore(&project, &directory, SystemClock.now()).await?;
    let backup = &restored.backup;
    let kept: Vec<String> = restored
        .kept
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    if global.json {
        output::json(&json!({
            "taken_at": backup.taken_at,
            "registry_version": backup.registry_version,
            "entries": backup.entries,
            "kept": kept,
            "kept_pushed_rows": restored.has_pushed,
        }));
        return Ok(());
    }
    output::line(format!(
        "Restored {} entries of the online store and registry v{}, as of {}.",
        backup.entries, backup.registry_version, backup.taken_at
    ));
    if !kept.is_empty() {
        output::line(format!("What was there before is kept: {}.", kept.join(", ")));
    }
    if restored.has_pushed {
        output::line("It may hold pushed rows that are in no table yet: these are in none of the views now.");
    }
    output::line(
        "Run `asof materialize` to bring what is newer. Streams go on from where they stood then: of messages that were \
         read since, those without an event id count again.",
    );
    Ok(())
}
