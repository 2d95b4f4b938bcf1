//! Files of a table's log that a power cut leaves whole: `object_store` never syncs what it writes.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use futures::stream::BoxStream;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, RenameOptions, Result, UploadPart,
};

use super::sums;
use crate::output::temporary_in;

/// The name that errors give this store.
const STORE: &str = "DurableFileSystem";

/// The file system, of which a file that was written is on the disk, with its name, before the write returns.
#[derive(Debug, Clone)]
pub(super) struct DurableFileSystem {
    inner: Arc<LocalFileSystem>,
    /// The directory of all tables: what is made in it, down to a file, has its name on the disk as well.
    root: PathBuf,
}

impl DurableFileSystem {
    pub(super) fn new(root: PathBuf) -> Self {
        Self {
            inner: Arc::new(LocalFileSystem::new()),
            root,
        }
    }

    /// What syncs a file that is there, and the directories that name it.
    fn sync(&self, location: &Path) -> Result<impl Future<Output = Result<()>> + Send + use<>> {
        let (path, root) = (self.inner.path_to_filesystem(location)?, self.root.clone());
        Ok(in_background(location.to_string(), move || {
            File::open(&path)?.sync_all()?;
            sync_names(&path, &root)?;
            note_sum(&path);
            Ok(())
        }))
    }
}

/// Syncs the directories from the one that names a file to the one that names `root`.
fn sync_names(path: &std::path::Path, root: &std::path::Path) -> std::io::Result<()> {
    let above = root.parent().unwrap_or(root);
    let directories = path.ancestors().skip(1);
    for directory in directories.take_while(|directory| directory.starts_with(above)) {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// Notes the sum of a file of a log, once it is on the disk.
fn note_sum(path: &std::path::Path) {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return;
    };
    if directory.ends_with(sums::LOG)
        && let Err(error) = sums::note(directory, &name.to_string_lossy())
    {
        // The file stands; the next one that is written has its sum noted as well.
        tracing::warn!(log = %directory.display(), %error, "the sum of a file of a managed table's log was not noted");
    }
}

async fn in_background(
    path: String,
    work: impl FnOnce() -> std::io::Result<()> + Send + 'static,
) -> Result<()> {
    let done = tokio::task::spawn_blocking(work).await;
    done?.map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Error::AlreadyExists {
            path,
            source: error.into(),
        },
        _ => Error::Generic {
            store: STORE,
            source: error.into(),
        },
    })
}

impl fmt::Display for DurableFileSystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{STORE}({})", self.root.display())
    }
}

#[async_trait]
impl ObjectStore for DurableFileSystem {
    /// The bytes are on the disk before the name is: a commit is whole or not there.
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let is_new = match opts.mode {
            PutMode::Create => true,
            PutMode::Overwrite => false,
            PutMode::Update(_) => return self.inner.put_opts(location, payload, opts).await,
        };
        let (path, root) = (self.inner.path_to_filesystem(location)?, self.root.clone());
        in_background(location.to_string(), move || {
            let directory = path.parent().unwrap_or(&root);
            std::fs::create_dir_all(directory)?;
            let mut file = temporary_in(directory, ".", ".tmp").map_err(std::io::Error::other)?;
            for bytes in &payload {
                file.write_all(bytes)?;
            }
            file.as_file().sync_all()?;
            match is_new {
                true => file.persist_noclobber(&path)?,
                false => file.persist(&path)?,
            };
            sync_names(&path, &root)?;
            note_sum(&path);
            Ok(())
        })
        .await?;
        Ok(PutResult {
            e_tag: None,
            version: None,
        })
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        opts: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        Ok(Box::new(DurableUpload {
            inner: self.inner.put_multipart_opts(location, opts).await?,
            store: self.clone(),
            location: location.clone(),
        }))
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await?;
        self.sync(to)?.await
    }

    async fn rename_opts(&self, from: &Path, to: &Path, options: RenameOptions) -> Result<()> {
        self.inner.rename_opts(from, to, options).await?;
        self.sync(to)?.await
    }
}

/// A file that is written in parts.
#[derive(Debug)]
struct DurableUpload {
    inner: Box<dyn MultipartUpload>,
    store: DurableFileSystem,
    location: Path,
}

#[async_trait]
impl MultipartUpload for DurableUpload {
    fn put_part(&mut self, data: PutPayload) -> UploadPart {
        self.inner.put_part(data)
    }

    async fn complete(&mut self) -> Result<PutResult> {
        let result = self.inner.complete().await?;
        self.store.sync(&self.location)?.await?;
        Ok(result)
    }

    async fn abort(&mut self) -> Result<()> {
        self.inner.abort().await
    }
}

#[cfg(test)]
mod tests {
    use object_store::ObjectStoreExt;

    use super::*;

    #[tokio::test]
    async fn a_file_is_made_once_and_replaced_at_will() {
        let root = tempfile::tempdir().unwrap();
        let store = DurableFileSystem::new(root.path().join("tables"));
        let path = Path::from_absolute_path(root.path()).unwrap();
        let path = path.join("tables").join("t").join("_delta_log").join("0.json");
        let put = |text: &'static str, mode| store.put_opts(&path, text.into(), PutOptions::from(mode));
        let read = async || store.get(&path).await.unwrap().bytes().await.unwrap();
        put("first", PutMode::Create).await.unwrap();
        let again = put("second", PutMode::Create).await.unwrap_err();
        assert!(matches!(again, Error::AlreadyExists { .. }), "{again:?}");
        assert_eq!(read().await, "first");
        put("third", PutMode::Overwrite).await.unwrap();
        assert_eq!(read().await, "third");
        let mut parts = store.put_multipart(&path).await.unwrap();
        parts.put_part("four".into()).await.unwrap();
        parts.put_part("th".into()).await.unwrap();
        parts.complete().await.unwrap();
        assert_eq!(read().await, "fourth");
        // Nothing is left beside it.
        let log = root.path().join("tables/t/_delta_log");
        assert_eq!(log.read_dir().unwrap().count(), 1);
        assert_eq!(log.parent().unwrap().read_dir().unwrap().count(), 1);
    }
}
