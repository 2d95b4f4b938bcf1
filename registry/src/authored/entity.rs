//! `[[entity]]`

use asof_core::definition::{Entity, KeyColumn};
use asof_core::name::EntityName;

use super::{Reader, field};
use crate::document::Table;
use crate::problem::{Problem, shown};

const EXAMPLE: &str = "keys = { column = \"string\" }";

impl Reader<'_> {
    pub(super) fn entity(&mut self, mut table: Table<'_>) {
        let problems = &mut self.problems;
        table.only(problems, &["name", "keys", "description", "owner", "tags"]);
        let name = field::required_name(&table, problems, "name", "entity", EntityName::parse);
        let keys = self.keys(&table);
        let notes = field::notes(&table, &mut self.problems);
        let Some((name, text)) = name else {
            self.entities.has_nameless = true;
            return;
        };
        let is_new = self.entities.enter(&mut self.problems, text.text, &text.place);
        if let (true, Some(keys)) = (is_new, keys) {
            self.entities.good.push(Entity { name, keys, notes });
        }
    }

    fn keys(&mut self, table: &Table<'_>) -> Option<Vec<KeyColumn>> {
        let problems = &mut self.problems;
        if table.get("keys").is_none() {
            table.missing(problems, "keys", EXAMPLE);
        }
        let keys = table.table(problems, "keys", format!("\"keys\" of {}", table.label()))?;
        let entries = keys.entries();
        if entries.is_empty() {
            let what = format!("{} has no key columns", table.label());
            problems.push(Problem::new(
                keys.place().clone(),
                what,
                format!("expected {EXAMPLE}"),
            ));
            return None;
        }
        // Every column is looked at before a bad one makes the whole unusable.
        let columns: Vec<Option<KeyColumn>> = entries
            .into_iter()
            .map(|(column, value)| {
                let name = column.parse(problems, field::column);
                let label = format!("the type of key column {}", shown(column.text));
                let key_type = value.string(problems, &label)?.parse(problems, field::key_type)?;
                Some(KeyColumn {
                    name: name?,
                    key_type,
                })
            })
            .collect();
        columns.into_iter().collect()
    }
}
