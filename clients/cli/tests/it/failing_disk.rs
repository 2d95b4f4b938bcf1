//! A disk that fails or is full (I19): a clear error, nothing acknowledged is lost, and whoever starts a server afterwards
//! has nothing to repair.
//!
//! The disk fails through a library that is loaded before the C library (`failing_disk.c`): one write or sync below the
//! project's `.asof`, or all from one on, end with an error of the system.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use asof_proto::v1::ingest_service_client::IngestServiceClient;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::disks::Disk;
use crate::project::{Project, Ran};
use crate::pushing::{self, Ledger, extracted};
use crate::server::Server;

/// How often the disk fails in either durability, of which `ASOF_CASES` per cent are done.
const CASES: u64 = 12;
/// How much is pushed in each.
const PUSHES: i64 = 40;
/// What a call may take.
const DEADLINE: Duration = Duration::from_secs(20);

const EIO: u64 = 5;
const ENOSPC: u64 = 28;

/// Which calls fail; the numbers are those of `failing_disk.c`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
enum Kind {
    Writes = 1,
    Syncs = 2,
    /// Those of the list of RocksDB's files, alone.
    ListSyncs = 3,
}

/// How a disk fails.
#[derive(Debug, Clone, Copy)]
struct Plan {
    kind: Kind,
    /// The calls that fail, by number, from the first to the last.
    first: u64,
    last: u64,
    error: u64,
    /// Whether half of what fails is written.
    is_torn: bool,
}

impl Plan {
    const NEVER: u64 = u64::MAX;

    /// The case of a round: kinds and errors take turns, and where it begins is drawn.
    fn of(round: u64, random: u64, calls: [u64; 2]) -> Self {
        let kind = match round % 2 {
            0 => Kind::Writes,
            _ => Kind::Syncs,
        };
        let first = 1 + (random >> 33) % calls[kind as usize - 1];
        Self {
            kind,
            first,
            last: match round / 2 % 3 {
                0 => first,
                1 => first + 2,
                _ => Self::NEVER,
            },
            error: match (random >> 20) % 2 {
                0 => EIO,
                _ => ENOSPC,
            },
            is_torn: (random >> 21).is_multiple_of(2),
        }
    }
}

/// The library, and what it shares with this process.
struct Shim {
    directory: TempDir,
    shared: File,
    below: PathBuf,
}

impl Shim {
    /// For a directory. `None`, told on stderr, where there is no C compiler.
    fn new(below: &Path) -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/failing_disk.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-o"]);
        compile
            .arg(directory.path().join("shim.so"))
            .arg(source)
            .arg("-ldl");
        let Ok(compiled) = compile.output() else {
            eprintln!("not run: there is no C compiler");
            return None;
        };
        assert!(compiled.status.success(), "{compiled:?}");
        let shared = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(directory.path().join("plan"));
        Some(Self {
            shared: shared.unwrap(),
            directory,
            below: below.canonicalize().unwrap(),
        })
    }

    /// Counts from zero, and fails as planned from now on.
    fn set(&self, plan: Plan) {
        let Plan {
            kind,
            first,
            last,
            error,
            is_torn,
        } = plan;
        let numbers = [0, first, last, kind as u64, error, u64::from(is_torn)].map(u64::to_ne_bytes);
        let below = self.below.to_str().unwrap().as_bytes();
        // The path has room for 4,096 bytes with the zero at its end.
        self.shared.set_len(6 * 8 + 4_096).unwrap();
        self.shared
            .write_all_at(&[numbers.as_flattened(), below].concat(), 0)
            .unwrap();
    }

    fn number(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.shared.read_exact_at(&mut bytes, at * 8).unwrap();
        u64::from_ne_bytes(bytes)
    }

    /// Calls of the kind since the plan was set.
    fn calls(&self) -> u64 {
        self.number(0)
    }

    fn has_failed(&self) -> bool {
        self.calls() >= self.number(1)
    }

    /// Nothing fails any more.
    fn mend(&self) {
        self.shared.write_all_at(&0_u64.to_ne_bytes(), 2 * 8).unwrap();
    }

    fn on<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        command
            .env("LD_PRELOAD", self.directory.path().join("shim.so"))
            .env("ASOF_FAILING", self.directory.path().join("plan"))
    }
}

