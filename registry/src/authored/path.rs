//! Where a source may read from, judged by its text alone: within the project, or under a directory
//! that `[offline] allow` lists. Links are followed and judged where files are opened.

use super::field::Reason;
use crate::problem::shown;

/// Takes a path that a source may name.
pub(super) fn check(text: &str, allow: &[String]) -> Result<String, Reason> {
    let refuse = |what: String, help: &str| Err((what, help.to_owned()));
    if text.is_empty() {
        return refuse(
            "the path is empty".into(),
            "expected a file, a directory or a glob",
        );
    }
    if text.contains('\0') {
        return refuse(format!("the path {} has a zero byte", shown(text)), "remove it");
    }
    if text.contains("://") || text.starts_with("//") || text.starts_with("\\\\") {
        return refuse(
            format!("the path {} is a URL", shown(text)),
            "this version of asof reads files only: expected a path relative to the project",
        );
    }
    let path = Normal::of(text);
    let allowed = |root: &String| path.is_below(&Normal::of(root));
    if path.stays_inside() || allow.iter().any(allowed) {
        return Ok(text.to_owned());
    }
    refuse(
        format!("the path {} is outside the project", shown(text)),
        "move the files into it, or list their directory in asof.toml under [offline] allow",
    )
}

/// A path without `.` and with `..` worked out as far as text allows.
struct Normal<'a> {
    absolute: bool,
    /// How many levels it climbs before it descends.
    up: usize,
    down: Vec<&'a str>,
}

impl<'a> Normal<'a> {
    fn of(path: &'a str) -> Self {
        let mut normal = Self {
            absolute: path.starts_with('/'),
            up: 0,
            down: Vec::new(),
        };
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => {
                    if normal.down.pop().is_none() && !normal.absolute {
                        normal.up += 1;
                    }
                }
                part => normal.down.push(part),
            }
        }
        normal
    }

    fn stays_inside(&self) -> bool {
        !self.absolute && self.up == 0
    }

    fn is_below(&self, root: &Self) -> bool {
        self.absolute == root.absolute && self.up == root.up && self.down.starts_with(&root.down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inside_the_project_or_allowed() {
        let allow = ["/srv/data".to_owned(), "../shared".to_owned()];
        let check = |path: &str, expect: bool| assert_eq!(check(path, &allow).is_ok(), expect, "{path:?}");
        check("data/weather.parquet", true);
        check("./data/../data/*.csv", true);
        check("a..b/c", true);
        check("/srv/data/x.parquet", true);
        check("/srv/./data", true);
        check("../shared/x.parquet", true);
        check("data/../../shared/x.parquet", true);
        check("", false);
        check("../x.parquet", false);
        check("data/../../x.parquet", false);
        check("data/*/../../../etc/passwd", false);
        check("/etc/passwd", false);
        check("/srv/database/x", false);
        check("/srv/data/../secret", false);
        check("../../shared/x", false);
        check("../shared/../x", false);
        check("http://169.254.169.254/latest/meta-data", false);
        check("s3://bucket/key", false);
        check("file:///etc/passwd", false);
        check("//host/share", false);
        check("\\\\host\\share", false);
        check("a\0b", false);
    }
}
