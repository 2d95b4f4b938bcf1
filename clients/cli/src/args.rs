//! The command line.

use std::path::PathBuf;

use asof_offline::Strategy;
use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Arg, ArgGroup, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};

/// A feature store: every value is the value as of a moment.
#[derive(Debug, Parser)]
#[command(name = "asof", version, propagate_version = true, max_term_width = 100)]
#[command(
    after_help = "A first look: `asof init shop && cd shop && asof apply --yes && asof list`.\n\
    Exit codes: 0 done; 1 a bug; 2 usage; 3 invalid definition; 4 data; 5 unavailable, locked, conflict or \
    full disk; 130 interrupted."
)]
pub struct Args {
    /// The project's directory: the one with asof.toml
    #[arg(
        long,
        help_heading = "Global options",
        global = true,
        default_value = ".",
        value_name = "DIR"
    )]
    pub project: PathBuf,
    /// Work through a running server, such as http://127.0.0.1:2763; the token that it asks for is taken from the variable
    /// ASOF_TOKEN
    #[arg(long, help_heading = "Global options", global = true, value_name = "URL")]
    pub server: Option<String>,
    /// The authority that signed the server's certificate, in PEM [default: those that this machine trusts]
    #[arg(
        long,
        help_heading = "Global options",
        global = true,
        value_name = "FILE",
        env = "ASOF_CA",
        hide_env_values = true,
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub ca: Option<PathBuf>,
    /// Print JSON, for programs
    #[arg(long, help_heading = "Global options", global = true)]
    pub json: bool,
    /// Which log lines go to stderr, such as info or asof_server=debug
    #[arg(
        long,
        help_heading = "Global options",
        global = true,
        default_value = "warn,buoyant_kernel=off,deltalake_core=off",
        value_name = "FILTER",
        env = "ASOF_LOG"
    )]
    pub log: String,
    /// The form of log lines
    #[arg(
        long,
        help_heading = "Global options",
        global = true,
        default_value = "text",
        value_name = "FORM"
    )]
    pub log_format: LogFormat,
    /// What to do
    #[command(subcommand)]
    pub command: Command,
    /// The command's name, where it works on a directory and not through a server
    #[arg(skip)]
    pub local: Option<&'static str>,
}

/// The commands that work on a directory and not through a server.
const LOCAL: [&str; 12] = [
    "init", "test", "ingest", "compact", "explain", "lint", "replay", "diff", "serve", "demo", "restore",
    "verify",
];

/// The form of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// One JSON object a line
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a starter project that runs
    Init(InitArgs),
    /// Show what applying the definition files would change
    Plan,
    /// Run the examples that are written beside on-demand features, and show what differs
    Test,
    /// Make the definition files the registry's newest version
    Apply(ApplyArgs),
    /// List what is registered
    List(ListArgs),
    /// Show one definition, as a file would write it
    Show(ShowArgs),
    /// Find definitions by words in names, descriptions, owners and tags
    Search(SearchArgs),
    /// Append files to a managed source
    Ingest(IngestArgs),
    /// Push rows to a managed source: served at once, and in its table soon
    Push(PushArgs),
    /// Merge the files of managed sources and sort them, so that extracts read less
    Compact(CompactArgs),
    /// Write a training dataset: a spine and its features, as of each row's time
    Extract(ExtractArgs),
    /// Show why a view has the value that it has: the rows of a key, and what the contract says of each
    Explain(ExplainArgs),
    /// Look for spine columns that tell what a feature will be only later
    #[command(long_about = LINT)]
    Lint(LintArgs),
    /// Make a dataset again from its manifest, byte by byte
    Replay(ReplayArgs),
    /// Compare two datasets by row and feature
    Diff(DiffArgs),
    /// Move what is new to the online store
    Materialize(MaterializeArgs),
    /// Undo the last run of a view: what it brought to the online store is held back
    Rollback(RollbackArgs),
    /// Read the features of one entity from the online store
    Get(GetArgs),
    /// Serve features over gRPC and HTTP
    Serve(ServeArgs),
    /// Show how the views stand
    #[command(long_about = STATUS)]
    Status,
    /// Copy the online store and the registry to a directory, while others read and write
    Backup(BackupArgs),
    /// Put a backup in the place of the online store and the registry
    Restore(RestoreArgs),
    /// Read everything back: the online store, the registry and the managed tables, or a backup
    Verify(VerifyArgs),
    /// Show what ran
    Runs(RunsArgs),
    /// Run the quickstart on the flights example
    Demo,
}