/// A server whose stderr is kept; or what it said where it did not start.
fn start(project: &Project, shim: Option<&Shim>) -> Result<Server, Ran> {
    let mut command = project.command(&["serve", "--listen", "127.0.0.1:0", "--json"]);
    if let Some(shim) = shim {
        shim.on(&mut command);
    }
    let log = File::create(project.path().join("serve.log")).unwrap();
    command.stderr(log);
    Server::try_of(command).map_err(|code| Ran {
        code,
        stdout: String::new(),
        stderr: project.read("serve.log"),
    })
}

/// An error of a call: it says what failed, and where.
fn check_status(status: &Status, told: &str) {
    let codes = [Code::Unavailable, Code::ResourceExhausted, Code::DataLoss];
    assert!(codes.contains(&status.code()), "{told}: {status:?}");
    let message = status.message();
    assert!(
        message.contains(".asof") || message.contains("table"),
        "{told}: names no place: {status:?}"
    );
}

/// A command that the failing disk may have hit: it ended well, or with one error and a code that says of what kind.
fn check_ran(ran: &Ran, told: &str) {
    let Ran { code, stderr, .. } = ran;
    assert!([0, 4, 5].contains(code), "{told}: {ran:?}");
    assert!(
        !stderr.contains("panicked") && !stderr.contains("a bug in"),
        "{told}: {stderr}"
    );
    if *code != 0 {
        let is_error = |line: &&str| line.starts_with("error: ") || line.starts_with("{\"error\":");
        let errors = stderr.lines().filter(is_error);
        assert_eq!(errors.count(), 1, "{told}: {stderr}");
    }
}

async fn connect(server: &Server) -> IngestServiceClient<Channel> {
    IngestServiceClient::connect(server.url.clone()).await.unwrap()
}

/// Pushes one row within the deadline.
async fn push(
    client: &mut IngestServiceClient<Channel>,
    (id, customer, amount): &(String, i64, f64),
) -> Result<(), Status> {
    let call = client.push(pushing::request(id, *customer, *amount));
    let answer = tokio::time::timeout(DEADLINE, call).await;
    let answer = answer.unwrap_or_else(|_| panic!("no answer to {id} within {DEADLINE:?}"))?;
    assert_eq!(answer.into_inner().accepted, 1);
    Ok(())
}

/// The rows of a round.
fn rows(round: u64) -> impl Iterator<Item = (String, i64, f64)> {
    let start = i64::try_from(round).unwrap() * 1_000;
    (0..PUSHES).map(move |number| {
        let customer = start + number;
        (format!("push-{customer}"), customer, number as f64 / 4.0 + 1.0)
    })
}

/// Pushes the rows of a round, and notes what was acknowledged; gives how many failed.
async fn push_all(server: &Server, round: u64, ledger: &mut Ledger, told: &str) -> usize {
    let mut client = connect(server).await;
    let mut failed = 0;
    for row in rows(round) {
        match push(&mut client, &row).await {
            Ok(()) => drop(ledger.acknowledged.insert(row.1, row.2)),
            Err(status) => {
                check_status(&status, told);
                ledger.in_doubt.push(row);
                failed += 1;
            }
        }
    }
    failed
}

/// What is in doubt is pushed again under its id, and acknowledged.
async fn push_again(server: &Server, ledger: &mut Ledger, told: &str) {
    let mut client = connect(server).await;
    for row in std::mem::take(&mut ledger.in_doubt) {
        let pushed = push(&mut client, &row).await;
        assert!(pushed.is_ok(), "{told}: {pushed:?}");
        ledger.acknowledged.insert(row.1, row.2);
    }
}

