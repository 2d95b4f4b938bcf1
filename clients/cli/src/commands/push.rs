//! `asof push`: rows to a managed source.

mod chunks;

use std::path::Path;
use std::sync::Arc;

use asof_client::Error;
use asof_core::registry::Version;
use asof_core::time::Clock;
use asof_proto::v1;
use asof_server::clock::SystemClock;
use asof_server::intake::{Intake, IntakeError, push_of, response_of};
use asof_server::project::ProjectStore;
use serde_json::json;
use tonic::Code;

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
        intake: Intake<ProjectStore>,
        version: Arc<Version>,
    },
}

/// What became of all rows.
struct Pushed {
    /// What tells this push from others, given or made.
    id: String,
    requests: u64,
    /// Whether it is not known what became of the last request.
    in_doubt: bool,
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
    let mut pushed = Pushed::new(args.id.clone());
    let line = Line::new();
    let result = tokio::select! {
        result = push_all(&target, args, &mut pushed, &line) => result,
        _ = tokio::signal::ctrl_c() => Err(Failure::new(Exit::Interrupted, "interrupted")),
    };
    line.clear();
    let told = pushed.report(global, &args.source, result);
    target.settle().await;
    told
}

async fn push_all(target: &Target, args: &PushArgs, pushed: &mut Pushed, line: &Line) -> Result<(), Failure> {
    let stdin = [Path::new("-").to_owned()];
    let files = if args.files.is_empty() {
        &stdin[..]
    } else {
        &args.files
    };
    for file in files {
        let mut chunks = Chunks::open(file, format_of(file, args.format))?;
        while let Some(chunk) = chunks.next()? {
            let id = format!("{}/{}", pushed.id, pushed.requests);
            pushed.requests += 1;
            pushed.in_doubt = true;
            let answer = target.push(&args.source, id, &chunk).await;
            pushed.in_doubt = answer.as_ref().is_err_and(|(_, known)| !known);
            let answer = answer.map_err(|(failure, _)| {
                let first = chunk.first().unwrap_or(1);
                failure
                    .reworded(|message| format!("{}, from {} {first} on: {message}", shown(file), chunk.unit))
            })?;
            pushed.add(file, &chunk, answer);
            line.rows("pushing", pushed.accepted);
        }
    }
    match pushed.requests {
        0 => Err(Failure::new(Exit::Data, "no rows were given")),
        _ => Ok(()),
    }
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

    /// Pushes rows; a failure says whether it is known that none of them was accepted.
    async fn push(
        &self,
        source: &str,
        id: String,
        chunk: &Chunk,
    ) -> Result<v1::PushResponse, (Failure, bool)> {
        let request = v1::PushRequest {
            source: source.to_owned(),
            request_id: id,
            rows: Some(chunk.rows.clone()),
        };
        match self {
            Self::Server(remote) => remote.client().push_request(&request).await.map_err(refused),
            Self::Here { intake, version } => {
                let push = push_of(request).map_err(|error| (error.into(), true))?;
                let answer = intake.push(version, push, SystemClock.now()).await;
                answer.map(response_of).map_err(|error| {
                    let known = !matches!(error, IntakeError::Store(_) | IntakeError::Bug(_));
                    (error.into(), known)
                })
            }
        }
    }

    /// What was pushed here is in its table when this process ends, if that can be written.
    async fn settle(&self) {
        let Self::Here { intake, version } = self else {
            return;
        };
        if let Err(error) = intake.flush(&version.definitions, &[], SystemClock.now()).await {
            output::note(&format!(
                "warning: rows that were accepted wait for their table ({error}): the next extract tries again"
            ));
        }
    }
}

/// What a server refuses about rows is about data, not about how the command was typed; and where it refuses them
/// so, it has accepted none.
fn refused(error: Error) -> (Failure, bool) {
    let Error::Status(status) = error else {
        return (error.into(), false);
    };
    let known = matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::ResourceExhausted
            | Code::OutOfRange
            | Code::Unimplemented
    );
    let failure = match status.code() {
        Code::InvalidArgument => Failure::new(Exit::Data, status.message()),
        _ => Failure::from(*status),
    };
    (failure, known)
}

impl Pushed {
    fn new(id: Option<String>) -> Self {
        let made = || format!("{}-{}", SystemClock.now().micros(), std::process::id());
        Self {
            id: id.unwrap_or_else(made),
            requests: 0,
            in_doubt: false,
            accepted: 0,
            rejected: Vec::new(),
            already: false,
        }
    }

    fn add(&mut self, file: &Path, chunk: &Chunk, answer: v1::PushResponse) {
        self.accepted += answer.accepted;
        self.already |= answer.already_accepted;
        for rejected in answer.rejected {
            let place = chunk.place(rejected.row);
            let told = format!("{}: {} {place}: {}", shown(file), chunk.unit, rejected.reason);
            self.rejected.push((place, told));
        }
    }

    /// Tells what was accepted, whatever else there is to tell, and how to go on after a failure.
    fn report(&self, global: &Global, source: &str, result: Result<(), Failure>) -> Result<(), Failure> {
        let accepted = self.accepted;
        if global.json {
            let rows: Vec<_> = self
                .rejected
                .iter()
                .map(|(place, told)| json!({ "place": place, "reason": told }))
                .collect();
            output::json(&json!({
                "source": source, "accepted": accepted, "rejected": rows, "already_accepted": self.already,
                "in_doubt": self.in_doubt, "id": self.id,
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
        let Err(failure) = result else {
            return match self.rejected.is_empty() {
                true => Ok(()),
                false => Err(Failure::new(Exit::Data, self.refusals())),
            };
        };
        let again = format!(
            "to bring the rest, run the same command with --id {}: what was accepted is not accepted twice",
            self.id
        );
        Err(failure.reworded(|message| {
            let mut told = message;
            if self.in_doubt {
                told.push_str(&format!("; whether these were accepted is not known; {again}"));
            } else if accepted > 0 {
                told.push_str(&format!("; none of these was accepted; {again}"));
            }
            if !self.rejected.is_empty() {
                told.push_str(&format!("\n{}", self.refusals()));
            }
            told
        }))
    }

    /// The rows that were not accepted, one a line.
    fn refusals(&self) -> String {
        let mut message = match self.rejected.len() {
            1 => "1 row was not accepted:".to_owned(),
            rows => format!("{rows} rows were not accepted:"),
        };
        for (_, told) in self.rejected.iter().take(TOLD) {
            message.push_str(&format!("\n  {told}"));
        }
        if self.rejected.len() > TOLD {
            message.push_str(&format!("\n  and {} more", self.rejected.len() - TOLD));
        }
        message
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
