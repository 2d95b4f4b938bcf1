//! `asof init`: a starter project that runs.

use std::path::{Component, Path, PathBuf};

use asof_core::name::ProjectName;
use serde_json::json;

use crate::args::InitArgs;
use crate::commands::Global;
use crate::exit::Failure;
use crate::output;

const CONFIG: &str = include_str!("init/asof.toml");
const FEATURES: &str = include_str!("init/orders.toml");
const ORDERS: &str = include_str!("init/orders.csv");
const SPINE: &str = include_str!("init/spine.csv");

pub(super) fn run(global: &Global, args: &InitArgs) -> Result<(), Failure> {
    let directory = match global.project == Path::new(".") {
        true => args.directory.clone(),
        false => global.project.join(&args.directory),
    };
    let name = project_name(&directory)?;
    let files = [
        ("asof.toml", CONFIG.replace("PROJECT", name.as_str())),
        (".gitignore", ".asof/\n".to_owned()),
        ("features/orders.toml", FEATURES.to_owned()),
        ("data/orders.csv", ORDERS.to_owned()),
        ("spine.csv", SPINE.to_owned()),
    ];
    if let Some((path, _)) = files.iter().find(|(path, _)| directory.join(path).exists()) {
        return Err(Failure::usage(format!(
            "{} exists: `asof init` starts a new project and replaces nothing; give an empty directory",
            clean(&directory.join(path)).display()
        )));
    }
    for (path, text) in &files {
        write(&directory.join(path), text)?;
    }
    let shown = clean(&directory).display().to_string();
    if global.json {
        let paths: Vec<&str> = files.iter().map(|(path, _)| *path).collect();
        output::json(&json!({ "project": name.as_str(), "directory": shown, "files": paths }));
        return Ok(());
    }
    output::line(format!("Project {name} is in {shown}:"));
    for (path, _) in &files {
        output::line(format!("  {path}"));
    }
    output::line("");
    output::line("Next:");
    if directory != Path::new(".") {
        output::line(format!("  cd {shown}"));
    }
    output::line("  asof apply");
    output::line("  asof extract --service reorder_v1 --spine spine.csv --out train.csv");
    output::line("  asof materialize --as-of 2026-02-01T00:00:00Z");
    output::line("  asof get --service reorder_v1 --key customer_id=1 --now 2026-02-01T00:00:00Z");
    Ok(())
}

/// A path without the dots that say nothing.
fn clean(path: &Path) -> PathBuf {
    let parts: PathBuf = path
        .components()
        .filter(|part| *part != Component::CurDir)
        .collect();
    if parts.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        parts
    }
}

/// The directory's name as far as it is a project's name, or "project".
fn project_name(directory: &Path) -> Result<ProjectName, Failure> {
    let absolute = std::path::absolute(directory)
        .map_err(|error| Failure::usage(format!("{} cannot be made: {error}", directory.display())))?;
    let name = absolute
        .file_name()
        .map(|name| name.to_string_lossy().to_lowercase())
        .unwrap_or_default();
    let name: String = name
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
        .collect();
    ProjectName::parse(&name)
        .or_else(|_| ProjectName::parse("project"))
        .map_err(|error| Failure::usage(error.to_string()))
}

fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let parent = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(parent)
        .and_then(|()| std::fs::write(path, text))
        .map_err(|error| Failure::unavailable(format!("{} cannot be written: {error}", path.display())))
}