impl Args {
    /// Parses the command line of the process. The help of a command that works on a directory offers no server.
    pub fn read() -> Self {
        let mut command = Self::command();
        let of_server = |option: &&Arg| option.get_id() == "server";
        let hidden: Vec<Arg> = command
            .get_arguments()
            .filter(of_server)
            .map(|option| option.clone().hide(true))
            .collect();
        for name in LOCAL {
            // It takes the place of the global one.
            command = command.mut_subcommand(name, |command| command.args(hidden.clone()));
        }
        let matches = command.get_matches();
        let local = LOCAL
            .into_iter()
            .find(|name| matches.subcommand_name() == Some(name));
        let args = Self::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        Self { local, ..args }
    }
}

impl Command {
    /// Whether the command itself sees to Ctrl-C.
    pub fn handles_interrupts(&self) -> bool {
        matches!(self, Self::Serve(_) | Self::Push(_))
    }
}

/// Arguments of which one must be given: a message about none of them names all.
fn one_of(name: &'static str, arguments: &[&'static str]) -> ArgGroup {
    ArgGroup::new(name).args(arguments).required(true)
}

/// So many MiB, in bytes.
pub const fn mebibytes(count: u32) -> usize {
    (count as usize) << 20
}

/// `init`
#[derive(Debug, clap::Args)]
pub struct InitArgs {
    /// The directory of the new project; made where it does not exist
    #[arg(default_value = ".")]
    pub directory: PathBuf,
}

/// `apply`
#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    /// Apply without asking
    #[arg(long, short)]
    pub yes: bool,
    /// Apply even where it changes columns of a service
    #[arg(long)]
    pub allow_breaking: bool,
}

/// `list`
#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only these: entities, sources, views, features or services
    pub kind: Option<String>,
}

/// `show`
#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// A name, such as airport_weather or airport_weather:temp, or a kind and a name
    #[arg(required = true, num_args = 1..=2, value_names = ["KIND", "NAME"])]
    pub what: Vec<String>,
}

/// `search`
#[derive(Debug, clap::Args)]
pub struct SearchArgs {
    /// Words, all of which must be there
    #[arg(required = true)]
    pub words: Vec<String>,
}

/// `ingest`
#[derive(Debug, clap::Args)]
pub struct IngestArgs {
    /// The managed source
    pub source: String,
    /// Parquet or CSV files, in the order in which their rows are accepted
    #[arg(required = true)]
    pub files: Vec<PathBuf>,
    /// What tells this ingest from others: repeated with one id it changes nothing [default: the files' contents]
    #[arg(long)]
    pub id: Option<String>,
}

/// `push`
#[derive(Debug, clap::Args)]
pub struct PushArgs {
    /// The managed source
    pub source: String,
    /// Files of JSON lines (.jsonl, .ndjson, .json), Parquet (.parquet) or Arrow (.arrow, .feather, .arrows); standard
    /// input where none is named, and for `-`
    pub files: Vec<PathBuf>,
    /// What standard input has, and files whose names do not tell
    #[arg(long, value_enum, default_value_t = PushFormat::Json)]
    pub format: PushFormat,
    /// What tells this push from others: repeated with one id and the same rows within 7 days it changes nothing [default: one of its own]
    #[arg(long)]
    pub id: Option<String>,
}

/// What rows to push are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PushFormat {
    /// JSON objects, one a line
    Json,
    /// A Parquet file
    Parquet,
    /// An Arrow IPC stream or file
    Arrow,
}

/// `compact`
#[derive(Debug, clap::Args)]
pub struct CompactArgs {
    /// The managed sources; all where none is named
    pub sources: Vec<String>,
    /// The most memory to sort in, in MiB; what does not fit is sorted on disk
    #[arg(long, value_name = "MIB", default_value = "1024", value_parser = clap::value_parser!(u32).range(1..))]
    pub memory: u32,
}

