//! Reading all of a managed table, to see that it is whole.

use asof_core::definition::Source;
use deltalake::DeltaTable;
use futures::TryStreamExt;

use crate::engine::Engine;
use crate::error::{OfflineError, Result};
use crate::files::SourceFile;
use crate::managed::{Compared, check_log_of, directory};
use crate::snapshot::{as_in_log, delta_files, open_delta};

/// What was read of a table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TableRead {
    /// Its rows.
    pub rows: u64,
    /// Its files.
    pub files: usize,
}

impl Engine {
    /// Reads every column of every file that a managed table has now; nothing where there is no table yet.
    ///
    /// # Errors
    ///
    /// The log, or one for each file that is gone or cannot be read.
    pub async fn read_back(
        &self,
        source: &Source,
    ) -> std::result::Result<Option<TableRead>, Vec<OfflineError>> {
        let place = directory(self, source);
        let log = check_log_of(source, &place, Compared::All).await;
        log.map_err(|error| vec![error])?;
        // A directory with nothing in it is that of a table to be.
        let is_empty = |mut entries: std::fs::ReadDir| entries.next().is_none();
        if place.read_dir().map_or(true, is_empty) {
            return Ok(None);
        }
        let table = open_delta(&place, source.name.as_str()).await;
        let table = table.map_err(|error| vec![error])?;
        let files = delta_files(&table, source.name.as_str()).map_err(|error| vec![error])?;
        let (mut read, mut errors) = (TableRead::default(), Vec::new());
        for file in &files {
            match rows(self, &table, source, file).await {
                Ok(rows) => {
                    read.rows += rows;
                    read.files += 1;
                }
                Err(error) => errors.push(error),
            }
        }
        match errors.is_empty() {
            true => Ok(Some(read)),
            false => Err(errors),
        }
    }
}

/// How many rows one file has, all of whose columns are read.
async fn rows(engine: &Engine, table: &DeltaTable, source: &Source, file: &SourceFile) -> Result<u64> {
    let place = format!("source {}, file {}", source.name, file.path);
    engine.check_whole(place.clone(), file.clone()).await?;
    let provider = table
        .table_provider()
        .with_file_paths([as_in_log(&file.path)])
        .await;
    let read = async {
        let stream = engine.context.read_table(provider?)?.execute_stream().await?;
        stream
            .try_fold(0, |rows, batch| async move { Ok(rows + batch.num_rows() as u64) })
            .await
    };
    read.await.map_err(|error| OfflineError::engine(&place, &error))
}
