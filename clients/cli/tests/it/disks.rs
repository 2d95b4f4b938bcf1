//! Disks that are full or read-only, as file systems of their own where this process may mount them.

use std::path::PathBuf;
use std::process::Command;

use crate::project::Project;

/// A small file system in memory, gone when it is dropped.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// `None`, told on stderr, where this process may not mount.
    pub(crate) fn mount(path: PathBuf, options: &str) -> Option<Self> {
        std::fs::create_dir(&path).unwrap();
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", options, "tmpfs"]).arg(&path);
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(path));
        }
        eprintln!("not run: this process may not mount a file system");
        None
    }

    fn is_empty(&self) -> bool {
        self.0.read_dir().unwrap().next().is_none()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn extract<'a>(spine: &'a str, out: &'a str) -> [&'a str; 7] {
    [
        "extract",
        "--service",
        "reorder_v1",
        "--spine",
        spine,
        "--out",
        out,
    ]
}

/// The text with each number as one `N`.
fn without_numbers(text: &str) -> String {
    let mut shape = String::new();
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if shape.ends_with('N') => {}
            true => shape.push('N'),
            false => shape.push(c),
        }
    }
    shape
}

/// The text in which the six letters after `prefix`, which no two temporary files share, are an `X`.
fn without_letters(text: &str, prefix: &str) -> String {
    let (before, after) = text.split_once(prefix).unwrap_or_else(|| panic!("{text}"));
    format!("{before}{prefix}X{}", &after[6..])
}

#[test]
fn a_disk_that_fills_half_way_loses_the_part_that_was_written() {
    let project = Project::applied();
    let Some(disk) = Disk::mount(project.path().join("disk"), "size=64k") else {
        return;
    };
    let rows = "1,2026-01-20T20:00:00Z\n".repeat(20_000);
    project.write("long.csv", &format!("customer_id,event_timestamp\n{rows}"));
    // Of a million bytes that are all the same, Parquet leaves too few to fill the disk.
    for out in ["disk/train.csv", "disk/train.arrow"] {
        let ran = project.asof(&extract("long.csv", out));
        assert_eq!(
            without_numbers(&ran.stderr),
            format!(
                "error: no space left while writing {out}: N bytes were written and removed again; N bytes are free now: \
                 free some space or give another --out\n"
            )
        );
        assert_eq!((ran.code, &*ran.stdout), (5, ""));
        assert!(disk.is_empty(), "the partial file is gone");
    }
}

#[test]
fn a_disk_that_is_read_only_is_named() {
    let project = Project::applied();
    let Some(disk) = Disk::mount(project.path().join("disk"), "ro,size=64k") else {
        return;
    };
    let place = disk.0.canonicalize().unwrap();
    let place = place.display();
    let ran = project.asof(&extract("spine.csv", "disk/train.csv"));
    assert_eq!(
        without_letters(&ran.stderr, ".asof-"),
        format!("error: disk: Read-only file system (os error 30) at path \"{place}/.asof-X.tmp\"\n")
    );
    assert_eq!((ran.code, &*ran.stdout), (5, ""));
    project.write(
        "asof.toml",
        &format!("project = \"shop\"\n[registry]\nurl = \"sqlite://{place}/registry.db\"\n"),
    );
    let ran = project.asof(&["list"]);
    assert_eq!(
        without_letters(&ran.stderr, ".registry-"),
        format!(
            "error: the registry at {place}/registry.db cannot be used: it cannot be made: Read-only file system (os error 30) \
             at path \"{place}/.registry-X\": check who owns its directory, and that the disk is neither read-only nor full\n"
        )
    );
    assert_eq!((ran.code, &*ran.stdout), (5, ""));
}

#[test]
fn outputs_that_are_no_place_for_a_file_are_named() {
    let project = Project::applied();
    project.refused(
        &extract("spine.csv", "spine.csv/train.csv"),
        4,
        "output spine.csv/train.csv: the directory spine.csv does not exist",
    );
    project.refused(
        &extract("spine.csv", "/dev/full"),
        4,
        "output /dev/full is not a plain file",
    );
}
