//! `asof status`: how the views and the streams stand.

use std::collections::BTreeSet;

use asof_core::time::{Clock, Timestamp};
use asof_proto::v1;
use asof_server::cancel::blocking;
use asof_server::clock::SystemClock;
use asof_server::places::what_was_lost;
use asof_server::runs::last_runs;
use asof_server::status::status;
use serde_json::{Value, json};

use crate::commands::{Global, runs};
use crate::exit::Failure;
use crate::output;
use crate::project;

pub(super) async fn run(global: &Global) -> Result<(), Failure> {
    let status = match global.remote_or_running().await? {
        Some(remote) => remote.client().status().await?,
        None => {
            let project = project::open(&global.project)?;
            let registry = project.registry().await?;
            let version = project.head(&registry).await?;
            let runs = last_runs(&registry, project.name(), &version).await?;
            let store = project.store_quietly()?;
            let counting = blocking(move |cancellation| {
                let now = SystemClock.now();
                status(&*store, &project.config, &version, now, runs, cancellation)
            });
            counting.await.map_err(Failure::cut_short)??
        }
    };
    if global.json {
        output::json(&to_json(&status));
    } else {
        print(&status);
    }
    Ok(())
}

fn print(status: &v1::GetStatusResponse) {
    output::line(format!(
        "Project {} at registry v{}, {}",
        status.project,
        status.registry_version,
        Timestamp::from_micros(status.now_micros)
    ));
    output::line("");
    let row = |view: &v1::ViewStatus| {
        let time = |micros: i64| Timestamp::from_micros(micros).to_string();
        vec![
            view.view.clone(),
            advice(view),
            view.materialized_to_micros.map(time).unwrap_or_default(),
            view.lag_micros.map(lag).unwrap_or_default(),
            count(
                view.rows
                    .zip(view.expired_rows)
                    .map(|(rows, expired)| rows.saturating_sub(expired)),
            ),
            count(view.expired_rows),
            count(view.pending_rows),
            view.bytes.map_or_else(unknown, output::bytes),
        ]
    };
    output::table(
        &[
            "view",
            "state",
            "materialized to",
            "behind",
            "live",
            "expired",
            "pending",
            "size",
        ],
        status.views.iter().map(row).collect(),
    );
    print_troubles(&status.views);
    if !status.streams.is_empty() {
        output::line("");
        print_streams(&status.streams);
    }
    output::line("");
    print_places(status);
    if let Some(lost) = &status.lost_writes {
        output::line(format!("LOST: {}", what_was_lost(lost)));
    }
}

/// What the state of a view has no room for.
fn print_troubles(views: &[v1::ViewStatus]) {
    let failed = views.iter().filter_map(|view| Some((view, trouble(view)?)));
    for (view, run) in failed {
        match run.state() {
            v1::RunState::Failed => {
                output::line(format!("{}: run {} failed: {}", view.view, run.id, run.error));
            }
            // Otherwise its state says so.
            _ if !view.held_back_runs.is_empty() => {
                output::line(format!("{}: run {} was cut short", view.view, run.id));
            }
            _ => {}
        }
    }
    let problems: BTreeSet<&str> = views
        .iter()
        .map(|view| view.problem.as_str())
        .filter(|problem| !problem.is_empty())
        .collect();
    for problem in problems {
        output::line(format!("?: {problem}"));
    }
}

/// The newest materialization of a view, where it did not come to a good end.
fn trouble(view: &v1::ViewStatus) -> Option<&v1::Run> {
    let run = view.last_run.as_ref()?;
    let is_bad = matches!(run.state(), v1::RunState::Failed | v1::RunState::CutShort);
    (is_bad && run.kind() == v1::RunKind::Materialize).then_some(run)
}

/// The room on the disks, and how old the last backup is, where Asof takes any.
fn print_places(status: &v1::GetStatusResponse) {
    for disk in &status.disks {
        let holds: Vec<&str> = disk.holds.iter().map(|holds| place(holds)).collect();
        output::line(format!(
            "Disk of {}: {} of {} free",
            holds.join(", "),
            output::bytes(disk.free_bytes),
            output::bytes(disk.size_bytes)
        ));
    }
    let is_here = status
        .disks
        .iter()
        .flat_map(|disk| &disk.holds)
        .any(|holds| holds == "online");
    match &status.last_backup {
        Some(backup) => output::line(format!(
            "Last backup: {} ago, to {}",
            lag(status.now_micros.saturating_sub(backup.taken_at_micros)),
            backup.directory
        )),
        None if is_here => output::line("No backup was taken: asof backup DIR"),
        None => {}
    }
}

fn place(holds: &str) -> &str {
    match holds {
        "registry" => "the registry",
        "online" => "the online store",
        "offline" => "the managed tables",
        other => other,
    }
}

fn print_streams(streams: &[v1::StreamStatus]) {
    let rows = streams.iter().flat_map(|stream| {
        let state = reading(stream);
        let lanes = stream.lanes.iter().map(move |lane| {
            vec![
                stream.source.clone(),
                lane.lane.clone(),
                reading(stream),
                lane.messages.to_string(),
                count(lane.pending),
                lane.dead_letters.to_string(),
                lane.lost.to_string(),
            ]
        });
        let none = vec![stream.source.clone(), String::new(), state, String::new()];
        let none = stream.lanes.is_empty().then_some(none);
        lanes.chain(none)
    });
    output::table(
        &[
            "source",
            "stream",
            "state",
            "read",
            "waiting",
            "dead letters",
            "lost",
        ],
        rows.collect(),
    );
    for stream in streams {
        if !stream.problem.is_empty() {
            output::line(format!("{}: {}", stream.source, stream.problem));
        }
        for lane in &stream.lanes {
            if let Some(last) = &lane.last_dead_letter {
                output::line(format!(
                    "{}: the last dead letter of {} was read at {}, from position {}: {}",
                    stream.source,
                    lane.lane,
                    Timestamp::from_micros(last.at_micros),
                    last.position,
                    last.reason
                ));
            }
        }
    }
}