fn spawn(mut command: Command) -> std::process::Child {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// A server on a disk that fails: it is pushed to, built from and read from, and stopped.
fn work_on_failing_disk(
    runtime: &Runtime,
    project: &Project,
    shim: &Shim,
    plan: Plan,
    round: u64,
    ledger: &mut Ledger,
) -> usize {
    let told = format!("round {round}, {plan:?}");
    shim.set(plan);
    let mut server = match start(project, Some(shim)) {
        Ok(server) => server,
        Err(ran) => {
            assert_ne!(ran.code, 0, "{told}: {ran:?}");
            check_ran(&ran, &told);
            return 0;
        }
    };
    let build = match round % 3 {
        0 => ["materialize", "page_clicks", "--full"].as_slice(),
        _ => &["materialize", "page_clicks"],
    };
    let build = spawn(project.command(build));
    let get = spawn(project.command(&["get", "--features", "page_clicks:*", "--key", "page=p1"]));
    let failed = runtime.block_on(push_all(&server, round, ledger, &told));
    for beside in [build, get] {
        check_ran(&Ran::of(beside.wait_with_output().unwrap()), &told);
    }
    let still = server.child.try_wait().unwrap();
    assert_eq!(still, None, "{told}: {}", project.read("serve.log"));
    match round % 4 {
        0 | 1 => {
            shim.mend();
            server.signal("-TERM");
        }
        2 => server.signal("-TERM"),
        _ => server.child.kill().unwrap(),
    }
    let status = server.wait();
    assert!(status.code().is_some() || round % 4 == 3, "{told}: {status}");
    let log = project.read("serve.log");
    assert!(!log.contains("panicked"), "{told}: {log}");
    failed
}

/// Fails so many times, and checks after each what was acknowledged.
fn fail(durability: &str, mut random: u64) {
    let percent: u64 = std::env::var("ASOF_CASES").map_or(100, |text| text.parse().unwrap());
    let cases = (CASES * percent / 100).max(1);
    let project = pushing::project_in(&std::env::temp_dir(), durability);
    let Some(shim) = Shim::new(&project.path().join(".asof")) else {
        return;
    };
    let runtime = pushing::runtime();
    let mut ledger = Ledger::default();
    // How many calls there are where none fails.
    let calls = [Kind::Writes, Kind::Syncs].map(|kind| {
        let plan = Plan {
            kind,
            first: Plan::NEVER,
            last: Plan::NEVER,
            error: EIO,
            is_torn: false,
        };
        let failed = work_on_failing_disk(&runtime, &project, &shim, plan, kind as u64, &mut ledger);
        assert_eq!(failed, 0);
        shim.calls()
    });
    assert!(calls[0] > 40 && calls[1] > 3, "{calls:?}");
    let (mut hit, mut refused) = (0, 0);
    for round in 3..3 + cases {
        random = pushing::step(random);
        let plan = Plan::of(round, random, calls);
        let failed = work_on_failing_disk(&runtime, &project, &shim, plan, round, &mut ledger);
        hit += u64::from(shim.has_failed());
        refused += failed;
        check(
            &runtime,
            &project,
            &mut ledger,
            round,
            &format!("round {round}, {plan:?}"),
        );
    }
    assert!(hit * 2 > cases, "the disk failed in {hit} of {cases} cases");
    check_table(&project, &ledger);
    eprintln!(
        "figure: {durability}: {calls:?} writes and syncs, {hit} of {cases} failed, {refused} pushes refused, {} rows acknowledged",
        ledger.acknowledged.len()
    );
}

/// On a disk that is well everything is there, and more is taken.
fn check(runtime: &Runtime, project: &Project, ledger: &mut Ledger, round: u64, told: &str) {
    let mut server = start(project, None).unwrap_or_else(|ran| panic!("{told}: {ran:?}"));
    ledger.check_pages(project, round);
    runtime.block_on(push_again(&server, ledger, told));
    ledger.check_pages(project, round);
    server.signal("-TERM");
    let status = server.wait();
    assert!(
        status.success(),
        "{told}: {status}: {}",
        project.read("serve.log")
    );
    project.done(&["verify"]);
    assert_eq!(extracted(project), ledger.acknowledged, "{told}");
}

/// The table has each row once: an empty store reads as many as were acknowledged.
fn check_table(project: &Project, ledger: &Ledger) {
    std::fs::remove_dir_all(project.path().join(".asof/online")).unwrap();
    let run = project.done(&["materialize", "last_click", "--json"]).json();
    assert_eq!(run["runs"][0]["rows_read"], ledger.acknowledged.len());
}

#[test]
fn a_disk_that_fails_loses_nothing_that_was_acknowledged() {
    fail("process", seed(41));
}

#[test]
fn a_disk_that_fails_loses_nothing_that_was_acknowledged_under_sync() {
    fail("sync", seed(42));
}

/// RocksDB removes the files of a change of its list that was not synced, and finds the change when it opens again.
#[test]
fn a_list_of_files_that_is_not_synced_does_no_harm() {
    let project = pushing::project_in(&std::env::temp_dir(), "process");
    let Some(shim) = Shim::new(&project.path().join(".asof")) else {
        return;
    };
    let runtime = pushing::runtime();
    let mut ledger = Ledger::default();
    let mut plan = Plan {
        kind: Kind::ListSyncs,
        first: Plan::NEVER,
        last: Plan::NEVER,
        error: EIO,
        is_torn: false,
    };
    work_on_failing_disk(&runtime, &project, &shim, plan, 0, &mut ledger);
    let calls = shim.calls();
    let mut hit = 0;
    // The rounds in which a view is built anew, which ingests files; servers are stopped in some, and killed in others.
    let cases = (1..=calls).flat_map(|first| [(first, first), (first, Plan::NEVER)]);
    for ((first, last), round) in cases.zip((3..).step_by(3)) {
        (plan.first, plan.last) = (first, last);
        work_on_failing_disk(&runtime, &project, &shim, plan, round, &mut ledger);
        hit += u64::from(shim.has_failed());
        let told = format!("round {round}, {plan:?}");
        check(&runtime, &project, &mut ledger, round, &told);
    }
    eprintln!("figure: {hit} of {} syncs failed", 2 * calls);
    // Under load the first round has more of them than the others.
    assert!(hit > calls / 2, "{hit} of {}", 2 * calls);
    check_table(&project, &ledger);
}

/// What decides where the disk fails, which is told.
fn seed(usual: u64) -> u64 {
    let seed = std::env::var("ASOF_SEED").map_or(usual, |text| text.parse().unwrap());
    eprintln!("ASOF_SEED={seed}");
    seed
}

#[test]
fn commands_on_a_disk_that_fails_say_so_and_are_run_again() {
    let project = Project::applied();
    let Some(shim) = Shim::new(&project.path().join(".asof")) else {
        return;
    };
    let mut random = seed(43);
    for round in 0..8 {
        random = pushing::step(random);
        // Some of them come behind the last call, and fail nothing.
        let plan = Plan::of(round, random, [60, 12]);
        shim.set(plan);
        let told = format!("round {round}, {plan:?}");
        let mut command = project.command(&["materialize"]);
        let ran = Ran::of(shim.on(&mut command).output().unwrap());
        check_ran(&ran, &told);
        project.done(&["materialize"]);
        project.done(&["verify"]);
        if round % 2 == 0 {
            std::fs::remove_dir_all(project.path().join(".asof/online")).unwrap();
        }
    }
}

/// A project whose `.asof` is a small disk.
fn on_small_disk() -> Option<(Project, Disk)> {
    let project = Project::starter();
    let _ = std::fs::remove_dir_all(project.path().join(".asof"));
    let disk = Disk::mount(project.path().join(".asof"), "size=24m")?;
    project.write(
        "features/clicks.toml",
        &(pushing::CLICKS.to_owned() + pushing::PAGES),
    );
    project.done(&["apply", "--yes"]);
    Some((project, disk))
}

#[test]
fn a_full_disk_takes_nothing_and_takes_again_when_there_is_room() {
    let Some((project, _disk)) = on_small_disk() else {
        return;
    };
    let runtime = pushing::runtime();
    let mut ledger = Ledger::default();
    let mut server = start(&project, None).unwrap();
    runtime.block_on(push_all(&server, 1, &mut ledger, "with room"));
    assert_eq!(ledger.in_doubt, []);
    let ballast = project.path().join(".asof/ballast");
    fill(&ballast);
    let mut refused = None;
    for round in 2..400 {
        runtime.block_on(push_all(&server, round, &mut ledger, "full"));
        if !ledger.in_doubt.is_empty() {
            refused = Some(round);
            break;
        }
    }
    let refused = refused.expect("the disk fills");
    // Reads go on.
    ledger.check_pages(&project, refused);
    std::fs::remove_file(&ballast).unwrap();
    let mut last = String::new();
    let recovered = runtime.block_on(async {
        let row = ledger.in_doubt[0].clone();
        for _ in 0..4 {
            match push(&mut connect(&server).await, &row).await {
                Ok(()) => return true,
                Err(status) => {
                    check_status(&status, "room was made");
                    last = status.message().to_owned();
                }
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        false
    });
    if recovered {
        runtime.block_on(push_again(&server, &mut ledger, "room was made"));
        ledger.check_pages(&project, refused);
    } else {
        assert!(
            last.ends_with("make room or mend the disk, then restart the server"),
            "{last}"
        );
    }
    println!(
        "figure: a full disk: the same process takes again: {recovered}; {} rows acknowledged",
        ledger.acknowledged.len()
    );
    server.signal("-TERM");
    server.wait();
    assert!(!project.read("serve.log").contains("panicked"));
    check(&runtime, &project, &mut ledger, refused, "room was made");
    drop(server);
}

/// Leaves no room.
fn fill(path: &Path) {
    use std::io::Write;
    let mut file = File::create(path).unwrap();
    for size in [1 << 16, 1 << 12] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
}

/// The command as somebody who is not root.
fn as_nobody(project: &Project, args: &[&str]) -> Ran {
    let of = project.command(args);
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .arg(of.get_program())
        .args(of.get_args())
        .current_dir(project.path())
        .stdin(Stdio::null());
    Ran::of(command.output().unwrap())
}

fn give(path: &Path, user: &str) -> bool {
    let mut chown = Command::new("chown");
    let given = chown.args(["-R", user]).arg(path).output();
    given.is_ok_and(|output| output.status.success())
}

fn set_mode(path: &Path, mode: &str) {
    let mut chmod = Command::new("chmod");
    assert!(chmod.args(["-R", mode]).arg(path).status().unwrap().success());
}

#[test]
fn a_store_that_may_not_be_written_is_named_with_what_to_do() {
    let project = Project::applied();
    project.done(&["materialize"]);
    let store = project.path().join(".asof/online");
    let get = ["get", "--service", "reorder_v1", "--key", "customer_id=1"];
    let commands: [&[&str]; 3] = [&get, &["materialize"], &["serve", "--listen", "127.0.0.1:0"]];
    let is_runnable = give(project.path(), "65534:65534") && as_nobody(&project, &["list"]).code == 0;
    if !is_runnable {
        eprintln!("not run: this process may not run one as another user");
        return;
    }
    let need = "all files in its directory must belong to the user that asof runs as, on a disk that is not read-only";
    let refused = |place: &str, reason: &str| {
        for args in commands {
            let ran = as_nobody(&project, args);
            let expect = format!("error: the online store at {place} failed: {reason}; {need}\n");
            assert_eq!((ran.code, ran.stderr), (5, expect), "{args:?}");
        }
    };
    let log = "IO error: While open a file for appending: .asof/online/LOG: Permission denied";
    set_mode(&store, "a-w");
    refused(".asof/online", log);
    set_mode(&store, "u+w");
    // Somebody else's, who lets others read it, or not.
    assert!(give(&store, "0:0"));
    refused(".asof/online", log);
    set_mode(&store, "go-rwx");
    refused(".asof/online/asof.format", "Permission denied (os error 13)");
    // Nothing was changed by all that.
    assert!(give(&store, "65534:65534"));
    assert_eq!(as_nobody(&project, &get).code, 0);
    assert_eq!(as_nobody(&project, &["verify"]).code, 0);
}

#[test]
fn a_store_on_a_disk_that_is_read_only_or_full_is_named_with_what_to_do() {
    let project = Project::applied();
    let place = project.path().join(".asof/online");
    let _ = std::fs::remove_dir_all(&place);
    let serve = ["serve", "--listen", "127.0.0.1:0"];
    let refused = |options: &str, fills: bool, expect: &str| {
        let disk = Disk::mount(place.clone(), options)?;
        if fills {
            fill(&place.join("ballast.tmp"));
        }
        for args in [&["materialize"][..], &serve] {
            let ran = project.asof(args);
            assert_eq!((ran.code, &*ran.stderr), (5, expect), "{args:?}");
        }
        drop(disk);
        std::fs::remove_dir(&place).unwrap();
        Some(())
    };
    let read_only = "error: the online store at .asof/online/asof.format failed: Read-only file system (os error 30); all files \
        in its directory must belong to the user that asof runs as, on a disk that is not read-only\n";
    if refused("ro,size=1m", false, read_only).is_none() {
        return;
    }
    let full = "error: no space is left for the online store at .asof/online/asof.format: No space left on device (os error 28)\n";
    refused("size=1m", true, full);
    project.done(&["materialize"]);
}