/// `extract`
#[derive(Debug, clap::Args)]
#[command(group = one_of("what", &["service", "features"]))]
#[command(group = one_of("for", &["spine", "at", "from", "to", "every"]).multiple(true))]
pub struct ExtractArgs {
    /// The service whose features are extracted
    #[arg(long)]
    pub service: Option<String>,
    /// Single features instead: view:feature or view:*, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub features: Vec<String>,
    /// The rows to find features for: a Parquet, CSV or Arrow file with keys and a time in each row
    #[arg(long, value_name = "FILE")]
    pub spine: Option<PathBuf>,
    /// The spine's column of times
    #[arg(long, default_value = "event_timestamp", value_name = "C", conflicts_with_all = ["at", "from"])]
    pub time_column: String,
    /// Without a spine: every key that is known at this time, such as 2013-06-01T12:00:00Z
    #[arg(long, value_name = "T", conflicts_with_all = ["spine", "from"])]
    pub at: Option<String>,
    /// Without a spine: every key that is known at each time from this one on
    #[arg(long, value_name = "A", conflicts_with = "spine", requires_all = ["to", "every"])]
    pub from: Option<String>,
    /// … up to this one
    #[arg(long, value_name = "B", requires = "from")]
    pub to: Option<String>,
    /// … in steps of this length, such as 1d
    #[arg(long, value_name = "D", requires = "from")]
    pub every: Option<String>,
    /// The dataset to write: .parquet, .csv or .arrow
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// The zone of times that carry none, in the spine or of --at, --from and --to, such as America/New_York
    #[arg(long, value_name = "Z")]
    pub timezone: Option<String>,
    /// Use what became known only later, too
    #[arg(long)]
    pub as_corrected: bool,
    /// Add a status column for each feature and an event-time column for each view
    #[arg(long)]
    pub status: bool,
    /// Replace the output where it exists
    #[arg(long)]
    pub overwrite: bool,
    /// The most memory to use for what grows with the data, in MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub memory: Option<u32>,
    /// How the spine is joined to the sources; the dataset is the same
    #[arg(long, default_value = "auto")]
    pub strategy: JoinStrategy,
    /// Print the plan and what each step of it did
    #[arg(long)]
    pub explain: bool,
}

/// `replay`
#[derive(Debug, clap::Args)]
pub struct ReplayArgs {
    /// The manifest that `asof extract` wrote beside the dataset: NAME.manifest.json
    pub manifest: PathBuf,
    /// The spine, where it is not any more where the manifest says
    #[arg(long, value_name = "FILE")]
    pub spine: Option<PathBuf>,
    /// The dataset to write, in the format of the manifest's
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,
    /// Replace the output where it exists
    #[arg(long)]
    pub overwrite: bool,
    /// The most memory to use for what grows with the data, in MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(1..))]
    pub memory: Option<u32>,
}

/// `diff`
#[derive(Debug, clap::Args)]
pub struct DiffArgs {
    /// A dataset: .parquet, .csv or .arrow
    #[arg(value_name = "A")]
    pub a: PathBuf,
    /// Another one, of any of these formats
    #[arg(value_name = "B")]
    pub b: PathBuf,
    /// Match rows by this column, as often as there are such columns [default: by their position]
    #[arg(long = "key", value_name = "COLUMN")]
    pub keys: Vec<String>,
}

/// How a spine is joined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum JoinStrategy {
    /// By an index where that fits the memory, by sorting elsewhere
    Auto,
    /// By an index of the spine in memory
    Indexed,
    /// By sorting spine and sources, on disk where they do not fit
    Sorted,
}

impl From<JoinStrategy> for Strategy {
    fn from(strategy: JoinStrategy) -> Self {
        match strategy {
            JoinStrategy::Auto => Self::Auto,
            JoinStrategy::Indexed => Self::Indexed,
            JoinStrategy::Sorted => Self::Sorted,
        }
    }
}

/// `explain`
#[derive(Debug, clap::Args)]
#[command(group = one_of("what", &["service", "feature"]).multiple(true))]
pub struct ExplainArgs {
    /// The service whose views are explained
    #[arg(long)]
    pub service: Option<String>,
    /// Only this feature: view:feature or view:*
    #[arg(long, value_name = "F")]
    pub feature: Option<String>,
    /// A key column, as often as there are columns
    #[arg(long = "key", value_name = "NAME=VALUE", required = true)]
    pub keys: Vec<String>,
    /// As of which instant, such as 2013-06-01T12:00:00Z
    #[arg(long, value_name = "T")]
    pub at: String,
    /// Use what became known only later, too
    #[arg(long)]
    pub as_corrected: bool,
    /// Show all rows of the key, not only those around the winner; --json has them all
    #[arg(long)]
    pub all: bool,
}

/// What `status` tells.
const STATUS: &str = "\
Show how the views stand: what each serves, how fresh it is, how its last run ended, and what to type next.

  state            what it serves, and what is to be done, as a command
  materialized to  the instant up to which it is complete; a run that is rolled back moves it back
  behind           how far that is behind the clock
  live, expired    rows that are served, and those older than the view's ttl
  pending          rows that become due only later
  size             of the keys and rows of all of them, uncompressed

Of a source with a stream: how much was read of it, waits, could not be read (dead letters) and was gone from the \
broker before it was read (lost). Then the room on the disks, the last backup, and what the online store has lost, \
where it has. A server that runs for the project is asked; otherwise the online store is opened. Rows are counted by \
reading all of them.";

/// What `lint` sees and what it does not.
const LINT: &str = "\
Look for spine columns that tell what a feature will be only later.