/// How a stream stands, and what to type next where it is not read.
fn reading(stream: &v1::StreamStatus) -> String {
    match stream.reading {
        Some(true) => "reading",
        Some(false) if stream.problem.is_empty() => "connecting",
        Some(false) => "not read, see below",
        None => "no server runs: asof serve",
    }
    .to_owned()
}

/// How a view stands, and what to type next where something is to be done.
fn advice(view: &v1::ViewStatus) -> String {
    let name = &view.view;
    let is_serving = view.serving_generation != 0;
    if !view.held_back_runs.is_empty() {
        let state = if is_serving { "" } else { "serves nothing, " };
        return format!("{state}{}", without(name, &view.held_back_runs));
    }
    if let Some(run) = trouble(view) {
        let state = if is_serving { "serving, " } else { "" };
        let what = match run.state() {
            v1::RunState::Failed => "failed, see below",
            _ => "was cut short",
        };
        return format!("{state}run {} {what}: asof materialize {name}", run.id);
    }
    let running = view
        .last_run
        .as_ref()
        .filter(|run| run.state() == v1::RunState::Running);
    if let Some(run) = running {
        return match (is_serving, view.building_generation) {
            (false, _) => format!("first build, by run {}", run.id),
            (true, 0) => format!("serving, run {} brings what is new", run.id),
            (true, _) => format!("serving, run {} builds a new generation", run.id),
        };
    }
    match (is_serving, view.building_generation, view.current) {
        (false, 0, _) => format!("never materialized: asof materialize {name}"),
        (false, _, _) => format!("first build not complete: asof materialize {name}"),
        (_, _, false) => format!("redefined since: asof materialize {name}"),
        (_, building, true) if building != 0 => {
            format!("serving, a new generation is not complete: asof materialize {name}")
        }
        (_, _, true) if view.materialized_to_micros.is_none() => {
            format!("serving what was pushed: asof materialize {name}")
        }
        (_, _, true) => "serving".to_owned(),
    }
}

/// What a view lacks since runs were rolled back, and what to type to have it.
pub(super) fn without(view: &str, runs: &[u64]) -> String {
    let more = match runs {
        [_] => String::new(),
        runs => format!(" and {} more", runs.len().saturating_sub(1)),
    };
    let first = runs.first().copied().unwrap_or_default();
    format!("without run {first}{more}, rolled back: asof materialize {view} --redo, or --full")
}

/// What stands for a number that could not be counted.
fn unknown() -> String {
    "?".to_owned()
}

fn count(rows: Option<u64>) -> String {
    rows.map_or_else(unknown, |rows| rows.to_string())
}

/// A length of time in its two greatest units.
fn lag(micros: i64) -> String {
    let seconds = micros / 1_000_000;
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        _ if seconds < 0 => "ahead of the clock".to_owned(),
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, minutes) => format!("{minutes}m {}s", seconds % 60),
        (0, hours, minutes) => format!("{hours}h {minutes}m"),
        (days, hours, _) => format!("{days}d {hours}h"),
    }
}

fn to_json(status: &v1::GetStatusResponse) -> Value {
    let time = |micros: i64| Timestamp::from_micros(micros).to_string();
    let views: Vec<Value> = status
        .views
        .iter()
        .map(|view| {
            json!({
                "view": view.view, "serving_generation": view.serving_generation,
                "building_generation": view.building_generation, "current": view.current,
                "materialized_to": view.materialized_to_micros.map(time), "lag_micros": view.lag_micros,
                "rows": view.rows, "expired_rows": view.expired_rows, "pending_rows": view.pending_rows,
                "bytes": view.bytes, "held_back_runs": view.held_back_runs,
                "last_run": view.last_run.as_ref().map(runs::to_json),
                "problem": Some(&view.problem).filter(|problem| !problem.is_empty()),
            })
        })
        .collect();
    let streams: Vec<Value> = status
        .streams
        .iter()
        .map(|stream| {
            let lanes = stream.lanes.iter().map(|lane| {
                let last = lane.last_dead_letter.as_ref().map(|last| {
                    json!({ "position": last.position, "at": time(last.at_micros), "reason": last.reason })
                });
                json!({
                    "lane": lane.lane, "next": lane.next, "messages": lane.messages, "pending": lane.pending,
                    "dead_letters": lane.dead_letters, "lost": lane.lost, "last_dead_letter": last,
                })
            });
            let problem = Some(&stream.problem).filter(|problem| !problem.is_empty());
            json!({
                "source": stream.source, "reading": stream.reading, "problem": problem,
                "lanes": lanes.collect::<Vec<_>>(),
            })
        })
        .collect();
    let disks: Vec<Value> = status
        .disks
        .iter()
        .map(|disk| json!({ "holds": disk.holds, "free_bytes": disk.free_bytes, "size_bytes": disk.size_bytes }))
        .collect();
    let backup = status.last_backup.as_ref();
    let backup = backup
        .map(|backup| json!({ "taken_at": time(backup.taken_at_micros), "directory": backup.directory }));
    let lost = status.lost_writes.as_ref();
    let lost = lost.map(|lost| json!({ "changes": lost.changes, "found_at": time(lost.found_at_micros) }));
    json!({
        "project": status.project, "registry_version": status.registry_version,
        "now": time(status.now_micros), "views": views, "streams": streams, "disks": disks,
        "last_backup": backup, "lost_writes": lost,
    })
}
