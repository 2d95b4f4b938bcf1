//! `[[service]]`

use asof_core::name::ServiceName;

use super::check::ServiceReferences;
use super::{AuthoredService, Reader, entry, field};
use crate::document::Table;
use crate::problem::Problem;

const EXAMPLE: &str = "features = [\"view:feature\", \"view:*\"]";
/// The most entries that a service lists.
const MAX_ENTRIES: usize = 4_096;

impl Reader<'_> {
    pub(super) fn service(&mut self, mut table: Table<'_>) {
        let problems = &mut self.problems;
        table.only(problems, &["name", "features", "description", "owner", "tags"]);
        let name = field::required_name(&table, problems, "name", "service", ServiceName::parse);
        let entries = self.entries(&table);
        let notes = field::notes(&table, &mut self.problems);
        let Some((name, text)) = name else { return };
        let is_new = self.services.enter(&mut self.problems, text.text, &text.place);
        if let (true, Some(entries)) = (is_new, entries) {
            self.services.good.push(AuthoredService {
                name,
                entries,
                notes,
                place: text.place,
            });
        }
    }

    /// The entries, where nothing is wrong with any of them; what each says of views is noted in any case.
    fn entries(&mut self, table: &Table<'_>) -> Option<Vec<entry::Placed>> {
        let problems = &mut self.problems;
        let Some(value) = table.get("features") else {
            table.missing(problems, "features", EXAMPLE);
            return None;
        };
        let items = value.array(problems, &format!("\"features\" of {}", table.label()))?;
        if items.is_empty() || items.len() > MAX_ENTRIES {
            let what = match items.len() {
                0 => format!("{} lists no features", table.label()),
                n => format!(
                    "{} lists {n} entries, at most {MAX_ENTRIES} are read",
                    table.label()
                ),
            };
            problems.push(Problem::new(value.place(), what, format!("expected {EXAMPLE}")));
            return None;
        }
        let mut references = ServiceReferences::default();
        let entries: Vec<Option<entry::Placed>> = items
            .iter()
            .map(|item| entry::parse(item, table.label(), problems, &mut references))
            .collect();
        self.references.services.push(references);
        entries.into_iter().collect()
    }
}
