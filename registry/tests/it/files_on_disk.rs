//! Which files are read, and what a registry file that is not one gets.

use std::os::unix::fs::symlink;
use std::path::Path;

use asof_core::name::ProjectName;
use asof_core::registry::{RegistryError, RegistryStore};
use asof_core::time::Timestamp;
use asof_registry::{SqliteRegistry, load};
use sqlx::Connection;

use crate::support::{WEATHER, plan_on};

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn project() -> (tempfile::TempDir, std::path::PathBuf) {
    let outer = tempfile::tempdir().unwrap();
    let project = outer.path().join("project");
    write(&project.join("asof.toml"), "project = \"flights\"");
    (outer, project)
}

fn refused(project: &Path, expect: &str) {
    assert_eq!(load(project, |_| None).unwrap_err().to_string(), expect);
}

#[test]
fn toml_files_below_features_in_byte_order_of_their_paths() {
    let (_outer, project) = project();
    for name in [
        "b.toml",
        "a/z.toml",
        "a-b.toml",
        "A.toml",
        "notes.md",
        ".#b.toml",
        "a/deep/er/x.toml",
    ] {
        write(&project.join("features").join(name), name);
    }
    symlink("../features", project.join("features/loop")).unwrap();
    symlink("b.toml", project.join("features/same.toml")).unwrap();
    let (_, files) = load(&project, |_| None).unwrap();
    let paths: Vec<&str> = files.iter().map(|file| file.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "features/A.toml",
            "features/a-b.toml",
            "features/a/deep/er/x.toml",
            "features/a/z.toml",
            "features/b.toml"
        ]
    );
    assert_eq!(files[1].bytes, b"a-b.toml");
}

#[test]
fn links_out_of_the_project_are_refused() {
    let (outer, project) = project();
    write(&outer.path().join("secret.toml"), "x");
    write(&outer.path().join("project2/x.toml"), "x");
    std::fs::create_dir(project.join("features")).unwrap();
    symlink("../../secret.toml", project.join("features/a.toml")).unwrap();
    symlink("../../project2", project.join("features/folder")).unwrap();
    symlink("nowhere.toml", project.join("features/gone.toml")).unwrap();
    refused(
        &project,
        "features/a.toml: the link leads out of the project; definition files are inside it: copy the file here\n\
         features/folder: the link leads out of the project; definition files are inside it: copy the file here\n\
         features/gone.toml: the link points nowhere; remove it or restore its target",
    );
}

#[test]
fn what_is_not_a_regular_file_is_refused() {
    let (_outer, project) = project();
    std::fs::create_dir(project.join("features")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(project.join("features/s.toml")).unwrap();
    refused(
        &project,
        "features/s.toml: this is not a regular file; definition files are regular files",
    );
}

pub(crate) fn flights() -> ProjectName {
    ProjectName::parse("flights").unwrap()
}

/// A registry with one version of [`WEATHER`], closed.
async fn stored(path: &Path) {
    let store = SqliteRegistry::open(path).await.unwrap();
    let definitions = plan_on(None, WEATHER).unwrap().definitions().clone();
    store.commit(0, definitions, Timestamp::EPOCH).await.unwrap();
    store.close().await;
}

async fn execute(path: &Path, sql: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true);
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

async fn open_error(path: &Path) -> String {
    SqliteRegistry::open(path).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_registry_is_made_once_and_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".asof/registry.db");
    stored(&path).await;
    let head = SqliteRegistry::open(&path)
        .await
        .unwrap()
        .head(&flights())
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head.number, 1);
    assert_eq!(head.definitions, *plan_on(None, WEATHER).unwrap().definitions());
    let names: Vec<_> = std::fs::read_dir(path.parent().unwrap())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.starts_with("registry.db"))
        .collect();
    assert_eq!(names, Vec::<String>::new(), "nothing is left beside it");
}

#[tokio::test]
async fn what_is_not_a_registry_is_named_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let place = path.display();
    std::fs::write(
        &path,
        "hello, this is not a database, whatever its name says ".repeat(100),
    )
    .unwrap();
    assert_eq!(
        open_error(&path).await,
        format!("the registry at {place} is damaged: file is not a database")
    );
    std::fs::write(&path, "").unwrap();
    assert_eq!(
        open_error(&path).await,
        format!(
            "the registry at {place} is damaged: the file is empty; restore it from a copy, or remove it to start anew"
        )
    );
    assert_eq!(std::fs::metadata(&path).unwrap().len(), 0);
    std::fs::remove_file(&path).unwrap();
    execute(&path, "CREATE TABLE versions (x)").await;
    let before = std::fs::read(&path).unwrap();
    assert_eq!(
        open_error(&path).await,
        format!(
            "the registry at {place} is damaged: it is a SQLite file, and not a registry of asof; name another file"
        )
    );
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::remove_file(&path).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert_eq!(
        open_error(&path).await,
        format!(
            "the registry at {place} cannot be used: the file cannot be opened: check that it is a file, and who owns it"
        )
    );
}

#[tokio::test]
async fn a_newer_registry_says_to_use_a_newer_asof() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("registry.db");
    let place = path.display();
    stored(&path).await;
    execute(&path, "PRAGMA user_version = 3").await;
    assert_eq!(
        open_error(&path).await,
        format!("the registry at {place} has format 3, this version reads up to 2: use a newer asof")
    );
}

async fn head_error(path: &Path) -> RegistryError {
    let store = SqliteRegistry::open(path).await.unwrap();
    store.head(&flights()).await.unwrap_err()
}

#[tokio::test]
async fn stored_bytes_that_changed_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let check = async |sql: &'static str, expect: &str| {
        let path = folder.path().join("registry.db");
        let _ = std::fs::remove_file(&path);
        stored(&path).await;
        execute(&path, sql).await;
        let place = path.display();
        assert_eq!(
            head_error(&path).await.to_string(),
            format!("the registry at {place} is damaged: {expect}"),
            "{sql}"
        );
    };
    check(
        "UPDATE definitions SET text = replace(text, 'float64', 'float32')",
        "the definitions of v1 differ from their digest",
    )
    .await;
    check("DELETE FROM definitions", "the definitions of v1 are missing").await;
    check(
        "UPDATE versions SET applied_at = 7",
        "v1 differs from its checksum",
    )
    .await;
    check(
        "UPDATE versions SET services = '[[\"x\", 1]]'",
        "v1 differs from its checksum",
    )
    .await;
    check("UPDATE versions SET number = -1", "number is negative").await;
}