For each row of the spine and each feature, the feature's value as of the row's time is set beside its next \
value: that of the first row of the view after that time, within the view's ttl, or 7 days where it has \
none. A column of the spine is flagged over the rows in which those two values differ, 30 at least, where

  equals the later value    it is equal to the next value in 99 % of them
  nearly predicts it        numbers and times: their ranks correlate by 0.98 or more with those of the next \
value, and at most half as far from 1 as with those of the value as of the row's time; booleans and text: \
equal in 95 %

A flag says that the column holds what was not known yet. It is meant for inputs of a model; a label that is \
a feature's next value is flagged, too, and may be meant so.

What it cannot see: later values of what no feature of the service holds; values further away than the next \
one; sums, differences and other mixtures of values; corrections of what was true already; columns of lists, \
structs and bytes; anything in fewer than 30 rows. Of a spine of more than a million rows it looks at a part, \
chosen by a hash of the row's number. Nothing flagged is no proof that nothing leaks.

Exit codes: 0 where nothing is flagged, 4 where something is.";

/// `lint`
#[derive(Debug, clap::Args)]
pub struct LintArgs {
    /// The rows whose columns are looked at: a Parquet, CSV or Arrow file with keys and a time in each row
    pub spine: PathBuf,
    /// The service whose features they are compared with
    #[arg(long)]
    pub service: String,
    /// The spine's column of times
    #[arg(long, default_value = "event_timestamp", value_name = "C")]
    pub time_column: String,
    /// The zone of spine times that carry none, such as America/New_York
    #[arg(long, value_name = "Z")]
    pub timezone: Option<String>,
}

/// `materialize`
#[derive(Debug, clap::Args)]
pub struct MaterializeArgs {
    /// The views; all where none is named
    pub views: Vec<String>,
    /// As of which instant, such as 2013-06-01T12:00:00Z [default: now]
    #[arg(long, value_name = "T")]
    pub as_of: Option<String>,
    /// Read everything into a new generation
    #[arg(long)]
    pub full: bool,
    /// Bring back first what was rolled back
    #[arg(long, conflicts_with = "full")]
    pub redo: bool,
}

/// `rollback`
#[derive(Debug, clap::Args)]
pub struct RollbackArgs {
    /// The number of the run, as `asof runs` lists it: the last one of its view
    pub run: u64,
}

/// `get`
#[derive(Debug, clap::Args)]
#[command(group = one_of("what", &["service", "features"]))]
pub struct GetArgs {
    /// The service
    #[arg(long)]
    pub service: Option<String>,
    /// Single features instead: view:feature or view:*, separated by commas
    #[arg(long, value_delimiter = ',')]
    pub features: Vec<String>,
    /// A key column, as often as there are columns
    #[arg(long = "key", value_name = "NAME=VALUE", required_unless_present = "request")]
    pub keys: Vec<String>,
    /// A request column that on-demand features are computed of, as often as there are columns
    #[arg(long, value_name = "NAME=VALUE")]
    pub request: Vec<String>,
    /// Freeze the clock, such as 2013-06-01T12:00:00Z
    #[arg(long, value_name = "T")]
    pub now: Option<String>,
}

/// `backup`
#[derive(Debug, clap::Args)]
pub struct BackupArgs {
    /// The directory to make; with --server one of the server's machine, from the root on
    pub directory: PathBuf,
}

/// `restore`
#[derive(Debug, clap::Args)]
pub struct RestoreArgs {
    /// The directory that `asof backup` made
    pub directory: PathBuf,
}

/// `verify`
#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// The directory that `asof backup` made [default: what the project has]
    pub directory: Option<PathBuf>,
    /// Where the online store has lost writes and all else is whole: do not tell of it any more (run
    /// `asof materialize --full` before, which brings back what the tables have)
    #[arg(long, conflicts_with = "directory")]
    pub accept_loss: bool,
}

/// `serve`
#[derive(Debug, clap::Args)]
pub struct ServeArgs {
    /// Where to listen [default: what asof.toml says, or 127.0.0.1:2763]
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<String>,
    /// Freeze the clock, such as 2013-06-01T12:00:00Z
    #[arg(long, value_name = "T")]
    pub now: Option<String>,
}

/// `runs`
#[derive(Debug, clap::Args)]
pub struct RunsArgs {
    /// Only those of this view, source or service
    pub subject: Option<String>,
    /// At most so many
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub limit: u32,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_works_on_a_directory_or_through_a_server() {
        let through_a_server = [
            "plan",
            "apply",
            "list",
            "show",
            "search",
            "push",
            "extract",
            "materialize",
            "rollback",
            "get",
            "status",
            "backup",
            "runs",
        ];
        let mut known: Vec<&str> = LOCAL.into_iter().chain(through_a_server).collect();
        let command = Args::command();
        let mut all: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
        known.sort_unstable();
        all.sort_unstable();
        assert_eq!(all, known);
    }
}
