//! `asof push`: rows to a managed source.

mod chunks;

use std::path::Path;
use std::sync::Arc;

use asof_core::registry::Version;
use asof_core::time::Clock;
use asof_online::RocksStore;
use asof_proto::v1;
use asof_server::clock::SystemClock;
use asof_server::intake::{Intake, push_of, response_of};
use serde_json::json;

use crate::args::{PushArgs, PushFormat};
use crate::commands::Global;
use crate::exit::{Exit, Failure};
use crate::output;
use crate::progress::Line;
use crate::remote::Remote;
use chunks::{Chunk, Chunks};

/// How many rows that were refused are told one by one.
const TOLD: usize = 20;

/// Where rows go.
enum Target {
    Server(Remote),
    Here {
        intake: Intake<RocksStore>,
        version: Arc<Version>,
    },
}

/// What became of all rows.
#[derive(Default)]
struct Pushed {
    accepted: u64,
    rejected: Vec<(u64, String)>,
    already: bool,
}

pub(super) async fn run(global: &Global, args: &PushArgs) -> Result<(), Failure> {
    if args.id.as_deref().is_some_and(|id| id.trim().is_empty()) {
        return Err(Failure::usage(
            "--id is empty: an id tells a push from others, so that one that is repeated changes nothing; give one, \
             or leave --id out",
        ));
    }
    let target = Target::of(global).await?;
    let stdin = [Path::new("-").to_owned()];
    let files = if args.files.is_empty() {
        &stdin[..]
    } else {
        &args.files
    };
    let line = Line::new();
    let mut pushed = Pushed::default();
    let mut numbered = 0;
    for file in files {
        let mut chunks = Chunks::open(file, format_of(file, args.format))?;
        while let Some(chunk) = chunks.next()? {
            let id = args.id.as_ref().map(|id| format!("{id}/{numbered}"));
            numbered += 1;
            let answer = target.push(&args.source, id, &chunk).await;
            let answer = answer.map_err(|failure| with_accepted(failure, file, &chunk, pushed.accepted))?;
            pushed.add(file, &chunk, answer);
            line.rows("pushing", pushed.accepted);
        }
    }
    line.clear();
    if numbered == 0 {
        return Err(Failure::new(Exit::Data, "no rows were given: nothing was pushed"));
    }
    target.settle().await?;
    pushed.report(global, &args.source)
}

impl Target {
    async fn of(global: &Global) -> Result<Self, Failure> {
        if let Some(remote) = global.remote_or_running().await? {
            return Ok(Self::Server(remote));
        }
        let project = global.open()?;
        let registry = project.registry().await?;
        let version = Arc::new(project.head(&registry).await?);
        let intake = project.intake()?;
        Ok(Self::Here { intake, version })
    }

    async fn push(
        &self,
        source: &str,
        id: Option<String>,
        chunk: &Chunk,
    ) -> Result<v1::PushResponse, Failure> {
        let request = v1::PushRequest {
            source: source.to_owned(),
            request_id: id.unwrap_or_default(),
            rows: Some(chunk.rows.clone()),
        };
        match self {
            Self::Server(remote) => {
                let answer = remote.ingest().push(request).await;
                answer.map(tonic::Response::into_inner).map_err(refused)
            }
            Self::Here { intake, version } => {
                let push = push_of(request)?;
                let answer = intake.push(version, push, SystemClock.now()).await?;
                Ok(response_of(answer))
            }
        }
    }

    /// What was pushed here is in its table when this process ends.
    async fn settle(&self) -> Result<(), Failure> {
        if let Self::Here { intake, version } = self {
            intake.flush(&version.definitions, SystemClock.now()).await?;
        }
        Ok(())
    }
}

/// What a server refuses about rows is about data, not about how the command was typed.
fn refused(status: tonic::Status) -> Failure {
    match status.code() {
        tonic::Code::InvalidArgument => Failure::new(Exit::Data, status.message()),
        _ => Failure::from(status),
    }
}

/// Says which rows were not accepted, and how many before them were.
fn with_accepted(failure: Failure, file: &Path, chunk: &Chunk, accepted: u64) -> Failure {
    failure.reworded(|message| {
        let whole = match accepted {
            0 => "no row was accepted".to_owned(),
            accepted => format!("{} before it were accepted", output::counted(accepted, "row")),
        };
        match (chunk.first(), accepted) {
            (_, 0) => format!("{message}; {whole}"),
            (Some(first), _) => format!(
                "{}: from {} {first} on: {message}; {whole}",
                shown(file),
                chunk.unit
            ),
            (None, _) => format!("{message}; {whole}"),
        }
    })
}

impl Pushed {
    fn add(&mut self, file: &Path, chunk: &Chunk, answer: v1::PushResponse) {
        self.accepted += answer.accepted;
        self.already |= answer.already_accepted;
        for rejected in answer.rejected {
            let place = chunk.place(rejected.row);
            let told = format!("{}: {} {place}: {}", shown(file), chunk.unit, rejected.reason);
            self.rejected.push((place, told));
        }
    }

    fn report(&self, global: &Global, source: &str) -> Result<(), Failure> {
        let (accepted, rejected) = (self.accepted, self.rejected.len() as u64);
        if global.json {
            let rows: Vec<_> = self
                .rejected
                .iter()
                .map(|(place, told)| json!({ "place": place, "reason": told }))
                .collect();
            output::json(&json!({
                "source": source, "accepted": accepted, "rejected": rows, "already_accepted": self.already,
            }));
        } else {
            let already = if self.already {
                ", or had before under the same id"
            } else {
                ""
            };
            output::line(format!(
                "Accepted {} into {source}{already}.",
                output::counted(accepted, "row")
            ));
        }
        if rejected == 0 {
            return Ok(());
        }
        let mut message = format!(
            "{} not accepted:",
            match rejected {
                1 => "1 row was".to_owned(),
                rejected => format!("{rejected} rows were"),
            }
        );
        for (_, told) in self.rejected.iter().take(TOLD) {
            message.push_str("\n  ");
            message.push_str(told);
        }
        if self.rejected.len() > TOLD {
            message.push_str(&format!("\n  and {} more", self.rejected.len() - TOLD));
        }
        Err(Failure::new(Exit::Data, message))
    }
}

/// What a file has, by its name where that tells.
fn format_of(file: &Path, otherwise: PushFormat) -> PushFormat {
    let extension = file.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("json" | "jsonl" | "ndjson") => PushFormat::Json,
        Some("parquet" | "pq") => PushFormat::Parquet,
        Some("arrow" | "arrows" | "feather" | "ipc") => PushFormat::Arrow,
        Some(_) | None => otherwise,
    }
}

/// How messages name a file.
fn shown(file: &Path) -> String {
    if file == Path::new("-") {
        return "standard input".into();
    }
    file.display().to_string()
}
