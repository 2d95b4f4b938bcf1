//! The features of the rows that are served, read once it is known which these are.

use std::sync::Arc;

use datafusion::arrow::array::ArrayRef;

use asof_core::order::from_file_seq;

use super::contest::Place;
use super::source::{Part, SourceFiles};
use crate::columns::{Selection, SourceColumns};
use crate::error::Result;
use crate::heads::Stand;
use crate::inputs::ViewValues;
use crate::places::ViewPlaces;
use crate::workers::Finds;

/// How many rows are fetched at once.
const BATCH: usize = 65_536;

/// Reads the features of one view.
#[derive(Clone)]
pub(crate) struct Fetch {
    files: SourceFiles,
    values: Arc<ViewValues>,
    selection: Arc<Selection>,
}

impl Fetch {
    /// Plans to read the features of a view.
    pub(crate) fn plan(files: &SourceFiles, columns: &SourceColumns, places: &ViewPlaces) -> Result<Self> {
        Ok(Self {
            files: files.clone(),
            selection: Arc::new(columns.select(places.values.places(), &[])?),
            values: Arc::new(places.values.clone()),
        })
    }

    /// The parts of the source that hold rows at `places`, which ascend.
    pub(crate) fn parts(&self, places: &[Place]) -> Vec<Part> {
        self.files
            .parts_of(places.iter().map(|Place(place)| from_file_seq(*place)))
    }

    /// Reads the features of the rows of a part and sends them on in chunks, in order, as `find` wraps them.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        part: Part,
        finds: Finds<T>,
        find: impl Fn(Vec<ArrayRef>) -> T + Send + 'static,
    ) -> Result<()> {
        let (values, selection) = (Arc::clone(&self.values), Arc::clone(&self.selection));
        let number = part.file;
        let place = self.files.place(number);
        let map = move |batch: &_, rows: &_| {
            let stand = Stand {
                place: &place,
                file: number,
                rows,
            };
            let selected = selection.evaluate(batch, &place)?;
            let features = values.read(&selected.columns, &selected, stand)?;
            Ok(vec![find(features)])
        };
        self.files
            .read(part, self.selection.read(), BATCH, finds, map)
            .await
    }
}
